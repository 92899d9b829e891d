"""Is what the tracker sees on a slice still the object? Its own score, the area, the region and detections say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask, resize_map
from MedSAM3SegmentLib.models.tracker_types import TrackerOutput
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.search_region import SearchRegion

from .stop_rules import (
    StopCandidate,
    StopRules,
    check_area,
    check_presence,
    check_return,
)
from .track_state import SliceAssessment, TrackedSlice, TrackState
from .tracked_objects import TrackedObject


def assess_slice(
    answer: TrackerOutput,
    index: int,
    state: TrackState,
    target: TrackedObject,
    search_region: SearchRegion,
    rules: StopRules,
) -> SliceAssessment:
    """What to think of the tracker's answer on slice ``index`` for an object on its way.

    A detection that agrees takes the place of the tracker's mask: it was made for this slice alone.
    """
    probability = probability_map(answer)
    mask, score = probability > MASK_THRESHOLD, float(answer.object_score_logits.sigmoid())
    kept = TrackedSlice(SoftMask.of(probability), score, state.origin)
    doubt = check_presence(score, mask)
    if doubt is None and state.doubtful:
        doubt = check_return(mask, state.last[1], rules)
    if doubt is None:
        doubt = _doubt_of_area(state, index, mask, search_region, rules)
    if doubt is not None or (search_region.is_unrestricted and target.agreement is None):
        return SliceAssessment(kept, mask, doubt)
    whole = resize_map(probability, search_region.stack.slice_shape) > MASK_THRESHOLD
    seen = search_region.clip(index, whole)
    if whole.any() and not seen.any():
        return SliceAssessment(kept, mask, StopCandidate(StopReason.LEFT_REGION, "nothing of it is in the region"))
    if target.agreement is None:
        return SliceAssessment(kept, mask)
    doubt = target.agreement.doubt(index, seen, rules.agreement_iou)
    if doubt is not None:
        ahead = range(1, 1 + rules.look_ahead)
        further_on = [index - n if state.reverse else index + n for n in ahead]
        comes_back = target.agreement.reappears(further_on, seen, rules.return_overlap)
        return SliceAssessment(kept, mask, replace(doubt, passing=comes_back))
    detected, overlap = target.agreement.best_match(index, seen)
    if detected is None or overlap < rules.agreement_iou:
        return SliceAssessment(kept, mask)
    kept = TrackedSlice(SoftMask.of(detected), score, state.origin, sure=True)
    return SliceAssessment(kept, mask, detected=detected if overlap >= rules.recondition_iou else None)


def probability_map(answer: TrackerOutput) -> NDArray[np.float32]:
    """The mask as a probability ``[row, column]`` at the decoder's size."""
    return np.asarray(answer.pred_masks.sigmoid().float().numpy(force=True))


def binary_mask(answer: TrackerOutput) -> BoolMask:
    """The mask ``[row, column]`` at the decoder's size."""
    return np.asarray((answer.pred_masks > 0).numpy(force=True))


def _doubt_of_area(
    state: TrackState, index: int, mask: BoolMask, search_region: SearchRegion, rules: StopRules
) -> StopCandidate | None:
    apart, row, column = search_region.stack.spacing
    rows, columns = search_region.stack.slice_shape
    pixel = row * rows * column * columns / mask.size
    before, last = state.last
    steps = abs(index - before)
    now, then = (int(np.count_nonzero(one)) * pixel for one in (mask, last))
    return check_area(now, then, steps * apart, steps, float(np.sqrt(pixel)), rules)
