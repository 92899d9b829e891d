"""The voxels of a file to an array: plain, compressed or as text, never more memory than the file has content for.

What a header declares is held against the file before memory is taken, and the memory is filled as the content comes:
a header that lies costs nothing. Nothing here is native code but zlib and bzip2, which check what they read.
"""

from __future__ import annotations

import bz2
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import DTypeLike, NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.isolated_read import too_large

#: How many bytes one byte of deflate can stand for (zlib.net/zlib_tech.html).
MOST_DEFLATED = 1032

#: Decompressed at a time; what this many bytes may become fits into memory easily.
_CHUNK_BYTES = 1 << 18
_PIECE_BYTES = 1 << 18

#: What follows the voxels is read on for the checksum, but no longer than this.
_LONGEST_REST_BYTES = 1 << 26

#: The most bytes that a number as text takes, its space included.
_LONGEST_NUMBER = 64

_LONGEST_LINE_BYTES = 1 << 20

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class VoxelData:
    """Where an image's voxels are stored.

    Attributes:
        path: the file that was given; errors name it.
        files: those that hold the voxels, the same number of bytes in each.
        encoding: ``raw``, ``gzip`` (or zlib), ``bzip2``, ``text`` or ``hex``.
        start: bytes of each file that come before, a header.
        skip_lines: lines that come before.
        skip_bytes: bytes that come before, after decompression; -1 where the voxels are the end of the file.
    """

    path: Path
    files: Sequence[Path]
    encoding: str = "raw"
    start: int = 0
    skip_lines: int = 0
    skip_bytes: int = 0


