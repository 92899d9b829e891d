"""One object on its way through the slices: where it was last sure, what is in doubt, what was kept, why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask
from MedSAM3SegmentLib.results.tracks import Stop, StopReason

from .stop_rules import StopCandidate, StopRules

#: What is smaller than the slice before by this factor at least is getting smaller.
_SHRINKING_FACTOR = 0.95


@dataclass(frozen=True, eq=False)
class TrackedSlice:
    """An object on one slice.

    Attributes:
        soft: where it is.
        score: probability that it is there at all.
        origin: the seed it was carried from.
        sure: whether a person or a detection says so too.
    """

    soft: SoftMask
    score: float
    origin: int
    sure: bool = False


@dataclass(frozen=True, eq=False)
class SliceAssessment:
    """What to think of an object's mask on one slice.

    Attributes:
        kept: as it would be kept.
        mask: bool ``[row, column]`` at the decoder's size.
        doubt: what speaks against it, or None.
        detected: a detection, at the volume's resolution, that may show the object anew.
    """

    kept: TrackedSlice
    mask: BoolMask
    doubt: StopCandidate | None = None
    detected: BoolMask | None = None


@dataclass(eq=False)
class TrackState:
    """One object, followed one way.

    Attributes:
        tip: slices beyond the last sure one that may be its tip, though detections do not see it there.
        going: whether it is being followed now.
        origin: the seed it was last shown on.
        last: slice and mask, at the decoder's size, where it was last sure.
        doubtful: slices since then, with the mask and what speaks against it.
        kept: what was found, by slice.
        renewals: how often a detection showed it anew.
    """

    reverse: bool
    tip: int = 0
    going: bool = False
    origin: int = 0
    last: tuple[int, BoolMask] = (0, np.zeros((0, 0), bool))
    doubtful: list[tuple[int, TrackedSlice, StopCandidate]] = field(default_factory=list)
    kept: dict[int, TrackedSlice] = field(default_factory=dict)
    renewals: int = 0
    stops: list[Stop] = field(default_factory=list)

    def begin(self, index: int, mask: BoolMask) -> None:
        """Start from a seed; one without the object ends it."""
        self._accept_contradicted()
        if mask.any():
            self.going, self.origin, self.last = True, index, (index, mask)
        elif self.going:
            self.stop(index, StopCandidate(StopReason.OBJECT_GONE, "drawn as empty"))

    def go_on(self, index: int, verdict: SliceAssessment, rules: StopRules) -> None:
        """Keep a slice, or go on in doubt unless there was too much of it."""
        doubt = verdict.doubt
        if doubt is None:
            self._accept_contradicted()
            self.last = (index, verdict.mask)
            self.kept[index] = verdict.kept
            return
        if doubt.reason is StopReason.LEFT_REGION:
            self.stop(index, doubt)
            return
        self.doubtful.append((index, verdict.kept, doubt))
        contradicted = all(held.reason is StopReason.DETECTION_DISAGREES for _, _, held in self.doubtful)
        if not doubt.passing and len(self.doubtful) > (rules.disagreement if contradicted else rules.patience):
            self.stop(index, doubt)

    def stop(self, index: int, doubt: StopCandidate) -> None:
        """End here, or where the doubt began.

        A slice much smaller than the one before, after which nothing comes, is the object's tip; so are the next few
        that only detections speak against, as long as they get smaller.
        """
        self._keep_tip()
        if len(self.doubtful) > 1 and self.doubtful[0][2].shrunk:
            (tip, kept, _), (_, after, _) = self.doubtful[:2]
            if after.score <= 0.5:
                self.kept[tip] = kept
                self.doubtful.pop(0)
        if self.doubtful:
            index, _, doubt = self.doubtful[0]
        elif index in self.kept:
            index += -1 if self.reverse else 1
        self.stops.append(Stop(index, not self.reverse, doubt.reason, doubt.detail))
        self.going, self.doubtful = False, []

    def _keep_tip(self) -> None:
        """Keep what shrinks right behind the last sure slice and only detections speak against."""
        area = int(np.count_nonzero(self.last[1]))
        while self.doubtful:
            index, kept, doubt = self.doubtful[0]
            now = int(np.count_nonzero(kept.soft.probability > MASK_THRESHOLD))
            contradicted = doubt.reason is StopReason.DETECTION_DISAGREES
            if not contradicted or abs(index - self.last[0]) > self.tip or now >= _SHRINKING_FACTOR * area:
                return
            self.kept[index], area = kept, now
            self.doubtful.pop(0)

    def _accept_contradicted(self) -> None:
        """What only detections spoke against was right after all; what the tracker itself doubted stays out."""
        for index, kept, doubt in self.doubtful:
            if doubt.reason is StopReason.DETECTION_DISAGREES:
                self.kept[index] = kept
        self.doubtful = []
