"""An object followed through the stack: where it was shown, what it looked like, why it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from MedSAM3SegmentLib.geometry.soft_mask import SoftMask


class StopReason(StrEnum):
    """Why propagation of an object ended before the end of the stack."""

    OBJECT_GONE = "the object score fell"
    AREA_JUMP = "the area jumped"
    DETECTION_DISAGREES = "a fresh detection disagrees"
    LEFT_REGION = "the object left the region"
    OTHER_OBJECT = "another drawn object is there"
    UNLIKE_DRAWN = "the image no longer shows what was drawn"
    END_OF_RANGE = "the range of slices ended"


class SliceSource(StrEnum):
    """What the mask of one slice rests on."""

    DRAWN = "drawn"
    INTERPOLATED = "interpolated"
    """Between two drawn slices, by their shapes alone."""
    MOVED = "interpolated and moved by the image"
    TRACKED = "tracked"
    TRACKED_MOVED = "tracked and moved by the image"
    DETECTED = "detected"


@dataclass(frozen=True)
class Stop:
    """Where and why an object was followed no further.

    Attributes:
        slice_index: the first slice that was not kept.
        forward: whether slices came in rising order.
        detail: the figures behind the reason, in words.
    """

    slice_index: int
    forward: bool
    reason: StopReason
    detail: str


@dataclass(frozen=True, eq=False)
class Track:
    """One object followed through the stack.

    Attributes:
        seeds: the slices it was shown on, by a detection or by a person.
        score: of its best seed; a person's is 1.
        masks: by slice index.
        object_scores: probability that the object is on the slice, by slice index.
        drawn: slices a person drew; they stay as drawn.
        stops: one for each way it was followed.
        shown: whether a person showed it, by whatever mark; such an object is not doubted.
        sources: what each slice rests on, where that is not the tracker.
        doubts: how many pixels are expected to be wrong, by slice, where that is known.
    """

    seeds: tuple[int, ...]
    score: float
    masks: Mapping[int, SoftMask]
    object_scores: Mapping[int, float]
    drawn: tuple[int, ...] = ()
    stops: tuple[Stop, ...] = ()
    shown: bool = False
    sources: Mapping[int, SliceSource] = field(default_factory=dict)
    doubts: Mapping[int, float] = field(default_factory=dict)

    def source_of(self, slice_index: int) -> SliceSource:
        """What the mask of a slice rests on."""
        if slice_index in self.drawn:
            return SliceSource.DRAWN
        return self.sources.get(slice_index, SliceSource.TRACKED)

    @property
    def sureness(self) -> tuple[float, bool]:
        """To order tracks by: the score, and among equals a person comes before the detector."""
        return self.score, self.shown


@dataclass(frozen=True)
class SuggestedSlice:
    """A slice whose correction is expected to help most.

    Attributes:
        slice_index: along the stack.
        source: what it rests on; None where nothing was found on it.
        doubt: how many of its pixels are expected to be wrong.
        drawn_mm: millimeters to the nearest slice that a person drew; None where none was drawn.
    """

    slice_index: int
    source: SliceSource | None
    doubt: float
    drawn_mm: float | None
