"""From per-slice evidence to one mask in the volume: which slices count, which objects are believed, and why.

Runs without the model and without torch, so a moved threshold is answered at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .grid import SliceStack
from .result import ConceptResult, Instance, SliceEvidence

#: Below the threshold by this factor a slice still counts if it continues an object that is sure elsewhere.
CONTINUATION = 0.5

#: An object must be seen for at least this far along the stack, unless the whole range that was looked at is shorter.
#: Real structures fill more than one thin slice; a detector's slips do not.
LEAST_EXTENT_MM = 8.0

#: An object that fills one thick slice only must be this much surer than the threshold asks (of what is left to 1).
SINGLE_SLICE_MARGIN = 0.6


def assemble(concept: ConceptResult, stack: SliceStack, threshold: float) -> ConceptResult:
    """The same evidence turned into mask, instances and reason at ``threshold``.

    A slice counts when its score reaches the threshold, or half of it where the object goes on from a sure slice.
    Connected objects (26 neighbours) that never reach the threshold, or are too short to be real, are dropped.
    """
    low = threshold * CONTINUATION
    candidates = np.zeros((stack.count, *stack.slice_shape), bool)
    for item in concept.evidence:
        if item.score >= low:
            candidates[item.slice_index] = slice_mask(item, low, stack.slice_shape)
    scores = np.zeros(stack.count)
    for item in concept.evidence:
        scores[item.slice_index] = item.score
    looked_at = len(concept.evidence)
    objects, instances, dropped = _believed_objects(candidates, scores, stack, threshold, looked_at)
    found = bool(instances)
    return replace(
        concept,
        found=found,
        reason=_reason(concept.evidence, instances, dropped, threshold),
        mask=np.ascontiguousarray(stack.insert(objects > 0)),
        instance_map=np.ascontiguousarray(stack.insert(objects)),
        instances=instances,
    )


def slice_mask(evidence: SliceEvidence, threshold: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of one slice ``[row, column]`` at the volume's resolution."""
    if evidence.semantic is not None:
        return resize(evidence.semantic.full(), shape) > 0.5
    mask = np.zeros(shape, bool)
    for detection in evidence.detections:
        if detection.score >= threshold:
            mask |= resize(detection.mask.full(), shape) > 0.5
    return mask


def resize(probability: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear resize of a map ``[row, column]``; pixel centres are matched as in ``torch`` without align_corners."""
    rows = _interpolation(probability.shape[0], shape[0])
    columns = _interpolation(probability.shape[1], shape[1])
    return np.asarray(rows @ probability @ columns.T)


def _interpolation(source: int, target: int) -> NDArray[np.float32]:
    """Weights ``[target, source]`` of linear interpolation along one axis."""
    positions = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(positions).astype(int)
    upper = np.minimum(lower + 1, source - 1)
    fraction = (positions - lower).astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    index = np.arange(target)
    np.add.at(weights, (index, lower), 1 - fraction)
    np.add.at(weights, (index, upper), fraction)
    return weights


def _believed_objects(
    candidates: NDArray[np.bool_], scores: NDArray[np.float64], stack: SliceStack, threshold: float, looked_at: int
) -> tuple[NDArray[np.uint16], tuple[Instance, ...], int]:
    """Objects ``[slice, row, column]`` numbered from the largest, what is known of each, and how many were dropped."""
    from scipy import ndimage

    numbered = np.zeros(candidates.shape, np.uint16)
    bounds = _bounding_box(candidates)
    if bounds is None:
        return numbered, (), 0
    labels, count = ndimage.label(candidates[bounds], structure=np.ones((3, 3, 3)))
    spacing = stack.spacing[0]
    required = min(LEAST_EXTENT_MM, looked_at * spacing)
    believed = []
    for number, extent in enumerate(ndimage.find_objects(labels), start=1):
        first = bounds[0].start + extent[0].start
        last = bounds[0].start + extent[0].stop - 1
        best = float(scores[first : last + 1].max())
        sure = threshold
        if first == last and looked_at > 1:
            sure = threshold + SINGLE_SLICE_MARGIN * (1 - threshold)
        if best < sure or (last - first + 1) * spacing < required - 1e-6:
            continue
        voxels = int(np.count_nonzero(labels[extent] == number))
        believed.append((voxels, number, first, last, best))
    believed.sort(reverse=True)
    relabel = np.zeros(count + 1, np.uint16)
    instances = []
    for rank, (voxels, number, first, last, best) in enumerate(believed, start=1):
        relabel[number] = rank
        instances.append(Instance(rank, voxels, voxels * stack.grid.voxel_volume_mm3, first, last, best))
    numbered[bounds] = relabel[labels]
    return numbered, tuple(instances), count - len(instances)


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    ranges = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if filled.size == 0:
            return None
        ranges.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return ranges[0], ranges[1], ranges[2]


def _reason(evidence: Sequence[SliceEvidence], instances: Sequence[Instance], dropped: int, threshold: float) -> str:
    best = max(evidence, key=lambda item: item.score)
    if instances:
        first = min(instance.first_slice for instance in instances)
        last = max(instance.last_slice for instance in instances)
        where = f"on slice {first}" if first == last else f"on slices {first} to {last}"
        return f"Found {where}; the best score is {best.score:.2f} on slice {best.slice_index}."
    if best.score < threshold:
        return (
            f"Not found: the best score is {best.score:.2f} on slice {best.slice_index}, "
            f"below the threshold {threshold:g}."
        )
    if dropped:
        return (
            f"Not found: the best score is {best.score:.2f} on slice {best.slice_index}, "
            "but nothing goes on through enough slices to be an object."
        )
    return f"Not found: slice {best.slice_index} scores {best.score:.2f}, but no mask came with it."
