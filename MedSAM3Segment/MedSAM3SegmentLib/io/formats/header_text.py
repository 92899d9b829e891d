"""What text headers (NRRD, MetaImage) have in common: numbers out of a file, and what their errors say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message

#: A longer header is none: Slicer's, of a thousand segments, takes one.
_LONGEST_HEADER_BYTES = 1 << 26

_MILLIMETERS = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "?", "???")


def header_lines(file: IO[bytes], path: Path) -> list[str]:
    """The next line of a header, one by one, up to an empty one or the end of the file; neither is in the list.

    Raises:
        InputError: there is no end to them.
    """
    lines = []
    while (line := next_line(file, path)) is not None and line:
        lines.append(line)
    return lines


def next_line(file: IO[bytes], path: Path) -> str | None:
    """One line without its end; None at the end of the file. Bytes that are not UTF-8 stay as Python keeps them.

    Raises:
        InputError: it is longer than any header.
    """
    line = file.readline(_LONGEST_HEADER_BYTES)
    if file.tell() > _LONGEST_HEADER_BYTES:
        raise broken_header(path)
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n") if line else None


def whole_numbers(text: str | None, count: int, path: Path) -> list[int]:
    """``count`` whole numbers.

    Raises:
        InputError: they are something else.
    """
    try:
        values = [int(part) for part in (text or "").split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise broken_header(path)
    return values


def numbers(text: str, count: int, path: Path) -> list[float]:
    """``count`` numbers, which may be NaN.

    Raises:
        InputError: they are something else.
    """
    try:
        values = [float(part) for part in text.split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise broken_header(path)
    return values


def check_sizes(sizes: Sequence[int], path: Path) -> None:
    """Make sure that there are voxels.

    Raises:
        InputError: there are none.
    """
    if min(sizes, default=0) < 1:
        raise InputError(
            "{path} is empty: its size is {size} voxels; export it again.", path=path, size=" x ".join(map(str, sizes))
        )


def check_one_volume(others: Sequence[int], path: Path) -> None:
    """Make sure that the axes beside the three of space have one entry each.

    Raises:
        InputError: there are several volumes.
    """
    if (count := math.prod(others)) > 1:
        raise InputError(
            "{path} holds {count} volumes (time points or channels); extract one and give that.",
            path=path,
            count=count,
        )


def broken_header(path: Path) -> InputError:
    """The error for a header that contradicts itself."""
    return InputError("{path} has a damaged header; export it again.", path=path)


def unit_messages(units: Sequence[str]) -> tuple[Message, ...]:
    """What to say where lengths have another unit than millimeters, which ITK and Slicer do not look at."""
    odd = next((unit for unit in units if unit.strip().casefold() not in _MILLIMETERS), None)
    if odd is None:
        return ()
    shown = "".join(letter for letter in odd[:20] if letter.isalnum())
    return (
        message(
            "The header gives its lengths in another unit ({unit}); they were taken for millimetres, as 3D Slicer "
            "does.",
            unit=shown,
        ),
    )
