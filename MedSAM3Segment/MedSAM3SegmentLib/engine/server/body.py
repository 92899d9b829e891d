"""The bodies of requests: how long and large they may be, alone and together, unpacked outside of the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from MedSAM3SegmentLib.errors import InputError

#: Seconds to wait for the next bytes of a request.
_TIMEOUT_S = 60.0

#: Bytes a second that a body comes at, at the least, beyond the first ``_TIMEOUT_S``.
_SLOWEST_BYTES_PER_S = 10_000

#: Bytes that are unpacked at a time.
_CHUNK_BYTES = 4 * 2**20

#: Bytes that are gathered before a thread unpacks them.
_GATHERED_BYTES = 2**18


class TooLargeError(InputError):
    """More was sent than is taken."""


class BusyError(InputError):
    """More is being sent at once than there is room for."""


class BodyMemory:
    """Counts what the bodies of all requests take, and what was made of them; from any thread.

    Args:
        most: bytes that they may take together. One alone is taken whatever it has.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def share(self) -> BodyShare:
        """What one request takes, none yet."""
        return BodyShare(self)

    def change(self, own: int, more: int) -> None:
        """Count ``more`` bytes for a request that has ``own``.

        Raises:
            BusyError: others take too many.
        """
        with self._lock:
            if more > 0 and self.taken > own and self.taken + more > self.most:
                raise BusyError("The engine is being sent too much at once; try again in a moment.")
            self.taken += more


class BodyShare:
    """What one request takes of the memory for all, until it is given back."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._own = 0

    def add(self, count: int) -> None:
        """Count more bytes.

        Raises:
            BusyError: others take too many.
        """
        self._memory.change(self._own, count)
        self._own += count

    def give_back(self) -> None:
        """Count them no more."""
        own, self._own = self._own, 0
        self._memory.change(0, -own)


class Unpacker:
    """Unpacks a body piece by piece.

    Args:
        request: whose head says how it is packed and how long it is.
        most_bytes: what it may have, unpacked.

    Raises:
        TooLargeError: it says that it has more.
        InputError: it is packed in another way.
    """

    def __init__(self, request: Request, most_bytes: int) -> None:
        declared = request.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdecimal()) or len(declared) > 20 or int(declared) > most_bytes:
            raise self._too_large(most_bytes)
        encoding = request.headers.get("content-encoding", "")
        if encoding not in ("", "deflate"):
            raise InputError("What was sent is compressed in a way that is not known; use deflate.")
        self._most_bytes = most_bytes
        self._taken = 0
        self._unpacker = zlib.decompressobj() if encoding else None

    def unpack(self, piece: bytes) -> Iterator[bytes]:
        """What a piece holds, a few megabytes at a time.

        Raises:
            TooLargeError: more came than is taken.
            InputError: it is damaged.
        """
        for unpacked in self._unpacked(piece):
            self._taken += len(unpacked)
            if self._taken > self._most_bytes:
                raise self._too_large(self._most_bytes)
            yield unpacked

    def end(self) -> None:
        """Nothing follows.

        Raises:
            InputError: something should.
        """
        if self._unpacker is not None and not self._unpacker.eof:
            raise InputError("What was sent is cut short; send it again.")

    def _unpacked(self, piece: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            yield piece
            return
        try:
            while piece and not self._unpacker.eof:
                yield self._unpacker.decompress(piece, _CHUNK_BYTES)
                piece = self._unpacker.unconsumed_tail
        except zlib.error:
            raise InputError("What was sent is damaged; send it again.") from None
        if self._unpacker.unused_data or (self._unpacker.eof and piece):
            raise InputError("What was sent goes on after its end; send it again.")

    @staticmethod
    def _too_large(most_bytes: int) -> TooLargeError:
        return TooLargeError(
            "What was sent is longer than the {most} bytes that are taken; send less.", most=most_bytes
        )


async def read_body(request: Request, most_bytes: int, share: BodyShare) -> bytes:
    """The whole body of a request, unpacked.

    Args:
        most_bytes: what it may have.
        share: counts its bytes.

    Raises:
        TooLargeError: it is longer than ``most_bytes``.
        BusyError: too much is being sent at once.
        InputError: it does not come, or is damaged.
    """
    unpacker = Unpacker(request, most_bytes)
    parts: list[bytes] = []

    def unpack(gathered: bytes) -> None:
        for part in unpacker.unpack(gathered):
            share.add(len(part))
            parts.append(part)

    async for gathered in read_pieces(request):
        await run_in_threadpool(unpack, gathered)
    unpacker.end()
    return parts[0] if len(parts) == 1 else await run_in_threadpool(b"".join, parts)


async def read_pieces(request: Request) -> AsyncIterator[bytes]:
    """The body of a request as it comes, in pieces of some hundred kilobytes.

    Raises:
        InputError: it does not come, or too slowly.
    """
    stream, gathered, came = request.stream(), bytearray(), 0
    started = time.monotonic()
    while True:
        left = started + _TIMEOUT_S + came / _SLOWEST_BYTES_PER_S - time.monotonic()
        try:
            piece = await asyncio.wait_for(anext(stream), max(min(_TIMEOUT_S, left), 0.0))
        except StopAsyncIteration:
            break
        except (TimeoutError, ClientDisconnect):
            raise InputError("What was sent did not arrive whole; send it again.") from None
        came += len(piece)
        gathered += piece
        if len(gathered) >= _GATHERED_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
