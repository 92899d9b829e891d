"""Who may talk to a service, and how much: the token, and the sizes of what is sent."""

from __future__ import annotations

import asyncio
import hmac
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from MedSAM3SegmentLib.engine.protocol.challenge import HELLO
from MedSAM3SegmentLib.engine.protocol.events import Failed, refusal_body
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: Seconds to wait for the next bytes of a request.
_TIMEOUT_S = 60.0

#: Bytes that are unpacked at a time.
_CHUNK_BYTES = 4 * 2**20


class TooLargeError(InputError):
    """More was sent than is taken."""


class TokenAuthMiddleware:
    """Lets nothing through without the token.

    Args:
        app: what is behind it.
        token: what ``Authorization: Bearer`` must hold.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HELLO:
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(given) != 1 or not hmac.compare_digest(given[0], self._expected):
                words = message("The token is missing or wrong; copy it from where the engine was started.")
                answer = JSONResponse(refusal_body(Failed(words)), status_code=401)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The whole body of a request, unpacked.

    Raises:
        TooLargeError: it is longer than ``most_bytes``.
        InputError: it does not come, or is damaged.
    """
    return b"".join([piece async for piece in pieces_of(request, most_bytes)])


async def pieces_of(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """The body of a request as it comes, unpacked; raises as ``body_of`` does."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > most_bytes:
        raise TooLargeError("What was sent is longer than the {most} bytes that are taken; send less.", most=most_bytes)
    encoding = request.headers.get("content-encoding", "")
    if encoding not in ("", "deflate"):
        raise InputError("What was sent is compressed in a way that is not known; use deflate.")
    unpacker = zlib.decompressobj() if encoding else None
    taken = 0
    stream = request.stream()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream), _TIMEOUT_S)
        except StopAsyncIteration:
            break
        except (TimeoutError, ClientDisconnect):
            raise InputError("What was sent did not arrive whole; send it again.") from None
        for unpacked in _unpacked(piece, unpacker):
            taken += len(unpacked)
            if taken > most_bytes:
                raise TooLargeError(
                    "What was sent is longer than the {most} bytes that are taken; send less.", most=most_bytes
                )
            yield unpacked
    if unpacker is not None and not unpacker.eof:
        raise InputError("What was sent is cut short; send it again.")


def _unpacked(piece: bytes, unpacker: zlib._Decompress | None) -> list[bytes]:
    """What a piece holds; at most a few times ``_CHUNK_BYTES``, since one piece is never long."""
    if unpacker is None:
        return [piece]
    found = []
    try:
        while piece and not unpacker.eof:
            found.append(unpacker.decompress(piece, _CHUNK_BYTES))
            piece = unpacker.unconsumed_tail
    except zlib.error:
        raise InputError("What was sent is damaged; send it again.") from None
    return found
