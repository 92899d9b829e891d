"""How far each pixel of a slice lies from the edge of a mask."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap

#: Pixel spacing along rows and along columns, millimeters.
PixelSpacing = tuple[float, float]

#: A probability is this far from one half at least, so that rounding moves no pixel over it.
_CLEAR = 0.01

#: Distance of what is far from any object, millimeters.
FAR_MM = 1e3


def signed_distance(mask: BoolMask, spacing: PixelSpacing) -> FloatMap:
    """Millimeters to the mask's edge, above 0 inside; what lies beyond the array is outside.

    The edge runs half a pixel beyond the centers of the outermost pixels, so a mask is where the distance is above 0.

    Args:
        mask: bool ``[row, column]``; an empty one is far from everywhere.
    """
    from scipy import ndimage

    if not mask.any():
        return np.full(mask.shape, -FAR_MM, np.float32)
    padded = np.pad(mask, 1)
    inside = ndimage.distance_transform_edt(padded, sampling=spacing)
    outside = ndimage.distance_transform_edt(~padded, sampling=spacing)
    half = 0.5 * min(spacing)
    distance = np.where(padded, inside - half, half - outside)
    return np.asarray(distance[1:-1, 1:-1], np.float32)


def probability_of(distance: FloatMap, error_mm: float) -> FloatMap:
    """How sure each pixel is inside, where the edge that is ``distance`` millimeters away may err by ``error_mm``."""
    from scipy.special import expit

    probability = np.asarray(expit(distance / error_mm), np.float32)
    clear = np.where(distance > 0, np.maximum(probability, 0.5 + _CLEAR), np.minimum(probability, 0.5 - _CLEAR))
    return np.asarray(clear, np.float32)


def edge_error_mm(one: FloatMap, other: FloatMap, spacing: PixelSpacing) -> float | None:
    """Mean millimeters between the edges of two masks, given as signed distances; None where one has no edge."""
    near = 0.75 * max(spacing)
    apart = np.concatenate([np.abs(other)[np.abs(one) <= near], np.abs(one)[np.abs(other) <= near]])
    if not (np.abs(one) <= near).any() or not (np.abs(other) <= near).any():
        return None
    return float(apart.mean())
