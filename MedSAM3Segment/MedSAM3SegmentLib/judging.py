"""Is what the tracker sees on a slice still the object? Its own score, the area, the region and detections say so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .brightness import Brightness
from .gating import Gate
from .models.tracker import TrackedMask
from .resizing import resize
from .result import SoftMask, StopReason
from .seeding import Target
from .stopping import Doubt, StopRules, doubt_of_area, doubt_of_brightness, doubt_of_presence, doubt_of_return
from .walking import Kept, Verdict, Walk

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Looks:
    """What an object looked like where it was shown, and the slice that it is looked for on.

    Attributes:
        shown: its brightness, or None if too little of it was shown.
        picture: ``[row, column]`` or ``[row, column, 3]``.
    """

    shown: Brightness | None
    picture: NDArray[np.uint8]

    def doubt(self, mask: Mask, rules: StopRules) -> Doubt | None:
        """Whether ``mask`` ``[row, column]`` holds something else."""
        now = Brightness.of(self.picture, mask) if self.shown is not None else None
        return None if now is None or self.shown is None else doubt_of_brightness(now, self.shown, rules)


def judge(
    answer: TrackedMask,
    index: int,
    walk: Walk,
    target: Target,
    gate: Gate,
    rules: StopRules,
    looks: Looks | None = None,
) -> Verdict:
    """What to think of the tracker's answer on slice ``index`` for an object on its way.

    A detection that agrees takes the place of the tracker's mask: it was made for this slice alone.

    Args:
        looks: to compare its brightness by; None compares nothing.
    """
    probability = probability_of(answer)
    mask, score = probability > 0.5, float(answer.object_score.sigmoid())
    kept = Kept(SoftMask.of(probability), score, walk.origin)
    doubt = doubt_of_presence(score, mask)
    if doubt is None and walk.doubtful:
        doubt = doubt_of_return(mask, walk.last[1], rules)
    if doubt is None:
        doubt = _doubt_of_area(walk, index, mask, gate, rules)
    if doubt is not None:
        return Verdict(kept, mask, doubt)
    whole = resize(probability, gate.stack.slice_shape) > 0.5
    seen = gate.cut(index, whole)
    if whole.any() and not seen.any():
        return Verdict(kept, mask, Doubt(StopReason.LEFT_REGION, "nothing of it is in the region"))
    detected, overlap = (None, 0.0) if target.fresh is None else target.fresh.best_match(index, seen)
    if detected is not None and overlap >= rules.agreement:
        kept = Kept(SoftMask.of(detected), score, walk.origin, sure=True)
        return Verdict(kept, mask, detected=detected if overlap >= rules.renewal else None)
    if target.fresh is not None:
        doubt = target.fresh.doubt(index, seen, rules.agreement)
    if doubt is None and looks is not None and walk.is_ending(mask, rules):
        doubt = looks.doubt(whole, rules)
    if doubt is not None and target.fresh is not None:
        ahead = range(1, 1 + rules.look_ahead)
        further_on = [index - n if walk.reverse else index + n for n in ahead]
        doubt = replace(doubt, passing=target.fresh.comes_back(further_on, seen, rules.return_overlap))
    return Verdict(kept, mask, doubt)


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
