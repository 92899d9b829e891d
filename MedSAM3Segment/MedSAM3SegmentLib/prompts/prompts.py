"""What a person draws to show an object: points, boxes and masks, in the volume's coordinates.

Positions are millimeters in the volume's own RAS frame, so that they stay where they were drawn whatever plane the
volume is cut in, and however its voxels are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError

#: A place in the volume's RAS frame, millimeters.
PositionRAS = tuple[float, float, float]


class BoxReading(StrEnum):
    """What a positive box means."""

    ONLY_THIS_ONE = "only this one"
    THINGS_LIKE_THIS = "things like this"


@dataclass(frozen=True)
class PointPromptRAS:
    """A click.

    Attributes:
        position: millimeters, RAS.
        positive: whether it is in the object, or in what must not belong to it.
    """

    position: PositionRAS
    positive: bool = True


@dataclass(frozen=True)
class BoxPromptRAS:
    """A box on one slice, or through several (a 3D region of interest).

    Attributes:
        corners: at least two places, millimeters, RAS; the box is the smallest one along the stack's axes that holds
            them all.
        positive: whether it shows the object, or what must not be taken for it.
    """

    corners: tuple[PositionRAS, ...]
    positive: bool = True

    def __post_init__(self) -> None:
        if len(self.corners) < 2:
            raise InputError("A box needs two corners at least; draw it again.")


@dataclass(frozen=True, eq=False)
class MaskPromptRAS:
    """Slices on which the object was drawn or corrected; they come back as they are, to the voxel.

    Attributes:
        mask: bool ``[k, j, i]`` on the volume's grid.
        slices: which slices of the stack were drawn, or None for those with a voxel in ``mask``. A slice that is named
            here and empty in ``mask`` says that the object is not on it.
    """

    mask: BoolMask
    slices: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class TargetPrompts:
    """All that was drawn for one concept.

    Attributes:
        reading: what positive boxes mean; ``things like this`` needs a detector, ``only this one`` a tracker.
        is_phrase: whether the concept's words are asked for too, or are only the object's name.
    """

    points: tuple[PointPromptRAS, ...] = ()
    boxes: tuple[BoxPromptRAS, ...] = ()
    masks: tuple[MaskPromptRAS, ...] = ()
    reading: BoxReading = BoxReading.ONLY_THIS_ONE
    is_phrase: bool = True

    def __post_init__(self) -> None:
        if not self.points and not self.boxes and not self.masks:
            raise InputError("Nothing was drawn; give at least one point, box or mask.")
        wordless = self.are_exemplars_only and not self.is_phrase
        if wordless and not any(box.positive for box in self.boxes):
            raise InputError("Only what is not meant was drawn, without words; draw a box around what is meant.")

    @property
    def are_exemplars(self) -> bool:
        """Whether the boxes show the detector what to look for, and not the tracker what to follow."""
        return bool(self.boxes) and self.reading is BoxReading.THINGS_LIKE_THIS

    @property
    def are_exemplars_only(self) -> bool:
        """Whether there is nothing else than such boxes, so that nothing needs to be followed."""
        return self.are_exemplars and not self.points and not self.masks
