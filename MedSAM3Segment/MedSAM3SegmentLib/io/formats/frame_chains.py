"""How many frames a GIF or TIFF says that it has: Pillow takes the end of a cut-off file for the end of its frames."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from .voxel_data import open_file

#: Bytes of a GIF before its color table, of a TIFF before its first offset.
_GIF_HEAD = 13
_GIF_END, _GIF_EXTENSION, _GIF_IMAGE = b"\x3b", b"\x21", b"\x2c"

#: Of a TIFF: magic number, format of an offset, of a number of entries, and bytes of an entry.
_TIFF_KINDS = {42: ("I", "H", 12), 43: ("Q", "Q", 20)}


class CutOffError(ValueError):
    """The file ends before its frames do."""


def count_gif_frames(path: Path) -> int:
    """The frames of a GIF up to its end mark.

    Raises:
        CutOffError: there is no end mark.
    """
    with open_file(path, path) as file:
        head = _take(file, _GIF_HEAD)
        _skip_colors(file, head[10])
        count = 0
        while (kind := _take(file, 1)) != _GIF_END:
            if kind == _GIF_EXTENSION:
                _take(file, 1)
            elif kind == _GIF_IMAGE:
                count += 1
                _skip_colors(file, _take(file, 9)[8])
                _take(file, 1)
            elif kind == b"\0":
                continue  # an empty block, which some writers leave
            else:
                raise CutOffError
            while length := _take(file, 1)[0]:
                _take(file, length)
        return count


def count_tiff_pages(path: Path) -> int:
    """The pages of a TIFF, each said by the one before.

    Raises:
        CutOffError: a page lies behind the end of the file, or is one that was there already.
    """
    with open_file(path, path) as file:
        head = _take(file, 8)
        order = "<" if head[:2] == b"II" else ">"
        (magic,) = struct.unpack(order + "H", head[2:4])
        if magic not in _TIFF_KINDS:
            raise CutOffError
        offset_format, count_format, entry_bytes = _TIFF_KINDS[magic]
        if magic == 42:
            (offset,) = struct.unpack(order + "I", head[4:8])
        else:
            (offset,) = struct.unpack(order + "Q", _take(file, 8))
        seen: set[int] = set()
        while offset:
            if offset in seen or offset > path.stat().st_size:
                raise CutOffError
            seen.add(offset)
            file.seek(offset)
            (entries,) = _unpack(file, order + count_format)
            file.seek(entries * entry_bytes, 1)
            (offset,) = _unpack(file, order + offset_format)
        return len(seen)


def _take(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise CutOffError
    return content


def _unpack(file: IO[bytes], form: str) -> tuple[int, ...]:
    return struct.unpack(form, _take(file, struct.calcsize(form)))


def _skip_colors(file: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        _take(file, 3 << (flags & 7) + 1)
