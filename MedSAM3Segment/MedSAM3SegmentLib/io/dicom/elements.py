"""Values of DICOM elements, taken from the bytes as they stand: a broken value is no value, and never an exception.

pydicom takes the file apart. Its own conversion of values warns, raises and validates where a header is odd, and takes
most of the time of reading a header; what is wanted here is a handful of numbers.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_logger = logging.getLogger(__name__)

#: How the binary value representations are stored (PS3.5 6.2).
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}

#: What somebody typed is cut at this length where it is shown.
_LONGEST_TEXT = 64


def text(data: Dataset, keyword: str) -> str:
    """The value of an element of codes, numbers or UIDs as it is written, without padding; ``""`` where it has none."""
    stored = _stored(data, keyword)
    if isinstance(stored, bytes):
        if _representation(data, keyword) in _BINARY:
            return "\\".join(f"{value:.10g}" for value in numbers(data, keyword))
        return stored.decode("ascii", "replace").strip(" \0")
    if stored is None:
        return ""
    values = stored if isinstance(stored, list) else [stored]
    return "\\".join(str(value) for value in values).strip(" \0")


def codes(data: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an element of codes in upper case, such as Image Type."""
    written = text(data, keyword).upper()
    return tuple(code.strip(" \0") for code in written.split("\\")) if written else ()


def numbers(data: Dataset, keyword: str) -> tuple[float, ...]:
    """The numbers of an element; none where one of them is no finite number."""
    stored = _stored(data, keyword)
    try:
        if isinstance(stored, bytes):
            form = _BINARY.get(_representation(data, keyword))
            if form is None:
                parts = stored.decode("ascii").strip(" \0")
                values = tuple(float(part) for part in parts.split("\\")) if parts else ()
            else:
                order = "<" if _is_little_endian(data, keyword) else ">"
                values = tuple(float(n) for (n,) in struct.iter_unpack(order + form, stored))
        elif stored is None:
            return ()
        else:
            values = tuple(float(value) for value in (stored if isinstance(stored, list) else [stored]))
    except (ValueError, TypeError, OverflowError, UnicodeDecodeError, struct.error):
        return ()
    return values if all(map(math.isfinite, values)) else ()


def vector(data: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` numbers, or None."""
    values = numbers(data, keyword)
    return values if len(values) == count else None


def number(data: Dataset, keyword: str) -> float | None:
    """The first number, or None."""
    values = numbers(data, keyword)
    return values[0] if values else None


def whole(data: Dataset, keyword: str) -> int | None:
    """The first number where it is a whole one, or None."""
    value = number(data, keyword)
    return int(value) if value is not None and value == int(value) else None


def items(data: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The items of a sequence; none where it is missing or damaged.

    Raises:
        RecursionError: sequences are nested too deeply.
    """
    tag = _tag(keyword)
    if tag not in data:
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(data[tag].value or ())
    except RecursionError:
        raise
    except Exception as error:  # pydicom raises whatever comes where a sequence is damaged
        _logger.debug("%s: %s", keyword, error)
        return ()


def typed_text(data: Dataset, keyword: str) -> str:
    """What somebody typed, in its own character set, on one line and not long; for the eyes of the user only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = str(data[_tag(keyword)].value or "")
    except Exception as error:  # an unknown or damaged character set
        _logger.debug("%s: %s", keyword, error)
        value = text(data, keyword)
    value = " ".join("".join(char if char.isprintable() else " " for char in value).split())
    return value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 3] + "..."


@cache
def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return tag


@cache
def _known_representation(keyword: str) -> str:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(_tag(keyword))


def _representation(data: Dataset, keyword: str) -> str:
    stored = getattr(data.get_item(_tag(keyword)), "VR", None)
    known = _known_representation(keyword)
    return str(stored) if stored in _BINARY else known


def _is_little_endian(data: Dataset, keyword: str) -> bool:
    return bool(getattr(data.get_item(_tag(keyword)), "is_little_endian", True))


def _stored(data: Dataset, keyword: str) -> Any:
    """Bytes as they are in the file; a value or a list of values where pydicom has converted it already; or None."""
    tag = _tag(keyword)
    if tag not in data:
        return None
    element = data.get_item(tag)
    if element is None:
        return None
    value = element.value
    if isinstance(value, bytes) or value is None:
        return value
    return list(value) if not isinstance(value, (str, int, float)) and hasattr(value, "__iter__") else value
