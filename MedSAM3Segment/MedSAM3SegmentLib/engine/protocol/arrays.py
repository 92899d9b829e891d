"""Bytes on the wire: lines of JSON, and after them the arrays that they speak of.

Nothing is pickled. Of each array only the part that is not zero is sent, and truth values as bits. Documents are cut
into lines and arrays are looked at where they lie, so that reading a long answer never holds up Slicer's other threads.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError

#: A packet's head: its first bytes, and the length of the lines that follow.
_HEAD = struct.Struct("<4sQ")
_MAGIC = b"MS31"

#: What voxels, masks and probabilities are stored as; a packet with another kind is refused.
DTYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")


def unpacked_bytes(data: bytes) -> int:
    """What the arrays of a packet take at most once they are unpacked, where they are not zero: bits become bytes."""
    length = _HEAD.unpack_from(data)[1] if len(data) >= _HEAD.size else 0
    return 8 * max(len(data) - _HEAD.size - length, 0)


class PacketWriter:
    """Collects arrays and lines, and makes one packet of them."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[Any]] = []
        self._length = 0
        self._lines: list[bytes] = []

    def add_line(self, value: Any) -> int:
        """Add a line of plain JSON values; returns its number."""
        self._lines.append(json.dumps(value, separators=(",", ":")).encode())
        return len(self._lines) - 1

    def add_array(self, array: NDArray[Any]) -> dict[str, Any]:
        """Add an array; returns the plain JSON values that it is found by."""
        kind = array.dtype.newbyteorder("<").str if array.dtype.itemsize > 1 else array.dtype.str
        if kind not in DTYPES:
            raise InputError(
                "Voxels of the kind '{dtype}' cannot be sent; convert the volume to float32.", dtype=str(array.dtype)
            )
        start, stop = _box_of_content(array)
        part = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        flat = np.packbits(part) if kind == "|b1" else np.ascontiguousarray(part, kind).reshape(-1)
        place = {"dtype": kind, "shape": list(array.shape), "start": start, "stop": stop, "at": self._length}
        self._arrays.append(flat)
        self._length += flat.nbytes
        return place

    def to_bytes(self) -> bytes:
        """The packet."""
        lines = b"\n".join(self._lines)
        return b"".join([_HEAD.pack(_MAGIC, len(lines)), lines, *(array.data for array in self._arrays if array.size)])


class PacketReader:
    """Reads what a ``PacketWriter`` wrote.

    Args:
        data: the packet.
        most_bytes: what its arrays may take once unpacked.
        most_text: what its lines may take, or None for as much as they have.

    Raises:
        InputError: the packet is damaged, or its lines are too long.
    """

    def __init__(self, data: bytes | memoryview, most_bytes: int, most_text: int | None = None) -> None:
        self._left = most_bytes
        view = memoryview(data)
        try:
            magic, length = _HEAD.unpack_from(view)
            if most_text is not None and length > most_text:
                raise InputError(
                    "A message has {length} bytes of text and {most} are taken; ask for less at a time.",
                    length=length,
                    most=most_text,
                )
            lines = bytes(view[_HEAD.size : _HEAD.size + length]).decode("ascii")
        except (struct.error, ValueError):
            magic, length, lines = b"", 0, ""
        if magic != _MAGIC or length != len(lines):
            raise InputError("A message is damaged; send it again.")
        self._lines = lines.split("\n")
        self._bytes = np.frombuffer(view[_HEAD.size + length :], np.uint8)

    @property
    def last_line(self) -> int:
        return len(self._lines) - 1

    def line(self, number: int) -> Any:
        """One line's plain JSON values.

        Raises:
            InputError: there is no such line, or it is no JSON.
        """
        if not 0 <= number < len(self._lines):
            raise InputError("A message has no line {number}; send it again.", number=number)
        try:
            return json.loads(self._lines[number])
        except (ValueError, RecursionError):
            raise InputError("Line {number} of a message is no JSON; send it again.", number=number) from None

    def array(self, place: Any) -> NDArray[Any]:
        """The array that ``PacketWriter.add_array`` gave ``place`` for.

        Raises:
            InputError: there is none, or it is larger than allowed.
        """
        kind, shape, start, stop, at = _checked_place(place)
        size = math.prod(shape) * np.dtype(kind).itemsize
        if size > self._left:
            raise InputError(
                "An array of {size} bytes is more than a message may hold; send a smaller volume.", size=size
            )
        self._left -= size
        part_shape = [b - a for a, b in zip(start, stop, strict=True)]
        count = math.prod(part_shape)
        length = (count + 7) // 8 if kind == "|b1" else count * np.dtype(kind).itemsize
        if at + length > self._bytes.size:
            raise InputError("An array of a message is cut short; send it again.")
        raw = self._bytes[at : at + length]
        part = np.unpackbits(raw, count=count).view(bool) if kind == "|b1" else raw.view(kind)
        if part_shape == shape:
            return np.array(part.reshape(shape))
        whole = np.zeros(shape, kind)
        whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = part.reshape(part_shape)
        return whole


def _box_of_content(array: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Where an array is not zero: first and past-last index along each axis."""
    start, stop = [0] * array.ndim, list(array.shape)
    # Smaller arrays are not worth the search, and -0.0 counts as zero there.
    if array.ndim != 3 or array.dtype.kind not in "bui" or array.size == 0:
        return start, stop
    for axis in range(3):
        others = tuple(n for n in range(3) if n != axis)
        content = np.flatnonzero(array.any(axis=others))
        if content.size == 0:
            return [0, 0, 0], [0, 0, 0]
        start[axis], stop[axis] = int(content[0]), int(content[-1]) + 1
        array = array[tuple(slice(start[n], stop[n]) if n == axis else slice(None) for n in range(3))]
    return start, stop


def _checked_place(place: Any) -> tuple[str, list[int], list[int], list[int], int]:
    try:
        kind, shape, start, stop, at = (place[name] for name in ("dtype", "shape", "start", "stop", "at"))
        numbers = [*shape, *start, *stop, at]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        inside = all(a <= b <= n for a, b, n in zip(start, stop, shape, strict=True))
    except (KeyError, TypeError, ValueError):
        whole = inside = False
        kind = shape = start = stop = at = None
    if not whole or not inside or kind not in DTYPES or len(shape) > 4 or max(shape, default=0) >= 2**31:
        raise InputError("An array of a message is not described as it should be; send it again.")
    return kind, shape, start, stop, at
