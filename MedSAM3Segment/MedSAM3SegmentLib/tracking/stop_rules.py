"""When to follow an object no further: it is gone, its area jumped, a fresh detection disagrees, it left the region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.mask_ops import mask_iou
from MedSAM3SegmentLib.results.tracks import StopReason


@dataclass(frozen=True)
class StopRules:
    """How much is forgiven on the way.

    Attributes:
        area_factor: by which the area may grow or shrink from slice to slice.
        slope: how far, in millimeters, an object's edge may move within the slice for each millimeter along the stack,
            whatever that does to the area: small objects on thick slices end fast.
        patience: doubtful slices in a row that are passed over. A single spoiled slice must not end an organ.
        disagreement: slices in a row on which detections may contradict before they are believed.
        look_ahead: unless one of so many slices ahead has a detection where the object is seen now.
        agreement_iou: intersection over union from which a detection shows the same object.
        recondition_iou: intersection over union from which a detection may show the object to the tracker anew.
        recondition_every: slices between two such times at least.
        most_reconditionings: such times, at most, for each way that an object is followed; the memory grows with each.
        return_overlap: intersection over union with where it was last sure, from which an object has come back.
        tip_mm: how far an object that shrinks is followed where detections no longer see it; they miss tips first.
    """

    area_factor: float = 2.0
    slope: float = 1.0
    patience: int = 2
    disagreement: int = 3
    look_ahead: int = 6
    agreement_iou: float = 0.5
    recondition_iou: float = 0.7
    recondition_every: int = 6
    most_reconditionings: int = 3
    return_overlap: float = 0.3
    tip_mm: float = 6.0


@dataclass(frozen=True)
class StopCandidate:
    """Why a slice may be the first on which an object is no more.

    Attributes:
        detail: the figures, in words.
        shrunk: whether the object is there, but much smaller than before.
        passing: whether it is known to go over: a detection shows the object again further on.
    """

    reason: StopReason
    detail: str
    shrunk: bool = False
    passing: bool = False


def check_presence(object_score: float, mask: BoolMask) -> StopCandidate | None:
    """Whether the tracker itself says that the object is gone."""
    if object_score > 0.5 and mask.any():
        return None
    return StopCandidate(
        StopReason.OBJECT_GONE, f"object score {object_score:.2f}" + ("" if mask.any() else ", no pixel")
    )


def check_return(mask: BoolMask, last: BoolMask, rules: StopRules) -> StopCandidate | None:
    """Whether what is seen after doubtful slices is another object."""
    overlap = mask_iou(mask, last)
    if overlap >= rules.return_overlap:
        return None
    return StopCandidate(StopReason.OBJECT_GONE, f"what comes after overlaps by {overlap:.2f} only")


def check_area(
    area: float, last: float, apart: float, steps: int, pixel: float, rules: StopRules
) -> StopCandidate | None:
    """Whether an object's area jumped.

    Args:
        area, last: square millimeters, now and where it was last sure.
        apart: millimeters along the stack between the two.
        steps: slices between the two.
        pixel: edge of a mask's pixel in millimeters; areas are no finer.
    """
    radius, reach = float(np.sqrt(last / np.pi)), rules.slope * apart + pixel
    largest = max(last * rules.area_factor**steps, np.pi * (radius + reach) ** 2)
    smallest = min(last / rules.area_factor**steps, np.pi * max(radius - reach, 0.0) ** 2)
    if smallest <= area <= largest:
        return None
    detail = f"{last:.0f} to {area:.0f} mm2, {area / last:.2f} times as much"
    return StopCandidate(StopReason.AREA_JUMP, detail, shrunk=area < last)
