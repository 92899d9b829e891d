"""What tests have done in a process of its own."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.isolated_read import IsolatedResult


def give_back(path: Path, *arguments: Any) -> IsolatedResult:
    return [str(path), *arguments], [np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.zeros((0, 2), np.float32)]


def crash(_path: Path) -> None:
    ctypes.string_at(0)


def leave(_path: Path) -> None:
    os._exit(0)


def hang(_path: Path) -> None:
    time.sleep(600)


def take_memory(_path: Path, size: int) -> None:
    np.empty(size, np.uint8)


def refuse(path: Path, count: int) -> None:
    raise InputError("{path} holds {count} things; give one.", path=path, count=count)


def fail(_path: Path) -> None:
    raise KeyError("a defect of the library")


def chatter(_path: Path) -> None:
    os.write(1, b"to standard output")
    os.write(2, b"to standard error")
