"""One row of the table of cases: one concept of one case, asked for in one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .cases.case import EvaluationCase, Reference
from .prediction import Prediction
from .scores.instance_scores import score_instances
from .scores.mask_scores import score_masks
from .scores.video_scores import score_track


@dataclass(frozen=True)
class CaseRow:
    """Scores and what they were computed from; names are columns of ``cases.csv`` and do not change.

    Attributes:
        unit: whose cases are not independent of each other.
        reference_volume, predicted_volume: in ``volume_unit``: cubic millimeters, or pixels of a picture.
        nsd: at the tolerance of the run; ``hd95`` is in ``distance_unit``.
        object_hits: matched objects at IoU 0.5, 0.55 and so on to 0.95.
        sequence: the film of a frame, or that was followed; "" for none.
        frames, j, f: of films as DAVIS has them, all frames counted: how many, and the means over them of region
            similarity and contour accuracy; None for others.
        measured: what a study measures besides, by name; None where there is nothing.
        objects_reference, objects_predicted, objects_matched, pq, ap, ap50: None where objects are not told apart.
    """

    case: str
    group: str
    unit: str
    concept: str
    prompt: str
    phrase: str
    presence: str
    dice: float | None
    iou: float | None
    nsd: float | None
    hd95: float | None
    distance_unit: str
    tp: int
    fp: int
    fn: int
    reference_volume: float
    predicted_volume: float
    volume_unit: str
    objects_reference: int | None = None
    objects_predicted: int | None = None
    objects_matched: int | None = None
    pq: float | None = None
    ap: float | None = None
    ap50: float | None = None
    object_hits: tuple[int, ...] | None = None
    sequence: str = ""
    frames: int | None = None
    j: float | None = None
    f: float | None = None
    measured: Mapping[str, float] | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CaseRow:
        """What ``to_plain`` gave.

        Raises:
            TypeError, KeyError: something is missing or too much.
        """
        hits = plain["object_hits"]
        return cls(**{**plain, "object_hits": None if hits is None else tuple(hits)})

    def to_plain(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What two runs agree on where they speak of the same."""
        return self.case, self.concept, self.prompt, self.phrase

    @property
    def is_present(self) -> bool:
        return self.tp + self.fn > 0


COLUMNS = tuple(field.name for field in fields(CaseRow))


def score_case(case: EvaluationCase, reference: Reference, prediction: Prediction, tolerance: float | None) -> CaseRow:
    """Score one prediction.

    Args:
        tolerance: of NSD, in mm or pixels; None measures no surfaces.
    """
    # From frame to frame there is no length.
    tolerance = None if reference.is_film else tolerance
    scores = score_masks(prediction.mask, reference.mask, reference.spacing, tolerance, reference.scored)
    voxel = 1.0 if reference.is_picture else reference.grid.voxel_volume_mm3
    objects: dict[str, Any] = {}
    if reference.objects is not None:
        counted = score_instances(_objects_of(prediction), reference.objects)
        objects = {
            "objects_reference": counted.reference,
            "objects_predicted": counted.predicted,
            "objects_matched": counted.matched,
            "pq": counted.pq,
            "ap": counted.ap,
            "ap50": counted.ap50,
            "object_hits": counted.hits,
        }
    film: dict[str, Any] = {}
    if case.sequence:
        track = score_track(prediction.mask, reference.mask, skip_ends=False)
        if track is not None:
            film = {"sequence": case.sequence, "frames": track.frames, "j": track.j, "f": track.f}
    return CaseRow(
        case=case.name,
        group=case.group,
        unit=case.independent_unit,
        concept=prediction.concept,
        prompt=prediction.prompt.kind,
        phrase=prediction.prompt.phrase,
        presence=scores.presence.value,
        dice=scores.dice,
        iou=scores.iou,
        nsd=scores.nsd,
        hd95=scores.hd95,
        distance_unit=reference.unit,
        tp=scores.tp,
        fp=scores.fp,
        fn=scores.fn,
        reference_volume=scores.reference_voxels * voxel,
        predicted_volume=scores.predicted_voxels * voxel,
        volume_unit="px" if reference.is_picture else "mm3",
        measured=dict(prediction.measured) or None,
        **objects,
        **film,
    )


def _objects_of(prediction: Prediction) -> np.ndarray[Any, Any]:
    """The predicted objects; connected parts, faces touching, where a mask does not tell them apart."""
    from scipy import ndimage

    if prediction.objects is not None:
        return prediction.objects
    labels, _ = ndimage.label(prediction.mask)
    return np.asarray(labels)
