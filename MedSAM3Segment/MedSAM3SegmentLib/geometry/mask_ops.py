"""How far masks agree."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask


def mask_iou(one: BoolMask, other: BoolMask) -> float:
    """Intersection over union of two masks of the same shape; 0 where both are empty."""
    both = int(np.count_nonzero(one & other))
    return iou_of_areas(both, int(np.count_nonzero(one)), int(np.count_nonzero(other)))


def iou_of_areas(intersection: float, one: float, other: float) -> float:
    """Intersection over union from the areas of two shapes and of what both have; 0 where both are empty."""
    union = one + other - intersection
    return intersection / union if union else 0.0
