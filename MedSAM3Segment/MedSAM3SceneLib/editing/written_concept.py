"""What becomes of the concepts of a result in a segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from MedSAM3SceneLib.segments.edited_slices import WrittenSlices
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import Message


class Outcome(StrEnum):
    """What became of one concept in the scene."""

    CREATED = "created"
    UPDATED = "updated"
    NOT_FOUND = "not found"


@dataclass(frozen=True)
class WrittenConcept:
    """One concept of a result, or one object of it, in a segmentation node.

    Attributes:
        concept: the phrase as typed.
        outcome: what was done.
        segment_id: the segment that holds it; when not found one of an earlier run that was left alone, or None.
        message: one sentence for the user.
        volume_mm3: how much its segment holds now; None where none was written.
    """

    concept: str
    outcome: Outcome
    segment_id: str | None
    message: Message
    volume_mm3: float | None = None


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """The voxels of one segment, cropped.

    Attributes:
        instance: the label of the object in the result, or None for all of a concept.
        mask: bool ``[k, j, i]``, not empty.
        ijk_to_ras: where its voxels lie, in the frame of the volume that was segmented.
        written: by which slices that are corrected later will be known.
    """

    instance: int | None
    mask: BoolMask
    ijk_to_ras: Matrix
    written: WrittenSlices
