"""A corrected slice, carried through the stack: from an earlier result and what a person changed to a new request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Grouping, Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult

#: Slices this close to a corrected one are not relied on: what was wrong there is often wrong on its neighbors too.
NOT_RELIED_ON = 3


#: Beyond those, an anchor is looked for on so many slices on each side: what lies between it and the corrected slice is
#: filled by their shapes, which say the less the farther they are apart.
_NEAREST_ANCHORS = 4


def correction_request(
    request: SegmentRequest,
    result: SegmentResult,
    concept: str,
    mask: BoolMask,
    corrected: Collection[int],
) -> SegmentRequest:
    """Ask for one concept again, with slices as a person left them.

    The corrected slices come back bit-identical; all others are found anew, but for one slice on each side of the
    corrected ones, the surest of the earlier result that is not near them: it stays as it is and holds the object where
    it was right.

    Args:
        request: what ``result`` was asked for with.
        mask: bool ``[k, j, i]``, the segment as it is now.
        corrected: slices of ``result.stack`` that the person changed; one that is empty in ``mask`` says that the
            object is not on it.

    Raises:
        InputError: no slice was corrected, the mask does not fit, or the concept is not in the result.
    """
    stack = result.stack
    earlier = next((one for one in result.concepts if one.concept == concept), None)
    if earlier is None:
        raise InputError("'{concept}' is not in the result; choose one of its concepts.", concept=concept)
    if mask.shape != stack.grid.shape:
        raise InputError(
            "The corrected segment has {size} voxels, the volume {volume_size}; resample it to the volume.",
            size=str(mask.shape[::-1]),
            volume_size=str(stack.grid.shape[::-1]),
        )
    if not corrected or not all(0 <= index < stack.count for index in corrected):
        raise InputError("No corrected slice of the stack's {count} was named; correct one first.", count=stack.count)
    slices = stack.extract(mask.astype(bool, copy=False))
    there = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
    scores = slice_scores(earlier)
    drawn = {index for track in earlier.tracks for index in track.drawn}
    kept = drawn | set(anchor_slices(there, corrected, scores))
    marks = MaskPromptRAS(mask.astype(bool, copy=False), tuple(sorted({*corrected, *kept})))
    is_name = concept in request.prompts and not request.prompts[concept].is_phrase
    within = result.search_region_of(concept)
    return replace(
        request,
        concepts=(concept,),
        # What it lies in is not found again; it stays where it was.
        inside=None if within is None else within.inside,
        # Where the words stand for something, fresh detections go on checking what is carried.
        mode=Mode.FROM_PROMPTS if is_name else Mode.PROPAGATE,
        prompts={concept: TargetPrompts(masks=(marks,), is_phrase=not is_name)},
        window=earlier.window,
        threshold=result.provenance.threshold,
        more_planes=(),
        grouping=Grouping.CONCEPT,
        # What was drawn shows the object now.
        examples={},
    )


def slice_scores(concept: ConceptResult) -> dict[int, float]:
    """How sure each slice of a result is, be it by detection or by following."""
    scores = dict(concept.score_by_slice)
    for track in concept.tracks:
        scores |= {index: max(score, scores.get(index, 0.0)) for index, score in track.object_scores.items()}
    return scores


def anchor_slices(there: Collection[int], corrected: Collection[int], scores: Mapping[int, float]) -> list[int]:
    """The surest of the nearest slices with the object below the corrected ones, and above; of equals the nearest.

    Args:
        there: slices with the object.
        corrected: slices that a person changed, at least one; what is near them is not relied on.
        scores: how sure each slice is.
    """
    far = [index for index in there if all(abs(index - one) > NOT_RELIED_ON for one in corrected)]
    below, above = sorted(i for i in far if i < min(corrected)), sorted(i for i in far if i > max(corrected))
    sides = (below[-_NEAREST_ANCHORS:], above[:_NEAREST_ANCHORS])
    return [
        max(side, key=lambda index: (round(scores.get(index, 0.0), 2), -min(abs(index - one) for one in corrected)))
        for side in sides
        if side
    ]
