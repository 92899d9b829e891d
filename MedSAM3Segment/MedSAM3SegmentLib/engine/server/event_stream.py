"""The answer to a job: its events as they happen, from the worker's thread to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from MedSAM3SegmentLib.engine.protocol.events import End, Event, Failed
from MedSAM3SegmentLib.engine.protocol.messages import SIGN_OF_LIFE, encode_frame
from MedSAM3SegmentLib.messages.message import message

#: Seconds between signs of life, and between two looks at whether the client is still there.
_KEEP_ALIVE_S = 5.0
_POLL_INTERVAL_S = 0.5

#: Bytes that are sent at a time, so that a slow client slows down its own answer only.
_CHUNK_BYTES = 2**20

#: Most bytes of a job's events that wait for a slow client. What comes then is dropped, but for the last event, which
#: holds all that the others told.
_MAX_WAITING_FRAMES = 64 * 2**20

#: No proxy on the way may keep events until there are more of them, or keep what is a patient's.
_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}


class EventStream:
    """A job's events on their way to its client; made in the service's event loop.

    Args:
        compress: whether to pack them.
    """

    def __init__(self, compress: bool) -> None:
        self._compress = compress
        self._loop = asyncio.get_running_loop()
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0

    def tell(self, event: Event) -> None:
        """Send an event; may be called from any thread."""
        last = isinstance(event, End)
        try:
            frame = encode_frame(event, self._compress)
        except Exception as error:  # the worker must live on
            frame = encode_frame(
                Failed(message("The result could not be sent ({kind}); try again.", kind=type(error).__name__)), False
            )
            last = True
        with suppress(RuntimeError):  # the loop has ended, and nobody listens
            self._loop.call_soon_threadsafe(self._put, frame, last)

    def _put(self, frame: bytes, last: bool) -> None:
        if last or self._waiting + len(frame) <= _MAX_WAITING_FRAMES:
            self._waiting += len(frame)
            self._frames.put_nowait(frame)
        if last:
            self._frames.put_nowait(None)

    async def until_the_end(self, request: Request) -> AsyncIterator[bytes]:
        """The frames until the last event or until the client is gone, with signs of life between them."""
        silent = 0.0
        while not await request.is_disconnected():
            try:
                frame = await asyncio.wait_for(self._frames.get(), _POLL_INTERVAL_S)
            except TimeoutError:
                silent += _POLL_INTERVAL_S
                if silent >= _KEEP_ALIVE_S:
                    silent = 0.0
                    yield SIGN_OF_LIFE
                continue
            if frame is None:
                return
            silent = 0.0
            self._waiting -= len(frame)
            for start in range(0, len(frame), _CHUNK_BYTES):
                yield frame[start : start + _CHUNK_BYTES]


class EventStreamResponse(StreamingResponse):
    """A job's events over HTTP; a client that goes away, however early, takes its job with it.

    Args:
        content: the events.
        end: called when nobody reads them any more.
    """

    def __init__(self, content: AsyncIterator[bytes], end: Callable[[], object]) -> None:
        super().__init__(content, media_type="application/octet-stream", headers=_HEADERS)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()
