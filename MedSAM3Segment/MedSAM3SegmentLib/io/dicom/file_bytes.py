"""Bytes of DICOM files: never more of them than there are, whatever a header declares, and deflated files inflated."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

from .elements import text, whole

if TYPE_CHECKING:
    from .image_header import ImageHeader

_logger = logging.getLogger(__name__)

#: The tag of an item of a sequence, and how deep they may lie in each other.
_ITEM = b"\xfe\xff\x00\xe0"
_DEEPEST = 100

_DEFLATED = b"1.2.840.10008.1.2.1.99"

#: A deflated file may become this many bytes, or this many times its own: more is no image.
_INFLATED_BYTES = 256 << 20
_INFLATED_RATIO = 50


def read_bytes(header: ImageHeader, count: int) -> bytes:
    """The first ``count`` bytes of the pixel element; the caller has checked that there are as many.

    Raises:
        InputError: the file cannot be read any more, or got shorter.
    """
    offset = header.pixels.offset if header.pixels is not None else 0
    if header.inflated is not None:
        content = header.inflated[offset : offset + count]
    else:
        try:
            with header.path.open("rb", buffering=0) as file:
                file.seek(offset)
                content = file.read(count)
                while len(content) < count and (more := file.read(count - len(content))):
                    content += more
        except OSError as error:
            raise cannot_open(header.path, error) from None
    if len(content) < count:
        raise InputError("{path} is cut off or damaged; copy or export it again.", path=header.path)
    return content


class BoundedReader(io.BufferedReader):
    """A file of which no more is read, or reserved in memory, than there is, whatever length an element declares."""

    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        super().__init__(raw, 1 << 15)
        self.size = size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.size:
            size = self.size
        return super().read(size)


def open_file(path: Path) -> BoundedReader:
    """A file that is one, and not a pipe, a socket or a device.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    raw = io.FileIO(path, "rb")
    status = os.fstat(raw.fileno())
    if not stat.S_ISREG(status.st_mode):
        raw.close()
        raise OSError(0, "it is no file")
    return BoundedReader(raw, status.st_size)


def is_nested_deeply(head: bytes) -> bool:
    """Whether items of sequences lie in each other deeper than any image's do; ``head`` is all before the pixels."""
    if head.count(_ITEM) <= _DEEPEST:
        return False
    ends: list[int] = []
    for found in re.finditer(re.escape(_ITEM), head):
        start = found.start()
        while ends and ends[-1] <= start:
            ends.pop()
        if start + 8 <= len(head):
            (length,) = struct.unpack_from("<I", head, start + 4)
            ends.append(start + 8 + length)
        if len(ends) > _DEEPEST:
            return True
    return False


def cannot_open(path: Path, error: OSError) -> InputError:
    """The error for a file that the system does not open."""
    return InputError(
        "{path} cannot be opened ({why}); check the path and its permissions.", path=path, why=str(error.strerror)
    )


def may_be_deflated(head: bytes) -> bool:
    """Whether the first bytes of a file name the deflated encoding."""
    return _DEFLATED in head


def inflate(path: Path, file: BoundedReader) -> bytes | None:
    """The bytes of a deflated file as they were before; None where it only looks like one."""
    from pydicom.filereader import read_file_meta_info

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = read_file_meta_info(path)
    except Exception as error:  # no preamble, or damage
        _logger.debug("%s", error)
        return None
    if text(meta, "TransferSyntaxUID").encode() != _DEFLATED:
        return None
    length = whole(meta, "FileMetaInformationGroupLength") or 0
    start = 128 + 4 + 12 + length
    most = max(_INFLATED_BYTES, _INFLATED_RATIO * file.size)
    file.seek(start)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(file.read(), most + 1)
    except zlib.error:
        return None
    if len(content) > most:
        raise InputError("{path} holds far more than its size allows; export it again.", path=path)
    # The same data set with a head of its own: explicit and little endian, as what was deflated always is.
    return b"\0" * 128 + b"DICM" + _EXPLICIT_META + content


def _meta_element(element: int, representation: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, representation, len(value)) + value


_EXPLICIT_SYNTAX = _meta_element(0x10, b"UI", b"1.2.840.10008.1.2.1\0")
_EXPLICIT_META = _meta_element(0, b"UL", struct.pack("<I", len(_EXPLICIT_SYNTAX))) + _EXPLICIT_SYNTAX
