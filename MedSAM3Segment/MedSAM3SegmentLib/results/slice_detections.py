"""What the model said about one concept on one slice: detections, their scores and their soft masks."""

from __future__ import annotations

from dataclasses import dataclass

from MedSAM3SegmentLib.geometry.soft_mask import SoftMask


@dataclass(frozen=True, eq=False)
class Detection:
    """One object found on one slice.

    Attributes:
        score: what the threshold is compared with, by the model's score rule.
        query_score: sigmoid of the query's logit, without presence (MedSAM-3's published thresholds use this).
        presence: probability that the concept is on the slice at all.
        box: ``(x0, y0, x1, y1)`` as fractions of the slice's columns and rows.
        mask: where.
    """

    score: float
    query_score: float
    presence: float
    box: tuple[float, float, float, float]
    mask: SoftMask


@dataclass(frozen=True, eq=False)
class SliceDetections:
    """All that the model said about one concept on one slice.

    Attributes:
        slice_index: along the stack.
        score: best score of any detection, kept or not, by the model's score rule; 0..1.
        presence: probability that the concept is on the slice at all.
        detections: those above the floor, best first.
        semantic: the concept's semantic map, for models whose mask rule is ``semantic``.
    """

    slice_index: int
    score: float
    presence: float
    detections: tuple[Detection, ...] = ()
    semantic: SoftMask | None = None
