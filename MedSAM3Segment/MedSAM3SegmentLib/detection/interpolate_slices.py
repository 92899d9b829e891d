"""Evidence of slices that no model saw, from that of the slices before and after: shapes between shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.geometry.mask_ops import bounding_box
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.results.slice_detections import SliceDetections


def interpolate_slices(
    evidence: Sequence[SliceDetections],
    candidates: Sequence[int],
    slices: Sequence[int],
    low: float,
    shape: tuple[int, int],
) -> list[SliceDetections]:
    """``evidence`` with what lies between: shapes by signed distances, scores linearly.

    Where only one of two neighbors shows the concept, its shape shrinks to nothing half of the way to the other.

    Args:
        evidence: of slices that were looked at, rising.
        candidates: the slices that may have been looked at, rising; only between neighbors of these anything is filled
            in.
        slices: of all that are asked for, rising.
        low: lowest score of a slice that shows the concept.
        shape: of a slice.
    """
    seen = {item.slice_index: item for item in evidence}
    found = list(evidence)
    for before, after in pairwise(candidates):
        between = [index for index in slices if before < index < after]
        if between and before in seen and after in seen:
            found += _between(seen[before], seen[after], between, low, shape)
    return sorted(found, key=lambda item: item.slice_index)


def _between(
    before: SliceDetections, after: SliceDetections, indices: Sequence[int], low: float, shape: tuple[int, int]
) -> list[SliceDetections]:
    masks = [slice_mask(item, min(low, item.score), shape) if item.score >= low else None for item in (before, after)]
    first, last = (None if mask is None or not mask.any() else mask for mask in masks)
    shape_at = _shape_between(first, last)
    length = after.slice_index - before.slice_index
    found = []
    for index in indices:
        fraction = (index - before.slice_index) / length
        near = before if fraction <= 0.5 else after
        score, presence = near.score, near.presence
        if first is not None and last is not None:
            score = (1 - fraction) * before.score + fraction * after.score
            presence = (1 - fraction) * before.presence + fraction * after.presence
        mask = shape_at(fraction)
        semantic = None if mask is None else SoftMask.of(np.asarray(mask, bool))
        found.append(SliceDetections(index, score, presence, semantic=semantic))
    return found


def _shape_between(first: BoolMask | None, last: BoolMask | None) -> Callable[[float], BoolMask | None]:
    """The shape at a fraction of the way, by distances to the edge (Raya and Udupa, IEEE Trans. Med. Imaging 9 (1990)).

    A shape without a partner shrinks to nothing half of the way to the other slice.
    """
    seen = [mask for mask in (first, last) if mask is not None]
    if not seen:
        return lambda _: None
    either = np.logical_or.reduce(seen)
    _, rows, columns = bounding_box(either[None])
    part = np.s_[max(rows.start - 1, 0) : rows.stop + 1, max(columns.start - 1, 0) : columns.stop + 1]
    levels = [None if mask is None else _edge_distance(mask[part]) for mask in (first, last)]
    deepest = max(float(level.max()) for level in levels if level is not None)
    before, after = (np.float64(-deepest) if level is None else level for level in levels)

    def at(fraction: float) -> BoolMask:
        mask: BoolMask = np.zeros(either.shape, bool)
        mask[part] = (1 - fraction) * before + fraction * after > 0
        return mask

    return at


def _edge_distance(mask: BoolMask) -> NDArray[np.float64]:
    """In pixels to the edge between pixels, above 0 inside; what lies beyond is outside."""
    from scipy import ndimage

    padded = np.pad(mask, 1)
    inside, outside = (ndimage.distance_transform_edt(part) for part in (padded, ~padded))
    return np.asarray((inside - outside - np.where(padded, 0.5, -0.5))[1:-1, 1:-1])
