"""The shape of an object on a slice that was not seen, from slices before and after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask


def shape_between(before: BoolMask, after: BoolMask) -> Callable[[float], BoolMask]:
    """The shape at a fraction of the way from one mask ``[row, column]`` to another of the same size.

    By signed distances: Raya and Udupa, IEEE Trans. Med. Imaging 9 (1990) 32-42.
    """
    first, last = _signed_distance(before), _signed_distance(after)
    return lambda fraction: np.asarray((1 - fraction) * first + fraction * last > 0)


def _signed_distance(mask: BoolMask) -> NDArray[np.float64]:
    """In pixels to the mask's edge, above 0 inside; what lies beyond the slice is outside."""
    from scipy import ndimage

    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(padded) - ndimage.distance_transform_edt(~padded)
    return np.asarray(distance[1:-1, 1:-1])