def read_voxels(data: VoxelData, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """``count`` values, ``[count]``, in this machine's byte order.

    Args:
        dtype: as stored, with its byte order.

    Raises:
        InputError: the files are missing, shorter than that, damaged, or do not fit into the memory.
    """
    stored = np.dtype(dtype)
    share, odd = divmod(count, len(data.files))
    if odd:
        raise InputError(
            "{path} spreads its voxels over {count} data files that do not get the same number each; export it again.",
            path=data.path,
            count=len(data.files),
        )
    if data.encoding == "text":
        parts = [_read_text(data, file, share, stored) for file in data.files]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    needed = share * stored.itemsize
    for file in data.files:
        _check_size(data, file, needed)
    content = allocate(count * stored.itemsize, data.path)
    for number, file in enumerate(data.files):
        _fill(data, file, content[number * needed : (number + 1) * needed])
    values = content.view(stored)
    return values if stored.isnative else values.byteswap(inplace=True).view(stored.newbyteorder("="))


def read_head(path: Path, count: int) -> tuple[bytes, bool]:
    """The first ``count`` bytes of a file, or fewer, and whether they had to be decompressed (gzip).

    Raises:
        InputError: the file cannot be opened.
    """
    with open_file(path, path) as file:
        head = file.read(count)
        if not head.startswith(GZIP_MAGIC):
            return head, False
        content = b""
        decompressor = zlib.decompressobj(31)
        try:
            while head and len(content) < count:
                content += decompressor.decompress(head, count - len(content))
                head = decompressor.unconsumed_tail or file.read(_CHUNK_BYTES)
        except zlib.error:
            pass  # what comes after the head says what is wrong
        return content, True


def open_file(file: Path, path: Path) -> IO[bytes]:
    """``file`` for reading; ``path`` is the file that was given.

    Raises:
        InputError: it cannot be opened, or is a pipe or a device.
    """
    try:
        # Opening a pipe waits for whoever writes into it, perhaps forever.
        if file.exists() and not file.is_file():
            raise InputError("{file} is a pipe, a socket or a device and not a file; give an image file.", file=file)
        return file.open("rb")
    except OSError as error:
        if file != path and isinstance(error, FileNotFoundError):
            raise InputError(
                "{path} has its voxels in the file {file}, which is not there; put both into one folder.",
                path=path,
                file=file.name,
            ) from None
        raise InputError(
            "{path} cannot be opened ({why}); check the path and its permissions.", path=file, why=str(error.strerror)
        ) from None


def allocate(size: int, path: Path) -> NDArray[np.uint8]:
    """Memory for ``size`` bytes, which the system gives as it is filled.

    Raises:
        InputError: there is not as much.
    """
    try:
        if size <= psutil.virtual_memory().available:
            return np.empty(size, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        pass
    raise InputError(too_large(path))


def truncated(path: Path, length: int, needed: int) -> InputError:
    """The error for a file that is shorter than its header says."""
    return InputError(
        "{path} is truncated: {length} of {needed} bytes are there; copy or export it again.",
        path=path,
        length=length,
        needed=needed,
    )


def damaged(path: Path) -> InputError:
    """The error for content that cannot be decompressed or understood."""
    return InputError("{path} is truncated or damaged; copy or export it again.", path=path)


def check_deflated(path: Path, length: int, needed: int) -> None:
    """Make sure that ``length`` bytes of deflate can hold ``needed`` bytes.

    Raises:
        InputError: they cannot.
    """
    if needed > MOST_DEFLATED * length:
        raise InputError(
            "{path} declares {needed} bytes of voxels, which its {length} compressed bytes cannot hold; "
            "copy or export it again.",
            path=path,
            needed=needed,
            length=length,
        )


def _check_size(data: VoxelData, file: Path, needed: int) -> None:
    with open_file(file, data.path):
        length = file.stat().st_size - data.start
    if data.encoding == "raw":
        skipped = max(data.skip_bytes, 0)
        if length < skipped + needed:
            raise truncated(data.path, length, skipped + needed)
    elif data.encoding == "gzip":
        check_deflated(data.path, length, max(data.skip_bytes, 0) + needed)
    elif data.encoding == "hex" and length < 2 * needed:
        raise truncated(data.path, length, 2 * needed)


def _fill(data: VoxelData, file: Path, content: NDArray[np.uint8]) -> None:
    with open_file(file, data.path) as opened:
        _skip_lines(opened, data)
        if data.encoding == "raw":
            if data.skip_bytes < 0:
                opened.seek(-content.size, 2)
            else:
                opened.seek(data.skip_bytes, 1)
            if (got := opened.readinto(content.data)) != content.size:  # type: ignore[attr-defined]
                raise truncated(data.path, got, content.size)
        elif data.encoding == "hex":
            try:
                digits = opened.read(3 * content.size + (1 << 20))
                values = bytes.fromhex(b"".join(digits.split()).decode("ascii")[: 2 * content.size])
            except ValueError:
                raise damaged(data.path) from None
            if len(values) != content.size:
                raise truncated(data.path, len(values), content.size)
            content[:] = np.frombuffer(values, np.uint8)
        else:
            _fill_decompressed(data, opened, content)


def _skip_lines(opened: IO[bytes], data: VoxelData) -> None:
    opened.seek(data.start)
    for _ in range(data.skip_lines):
        if not opened.readline(_LONGEST_LINE_BYTES):
            raise damaged(data.path)


def _fill_decompressed(data: VoxelData, opened: IO[bytes], content: NDArray[np.uint8]) -> None:
    skip, at, rest = max(data.skip_bytes, 0), 0, 0
    for chunk in _decompressed(opened, data):
        part = chunk
        if skip:
            part, skip = part[skip:], max(0, skip - len(part))
        taken = min(len(part), content.size - at)
        content[at : at + taken] = np.frombuffer(part, np.uint8, taken)
        at += taken
        rest += len(part) - taken
        if rest > _LONGEST_REST_BYTES:
            return
    if at < content.size:
        raise truncated(data.path, max(data.skip_bytes, 0) - skip + at, max(data.skip_bytes, 0) + content.size)


def _decompressed(opened: IO[bytes], data: VoxelData) -> Iterator[bytes]:
    """The content piece by piece; a stream may follow another, and what else follows is left out."""
    opener = bz2.BZ2Decompressor if data.encoding == "bzip2" else _inflater
    # zlib gives pieces that stay in the processor's cache until they are copied; bzip2's blocks are small anyway.
    limit = () if data.encoding == "bzip2" else (_PIECE_BYTES,)
    decompressor: Any = opener()
    first = True
    try:
        while chunk := opened.read(_CHUNK_BYTES):
            while chunk:
                if decompressor.eof:
                    if not first and not chunk.startswith((GZIP_MAGIC, b"BZh")):
                        return
                    decompressor = opener()
                yield decompressor.decompress(chunk, *limit)
                chunk = decompressor.unused_data if decompressor.eof else getattr(decompressor, "unconsumed_tail", b"")
                first = False
    except (zlib.error, OSError, EOFError, ValueError):
        raise damaged(data.path) from None
    if not decompressor.eof:
        raise damaged(data.path)


def _inflater() -> Any:
    # Either gzip's or zlib's own frame, checksums included.
    return zlib.decompressobj(47)


def _read_text(data: VoxelData, file: Path, count: int, stored: np.dtype[Any]) -> NDArray[Any]:
    with open_file(file, data.path) as opened:
        _skip_lines(opened, data)
        start = opened.seek(max(data.skip_bytes, 0), 1)
        if 2 * count - 1 > file.stat().st_size - start:
            raise truncated(data.path, file.stat().st_size, start + 2 * count - 1)
        allocate(count * stored.itemsize, data.path)
        text = opened.read(_LONGEST_NUMBER * count + _CHUNK_BYTES)
    kind = np.dtype(np.float64 if stored.kind == "f" else np.uint64 if stored.str[1:] == "u8" else np.int64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            values = np.fromstring(re.sub(rb"[\s,]+", b" ", text).decode("ascii").strip(), kind, count, sep=" ")
            if values.size != count:
                raise truncated(data.path, values.size, count)
            native = stored.newbyteorder("=")
            with np.errstate(all="ignore"):
                cast = values.astype(native)
    except (ValueError, DeprecationWarning, UnicodeDecodeError):
        raise damaged(data.path) from None
    if stored.kind in "iu" and not np.array_equal(cast, values):
        raise damaged(data.path)
    return cast
