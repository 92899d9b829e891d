"""Soft masks: probability maps at the model's resolution, and how they become masks at the volume's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

#: A pixel belongs to a mask from this probability on.
MASK_THRESHOLD = 0.5

#: Probabilities below this are kept as nothing.
_MIN_PROBABILITY = 0.02


@dataclass(frozen=True, eq=False)
class SoftMask:
    """A probability map at the model's mask resolution, cropped to where it is not zero.

    Attributes:
        size: (rows, columns) of the whole map, which covers the whole slice.
        top, left: where the crop begins.
        probability: float16 ``[row, column]`` of the crop.
    """

    size: tuple[int, int]
    top: int
    left: int
    probability: NDArray[np.float16]

    @classmethod
    def of(cls, probability: NDArray[np.floating | np.bool_]) -> SoftMask:
        """A probability map or mask ``[row, column]``, without what is next to nothing around it."""
        shown = probability > _MIN_PROBABILITY
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        size = (int(probability.shape[0]), int(probability.shape[1]))
        if rows.size == 0:
            return cls(size, 0, 0, np.zeros((0, 0), np.float16))
        top, left = int(rows[0]), int(columns[0])
        part = probability[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return cls(size, top, left, part.astype(np.float16))

    def full(self) -> NDArray[np.float32]:
        """The whole map, float32 ``size``."""
        whole = np.zeros(self.size, np.float32)
        rows, columns = self.probability.shape
        whole[self.top : self.top + rows, self.left : self.left + columns] = self.probability
        return whole


#: For linear interpolation along one axis the two places to take from, and the weight of the second.
_Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def resize_map(probability: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear resize of a map ``[row, column]``; pixel centers are matched as in ``torch`` without align_corners."""
    return _interpolated(probability, _places(probability.shape[0], shape[0]), _places(probability.shape[1], shape[1]))


def resize_soft_mask(soft: SoftMask, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The whole map ``[row, column]`` as ``resize_map`` gives it, but only computed where it is not zero."""
    whole = np.zeros(shape, np.float32)
    if soft.probability.size == 0:
        return whole
    starts = (soft.top, soft.left)
    windows, places = [], []
    for start, length, source, target in zip(starts, soft.probability.shape, soft.size, shape, strict=True):
        lower, upper, fraction = _places(source, target)
        near = np.flatnonzero((upper >= start) & (lower < start + length))
        if near.size == 0:  # too small for any pixel of the target
            return whole
        window = slice(int(near[0]), int(near[-1]) + 1)
        windows.append(window)
        # One zero before and one after the crop stand for all that is around it.
        lower, upper = (np.clip(part[window] - start + 1, 0, length + 1) for part in (lower, upper))
        places.append((lower, upper, fraction[window]))
    padded = np.pad(soft.probability.astype(np.float32), 1)
    whole[windows[0], windows[1]] = _interpolated(padded, places[0], places[1])
    return whole


def soft_mask_to_binary(soft: SoftMask, shape: tuple[int, int]) -> BoolMask:
    """The mask ``[row, column]`` at the volume's resolution."""
    return np.asarray(resize_soft_mask(soft, shape) > MASK_THRESHOLD)


def _interpolated(probability: NDArray[np.float32], rows: _Places, columns: _Places) -> NDArray[np.float32]:
    lower, upper, fraction = rows
    along = probability[lower] * (1 - fraction)[:, None] + probability[upper] * fraction[:, None]
    lower, upper, fraction = columns
    return np.asarray(along[:, lower] * (1 - fraction) + along[:, upper] * fraction)


def _places(source: int, target: int) -> _Places:
    positions = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(positions).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (positions - lower).astype(np.float32)
