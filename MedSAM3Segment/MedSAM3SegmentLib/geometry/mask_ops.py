"""How far masks agree, and where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

#: Index ranges of a ``[k, j, i]`` array.
Box = tuple[slice, slice, slice]


def mask_iou(one: BoolMask, other: BoolMask) -> float:
    """Intersection over union of two masks of the same shape; 0 where both are empty."""
    both = int(np.count_nonzero(one & other))
    return iou_of_areas(both, int(np.count_nonzero(one)), int(np.count_nonzero(other)))


def iou_of_areas(intersection: float, one: float, other: float) -> float:
    """Intersection over union from the areas of two shapes and of what both have; 0 where both are empty."""
    union = one + other - intersection
    return intersection / union if union else 0.0


def bounding_box(array: NDArray[Any]) -> Box:
    """The smallest part of ``array`` ``[k, j, i]`` that holds all that is not 0; empty where that is nothing."""
    box = [slice(0, n) for n in array.shape]
    part = array
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        there = np.flatnonzero(part.any(axis=others))
        if there.size == 0:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        box[axis] = slice(int(there[0]), int(there[-1]) + 1)
        part = array[tuple(box)]
    return box[0], box[1], box[2]
