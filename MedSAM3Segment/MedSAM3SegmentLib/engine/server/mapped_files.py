"""Voxels in files: small ones are read, large ones mapped, since each mapping keeps a file number."""

from __future__ import annotations

import math
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes up to which a volume is read. Mapping saves no memory worth a file number then.
_SMALL_BYTES = 4 * 2**20


class MappedFiles:
    """Opens files of voxels and counts those that are mapped, until nobody uses their arrays any more.

    Args:
        most: files that may be mapped at once; what is opened beyond is read into memory.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._mapped: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Files that are mapped now."""
        with self._lock:
            return len(self._mapped)

    def open(self, path: Path, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The voxels of a file, not to be written to.

        Args:
            shape: of the array; the file must hold as many values.

        Raises:
            OSError: the file cannot be opened or mapped.
        """
        count = math.prod(shape)
        if count == 0:
            return np.zeros(shape, dtype)
        with self._lock:
            if count * np.dtype(dtype).itemsize > _SMALL_BYTES and len(self._mapped) < self.most:
                mapped = np.memmap(path, dtype, "r", shape=shape)
                self._mapped.add(mapped._mmap)  # type: ignore[attr-defined]
                return mapped.view(np.ndarray)
        array = np.fromfile(path, dtype, count).reshape(shape)
        array.setflags(write=False)
        return array
