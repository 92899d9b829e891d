"""How likely each voxel belongs to a concept, as the model said, where assembly kept it."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask, resize_soft_mask

from .result import ConceptResult

#: The most that a voxel outside of the mask gets: so the mask comes back where half is taken as the limit, in 8 bits
#: too.
_MOST_OUTSIDE = 0.49


def soft_volume(concept: ConceptResult, stack: SliceStack, threshold: float, mask: BoolMask | None = None) -> FloatMap:
    """Probabilities ``[k, j, i]``, 0 to 1, that are at least 0.5 in the mask, below it outside, and 0 on slices that
    the mask has nothing of.

    Args:
        stack: of the result.
        threshold: scores from which on detections count.
        mask: a part of the concept's mask, as of one instance; None for all of it.
    """
    mask = concept.mask if mask is None else mask
    slices = stack.extract(mask)
    probability = np.zeros(slices.shape, np.float32)
    maps: dict[int, list[SoftMask]] = {}
    for item in concept.evidence:
        kept = [detection.mask for detection in item.detections if detection.score >= threshold]
        maps.setdefault(item.slice_index, []).extend([item.semantic] if item.semantic is not None else kept)
    for track in concept.tracks:
        for index, soft in track.masks.items():
            maps.setdefault(index, []).append(soft)
    for index, softs in maps.items():
        if slices[index].any():
            for soft in softs:
                np.maximum(probability[index], resize_soft_mask(soft, stack.slice_shape), out=probability[index])
    inside = np.clip(probability, MASK_THRESHOLD, 1)
    outside = np.clip(probability, 0, _MOST_OUTSIDE)
    return np.asarray(stack.insert(np.where(slices, inside, outside)), np.float32)
