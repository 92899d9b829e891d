"""Typed frozen dataclasses to packets and back, by their type hints: what has a field here has it at the other end.

Everything is checked on the way in: wrong types, missing and unknown fields, numbers that are none, and whatever the
dataclasses themselves refuse.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import (
    Message,
    from_plain,
    message,
    to_plain,
)
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import Track

from .arrays import PacketReader, PacketWriter

T = TypeVar("T")

#: What a slice is sent as.
_BOUNDS = tuple[int | None, int | None, int | None]

#: Most bytes that the arrays of one message may take: dozens of concepts in a whole-body CT, each with two arrays as
#: large as that. They are mostly zeros, which take no memory while nobody writes to them.
MOST_BYTES = 256 * 1024**3

#: What there may be thousands of in one message; each gets a line of its own.
_OWN_LINE = (SliceDetections, Track)


def encode(value: Any) -> bytes:
    """A packet that holds a dataclass."""
    writer = PacketWriter()
    writer.add_line(_plain(value, writer))
    return writer.to_bytes()


def decode(
    data: bytes | memoryview,
    kind: type[T],
    most_bytes: int = MOST_BYTES,
    finite: bool = False,
    most_text: int | None = None,
) -> T:
    """The dataclass that a packet holds.

    Args:
        data: what ``encode`` gave.
        kind: what it must be.
        most_bytes: what its arrays may take.
        finite: whether numbers must be finite.
        most_text: what all that is no array may take, or None for as much as it has.

    Raises:
        InputError: the packet is damaged, too long, or holds something else.
    """
    reader = PacketReader(data, most_bytes, most_text)
    return cast(T, _Decoder(reader, finite).value(reader.line(reader.last_line), kind, kind.__name__))


def _plain(value: Any, writer: PacketWriter) -> Any:
    """A value as JSON has it."""
    if isinstance(value, str):
        return to_plain(value)
    if value is None:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, np.ndarray):
        return writer.add_array(value)
    if isinstance(value, bytes):
        return writer.add_array(np.frombuffer(value, np.uint8))
    if isinstance(value, Mapping):
        return [[_plain(key, writer), _plain(item, writer)] for key, item in value.items()]
    if isinstance(value, slice):
        return [_plain(bound, writer) for bound in (value.start, value.stop, value.step)]
    if isinstance(value, tuple | list | range):
        return [_plain(item, writer) for item in value]
    if is_dataclass(value):
        plain = {field.name: _plain(getattr(value, field.name), writer) for field in _sent_fields(type(value))}
        return {"line": writer.add_line(plain)} if isinstance(value, _OWN_LINE) else plain
    raise TypeError(f"A {type(value).__name__} cannot be sent.")


class _Decoder:
    """Values of one packet, each checked against its type hint."""

    def __init__(self, reader: PacketReader, finite: bool) -> None:
        self._reader = reader
        self._finite = finite

    def value(self, plain: Any, hint: Any, name: str) -> Any:
        """``plain`` as ``hint`` has it; ``name`` is what to call it in errors."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._optional(plain, hint, name)
        if hint is np.ndarray or origin is np.ndarray:
            return self._array(plain, hint, name)
        if hint is bytes:
            return self._bytes(plain, name)
        if origin is tuple:
            return self._tuple(plain, get_args(hint), name)
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(plain, get_args(hint), name)
        if hint is slice:
            return slice(*self.value(plain, _BOUNDS, name))
        if is_dataclass(hint):
            return self._dataclass(plain, cast(type, hint), name)
        return self._scalar(plain, hint, name)

    def _optional(self, plain: Any, hint: Any, name: str) -> Any:
        options = [option for option in get_args(hint) if option is not type(None)]
        if plain is None and len(options) < len(get_args(hint)):
            return None
        if isinstance(plain, str) and str in options:
            return plain
        return self.value(plain, options[0], name)

    def _array(self, plain: Any, hint: Any, name: str) -> Any:
        array = self._reader.array(plain)
        wanted = _dtype_of(hint)
        if wanted is not None and array.dtype != wanted:
            raise InputError(
                "The field '{name}' holds {dtype} where {wanted} belongs; send it again.",
                name=name,
                dtype=str(array.dtype),
                wanted=str(wanted),
            )
        return array

    def _bytes(self, plain: Any, name: str) -> bytes:
        array = self._reader.array(plain)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise _wrong(name, message("bytes"))
        return array.tobytes()

    def _tuple(self, plain: Any, hints: tuple[Any, ...], name: str) -> tuple[Any, ...]:
        if not isinstance(plain, list):
            raise _wrong(name, message("a list"))
        if len(hints) == 2 and hints[1] is Ellipsis:
            hints = (hints[0],) * len(plain)
        if len(plain) != len(hints):
            raise _wrong(name, message("a list of {count}", count=len(hints)))
        return tuple(self.value(item, hint, name) for item, hint in zip(plain, hints, strict=True))

    def _mapping(self, plain: Any, hints: tuple[Any, ...], name: str) -> dict[Any, Any]:
        if not isinstance(plain, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in plain):
            raise _wrong(name, message("a list of pairs"))
        return {self.value(key, hints[0], name): self.value(item, hints[1], name) for key, item in plain}

    def _dataclass(self, plain: Any, kind: type, name: str) -> Any:
        if issubclass(kind, _OWN_LINE):
            number = plain.get("line") if isinstance(plain, dict) else None
            if type(number) is not int:
                raise _wrong(name, message("a line number"))
            plain = self._reader.line(number)
        hints = _hints_of(kind)
        if not isinstance(plain, dict) or plain.keys() != hints.keys():
            raise InputError(
                "The field '{name}' does not hold what this version expects; use the same version at both ends.",
                name=name,
            )
        values = {key: self.value(plain[key], hint, f"{name}.{key}") for key, hint in hints.items()}
        try:
            return kind(**values)
        except ValueError as error:
            raise InputError("The field '{name}' cannot be used: {why}", name=name, why=str(error)) from None

    def _scalar(self, plain: Any, hint: Any, name: str) -> Any:
        if hint is float:
            if type(plain) not in (int, float):
                raise _wrong(name, message("a number"))
            try:
                number = float(plain)
            except OverflowError:
                number = math.inf
            if self._finite and not math.isfinite(number):
                raise _wrong(name, message("a finite number"))
            return number
        if hint is Message:
            try:
                return from_plain(plain)
            except ValueError:
                raise _wrong(name, message("text")) from None
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            if not isinstance(plain, str) or plain not in list(hint):
                raise _wrong(name, message("one of {names}", names=", ".join(hint)))
            return hint(plain)
        if hint not in (str, int, bool):
            raise TypeError(f"The type of '{name}' cannot be received: {hint}.")
        if type(plain) is not hint:
            raise _wrong(
                name, {str: message("text"), int: message("a whole number"), bool: message("true or false")}[hint]
            )
        return plain


def _sent_fields(kind: type) -> list[Field[Any]]:
    """The fields that are given to a dataclass, without those that it says are not sent."""
    return [field for field in fields(kind) if field.init and field.metadata.get("is_sent", True)]


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    """The fields of a dataclass that are given to it, by name."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in _sent_fields(kind)}


def _dtype_of(hint: Any) -> np.dtype[Any] | None:
    """The dtype that an ``NDArray`` hint names, or None when it leaves it open."""
    arguments = get_args(hint)
    scalar = get_args(arguments[1])[0] if len(arguments) == 2 and get_args(arguments[1]) else None
    return np.dtype(scalar) if isinstance(scalar, type) else None


def _wrong(name: str, wanted: Message) -> InputError:
    return InputError("The field '{name}' is not {wanted}; correct it and send it again.", name=name, wanted=wanted)
