"""Is what the tracker sees on a slice still the object? Its own score, the area, the region and detections say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.soft_mask import resize
from MedSAM3SegmentLib.models.tracker_types import TrackedMask
from MedSAM3SegmentLib.results.slice_detections import SoftMask
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.search_region import Gate

from .stop_rules import (
    Doubt,
    StopRules,
    doubt_of_area,
    doubt_of_presence,
    doubt_of_return,
)
from .track_state import Kept, Verdict, Walk
from .tracked_objects import Target

Mask = NDArray[np.bool_]


def judge(answer: TrackedMask, index: int, walk: Walk, target: Target, gate: Gate, rules: StopRules) -> Verdict:
    """What to think of the tracker's answer on slice ``index`` for an object on its way.

    A detection that agrees takes the place of the tracker's mask: it was made for this slice alone.
    """
    probability = probability_of(answer)
    mask, score = probability > 0.5, float(answer.object_score.sigmoid())
    kept = Kept(SoftMask.of(probability), score, walk.origin)
    doubt = doubt_of_presence(score, mask)
    if doubt is None and walk.doubtful:
        doubt = doubt_of_return(mask, walk.last[1], rules)
    if doubt is None:
        doubt = _doubt_of_area(walk, index, mask, gate, rules)
    if doubt is not None or (gate.lets_all_through and target.fresh is None):
        return Verdict(kept, mask, doubt)
    whole = resize(probability, gate.stack.slice_shape) > 0.5
    seen = gate.cut(index, whole)
    if whole.any() and not seen.any():
        return Verdict(kept, mask, Doubt(StopReason.LEFT_REGION, "nothing of it is in the region"))
    if target.fresh is None:
        return Verdict(kept, mask)
    doubt = target.fresh.doubt(index, seen, rules.agreement)
    if doubt is not None:
        ahead = range(1, 1 + rules.look_ahead)
        further_on = [index - n if walk.reverse else index + n for n in ahead]
        comes_back = target.fresh.comes_back(further_on, seen, rules.return_overlap)
        return Verdict(kept, mask, replace(doubt, passing=comes_back))
    detected, overlap = target.fresh.best_match(index, seen)
    if detected is None or overlap < rules.agreement:
        return Verdict(kept, mask)
    kept = Kept(SoftMask.of(detected), score, walk.origin, sure=True)
    return Verdict(kept, mask, detected=detected if overlap >= rules.renewal else None)


def probability_of(answer: TrackedMask) -> NDArray[np.float32]:
    """The mask as a probability ``[row, column]`` at the decoder's size."""
    return np.asarray(answer.logits.sigmoid().float().numpy(force=True))


def mask_of(answer: TrackedMask) -> Mask:
    """The mask ``[row, column]`` at the decoder's size."""
    return np.asarray((answer.logits > 0).numpy(force=True))


def _doubt_of_area(walk: Walk, index: int, mask: Mask, gate: Gate, rules: StopRules) -> Doubt | None:
    apart, row, column = gate.stack.spacing
    rows, columns = gate.stack.slice_shape
    pixel = row * rows * column * columns / mask.size
    before, last = walk.last
    steps = abs(index - before)
    now, then = (int(np.count_nonzero(one)) * pixel for one in (mask, last))
    return doubt_of_area(now, then, steps * apart, steps, float(np.sqrt(pixel)), rules)
