"""Which slices decide: where a mask is largest, weakest, ends and changes most, and some between."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack

#: How much is shown around what is marked, as a multiple of its extent.
CONTEXT = 2.5

#: The least part of a slice's shorter edge that is shown.
_LEAST_VIEW = 0.35


def deciding_slices(mask: BoolMask, stack: SliceStack, scores: Mapping[int, float], most: int) -> list[int]:
    """Up to ``most`` slices along the stack, rising, that tell most about a mask ``[k, j, i]``.

    The largest, the one with the lowest score, both ends, the one before the largest change of area, then those
    farthest from all that are shown. Of an empty mask those with the best scores.

    Args:
        scores: of the phrase by slice.
    """
    areas = np.count_nonzero(stack.extract(mask), axis=(1, 2))
    on = np.flatnonzero(areas).tolist()
    if not on:
        ranked = sorted(scores or {stack.count // 2: 0.0}, key=lambda index: -scores.get(index, 0.0))
        return sorted(ranked[:most])
    jumps = np.abs(np.diff(areas[on[0] : on[-1] + 1])) if len(on) > 1 else np.zeros(1)
    wanted = [
        int(np.argmax(areas)),
        min(on, key=lambda index: scores.get(index, 1.0)),
        on[0],
        on[-1],
        on[0] + int(np.argmax(jumps)),
    ]
    chosen = list(dict.fromkeys(index for index in wanted if areas[index]))[:most]
    while len(chosen) < most and (free := [index for index in on if index not in chosen]):
        chosen.append(max(free, key=lambda index: min(abs(index - shown) for shown in chosen)))
    return sorted(chosen)


def spread_slices(stack: SliceStack, region: BoolMask | None, most: int) -> list[int]:
    """Up to ``most`` slices evenly through a region ``[k, j, i]``, or through all of the stack."""
    on = list(range(stack.count))
    if region is not None and region.any():
        on = np.flatnonzero(stack.extract(region).any(axis=(1, 2))).tolist()
    places = np.linspace(0, len(on) - 1, min(most, len(on)))
    return sorted({on[round(place)] for place in places})


def view_of(masks: BoolMask, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns to show, half-open, the same for all tiles of a page.

    Args:
        masks: bool ``[row, column]``, all that is marked on any tile; where it is empty all is shown.
        shape: rows and columns of a slice.
    """
    parts = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        places = np.flatnonzero(masks.any(axis=axis))
        if places.size == 0:
            parts.append((0, length))
            continue
        first, end = int(places[0]), int(places[-1]) + 1
        reach = max((end - first) * CONTEXT, _LEAST_VIEW * min(shape)) / 2
        middle = (first + end) / 2
        parts.append((max(round(middle - reach), 0), min(round(middle + reach) + 1, length)))
    return parts[0], parts[1]
