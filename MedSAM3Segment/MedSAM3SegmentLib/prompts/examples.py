"""What shows a structure instead of words: a volume in which it was segmented before, whole or on some slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class Example:
    """A structure that was segmented before.

    Attributes:
        volume: an image; it may be the one that is to be segmented.
        mask: bool ``[k, j, i]`` on its grid.
        slices: which slices along the stack are labeled, or None for all of them; in the volume that is to be
            segmented, None is for those with the structure.
    """

    volume: Volume
    mask: BoolMask
    slices: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.mask.shape != self.volume.grid.shape:
            raise InputError(
                "The example in {volume} has {size} voxels, its image {volume_size}; give a segmentation on the "
                "image's own voxels.",
                volume=self.volume.name,
                size=str(self.mask.shape[::-1]),
                volume_size=str(self.volume.grid.shape[::-1]),
            )
        if not self.mask.any():
            raise InputError(
                "The example in {volume} is empty; give one that shows the structure.", volume=self.volume.name
            )


#: What shows each concept; the concept is a mere name then.
Examples = Mapping[str, Sequence[Example]]
