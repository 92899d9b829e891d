"""A volume looked at along several planes: the soft masks averaged, the scores of each slice with them.

For volumes whose voxels are nearly as thick as they are wide. An object that one plane shows badly the others may show
well, and a slip of the detector in one plane is outvoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, resize_soft_mask
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion

from .detect_slices import ConceptQuery, detect_slices

#: Voxels longer than this many times their width make pictures in the other planes that no model has seen the like of.
LARGEST_ANISOTROPY = 2.0


@dataclass(frozen=True, eq=False)
class PlaneEvidence:
    """What was seen of one concept along one plane."""

    stack: SliceStack
    evidence: Sequence[SliceDetections]


def other_stacks(request: SegmentRequest, stack: SliceStack) -> list[SliceStack]:
    """The volume cut in each plane of ``request.more_planes`` that it is not cut in already.

    Raises:
        InputError: the voxels are too far from cubes, or what was drawn or is followed belongs to one plane.
    """
    stacks = [stack]
    for plane in request.more_planes:
        other = SliceStack.along(stack.grid, plane)
        if all(other.axis != known.axis for known in stacks):
            stacks.append(other)
    if len(stacks) > 1 and request.mode is not Mode.SLICES:
        raise InputError(
            "More planes do not go with the mode '{mode}'; choose the mode '{other}'.",
            mode=request.mode,
            other=Mode.SLICES,
        )
    if len(stacks) > 1 and request.prompts:
        raise InputError("What was drawn is seen along one plane only; leave more planes out.")
    spacing = stack.grid.spacing
    if len(stacks) > 1 and max(spacing) > LARGEST_ANISOTROPY * min(spacing):
        raise InputError(
            "The voxels are {size} mm, too far from cubes to be looked at along more planes; use one plane.",
            size=" x ".join(f"{mm:.3g}" for mm in spacing),
        )
    return stacks[1:]


def search_regions_along(request: SegmentRequest, search_region: SearchRegion) -> list[SearchRegion]:
    """``search_region`` and the same voxels along each other plane of ``request``.

    Raises:
        InputError: as ``other_stacks``.
    """
    return [search_region, *(search_region.along(stack) for stack in other_stacks(request, search_region.stack))]


def detect_along_planes(
    features: SliceFeatures,
    questions: Sequence[ConceptQuery],
    search_regions: Sequence[SearchRegion],
    threshold: float,
    reporter: RunReporter,
) -> list[list[SliceDetections]]:
    """Evidence per question and slice as ``detect_slices.detect_slices`` gives it, from all planes that are asked for.

    Args:
        features: of the volume, cut as the first search region's stack is.
        search_regions: of each plane; the answer has the slices of the first.

    Raises:
        Cancelled: between two batches.
    """
    search_region, *others = search_regions
    evidence = detect_slices(features, questions, search_region, threshold, reporter)
    if not others:
        return evidence
    # Slices of another plane would be shown in the wrong place.
    unseen = replace(reporter, callbacks=replace(reporter.callbacks, partial=None))
    by_plane = [detect_slices(features.along(other.stack), questions, other, threshold, unseen) for other in others]
    return [
        fuse_planes(
            PlaneEvidence(search_region.stack, items),
            [PlaneEvidence(other.stack, seen[number]) for other, seen in zip(others, by_plane, strict=True)],
            features.model.card.threshold,
        )
        for number, items in enumerate(evidence)
    ]


def fuse_planes(main: PlaneEvidence, others: Sequence[PlaneEvidence], full_vote: float) -> list[SliceDetections]:
    """The evidence of several planes as that of one.

    Each voxel's soft value is the mean over the planes, and so is each slice's score: what another plane scores for a
    slice is the best of its own slices that show the object there. Memory: one float32 volume.

    Args:
        main: the plane whose slices the answer has.
        others: of the same volume.
        full_vote: score from which a slice votes with its whole soft mask; one with less votes the less.

    Returns:
        One item per item of ``main``, with a semantic map at the volume's resolution; what a detector sees as several
        objects is not told apart in it.
    """
    planes = [main, *others]
    total = np.zeros(main.stack.grid.shape, np.float32)
    scores = np.zeros((len(planes), main.stack.count))
    for plane, score in zip(planes, scores, strict=True):
        slices = plane.stack.extract(total)
        for item in plane.evidence:
            if plane is main:
                score[item.slice_index] = item.score
            soft = _soft(item, plane.stack.slice_shape)
            if soft is None:
                continue
            slices[item.slice_index] += soft * np.float32(min(1.0, item.score / full_vote) / len(planes))
            if plane is not main:
                np.maximum(score, item.score * _along(soft, plane.stack, main.stack), out=score)
    upright = main.stack.extract(total)
    return [
        SliceDetections(
            item.slice_index,
            float(scores[:, item.slice_index].mean()),
            item.presence,
            semantic=SoftMask.of(upright[item.slice_index]),
        )
        for item in main.evidence
    ]


def _soft(item: SliceDetections, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The concept's probability on one slice ``[row, column]``; a doubtful detection counts less than the best one."""
    if item.semantic is not None:
        return resize_soft_mask(item.semantic, shape)
    if not item.detections:
        return None
    best = item.detections[0].score
    maps = (resize_soft_mask(each.mask, shape) * np.float32(each.score / best) for each in item.detections)
    return np.asarray(np.maximum.reduce(list(maps)))


def _along(soft: NDArray[np.float32], stack: SliceStack, main: SliceStack) -> NDArray[np.float32]:
    """The best value that one slice of ``stack`` has on each slice of ``main``."""
    across = 1 if stack.array_axes[1] == main.array_axes[0] else 0
    best = np.asarray(soft.max(axis=across))
    return best[::-1] if stack.flips[2 - across] else best
