"""Slices on which a followed object could not be told, between slices on which it could: filled by shape.

Noise or a missing contrast on a few slices does not end an organ. What lies between two slices of the same object is
interpolated; assembly alone may fill single slices only, since it does not know that both sides are one object.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from MedSAM3SegmentLib.geometry.shape_interpolation import shape_between
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.results.tracks import SliceSource, Track

#: Slices are bridged over at most this far, in millimeters from the slice before to the slice after.
LONGEST_GAP_MM = 25.0

#: A slice that nobody showed and that has less than this part of the area between its neighbors was not seen well.
LEAST_AREA = 0.75


def interpolate_gap(track: Track, shape: tuple[int, int], thickness: float, *, only_missing: bool = False) -> Track:
    """``track`` with the slices it passed over, and those it saw too little of, interpolated between their neighbors.

    Seeds and drawn slices stay as they are, and a slice that a person drew as empty is not filled.

    Args:
        shape: (rows, columns) of a slice.
        thickness: millimeters from slice to slice.
        only_missing: whether slices that it saw little of stay as they are, where it is known that no more is its own.
    """
    sure = {*track.seeds, *track.drawn}
    masks = {index: soft_mask_to_binary(soft, shape) for index, soft in track.masks.items()}
    kept = [index for index in sorted(masks) if masks[index].any()]
    areas = {index: int(np.count_nonzero(masks[index])) for index in kept}
    weak = {
        index
        for below, index, above in zip(kept, kept[1:], kept[2:], strict=False)
        if not only_missing and index not in sure and areas[index] < LEAST_AREA * min(areas[below], areas[above])
    }
    firm = [index for index in kept if index not in weak]
    made, scores, sources = dict(track.masks), dict(track.object_scores), dict(track.sources)
    for before, after in pairwise(firm):
        between = range(before + 1, after)
        if (after - before) * thickness > LONGEST_GAP_MM or sure & set(between):
            continue
        shape_at = shape_between(masks[before], masks[after])
        for index in between:
            mask = shape_at((index - before) / (after - before))
            made[index] = SoftMask.of(mask | masks.get(index, mask))
            scores[index] = max(scores.get(index, 0.0), min(scores.get(before, 0.0), scores.get(after, 0.0)))
            sources[index] = SliceSource.INTERPOLATED
    made, scores = dict(sorted(made.items())), dict(sorted(scores.items()))
    return replace(track, masks=made, object_scores=scores, sources=sources)
