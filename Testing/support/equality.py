"""Whether two values of the engine's words are equal, arrays and all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from MedSAM3SegmentLib.messages.message import Message


def assert_same(one: Any, other: Any, where: str = "value") -> None:
    """Fail unless both have the same types, fields, numbers and arrays; NaN equals NaN."""
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray), where
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        np.testing.assert_array_equal(one, other, err_msg=where)
    elif is_dataclass(one):
        assert type(one) is type(other), where
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, Mapping):
        assert list(one) == list(other), where
        for key in one:
            assert type(key) is type(next(k for k in other if k == key)), where
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, tuple):
        assert isinstance(other, tuple), where
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, float) and one != one:
        assert isinstance(other, float), where
        assert other != other, where
    else:
        assert type(one) is type(other), where
        assert one == other, where
        if isinstance(one, Message):
            assert one.template == other.template, where
            assert_same(one.facts, other.facts, where)
