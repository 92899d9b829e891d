"""What shows a structure instead of words: a volume in which it was segmented before, whole or on some slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class Example:
    """A structure that was segmented before.

    Attributes:
        volume: an image; it may be the one that is to be segmented.
        mask: bool ``[k, j, i]`` on its grid.
        slices: which slices along the stack are labelled, or None for all of them; in the volume that is to be
            segmented, None is for those with the structure.
    """

    volume: Volume
    mask: NDArray[np.bool_]
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


def check_examples(request: SegmentRequest, examples: Examples) -> None:
    """Check that a request can be answered by examples.

    Raises:
        InputError: a concept has no example, or something is asked for that does not go with them.
    """
    for concept in request.concepts:
        if not examples.get(concept):
            raise InputError("There is no example of '{concept}'; give one, or leave the concept out.", concept=concept)
    if request.mode is Mode.FROM_PROMPTS or request.prompts or request.more_planes:
        raise InputError("Examples do not go with drawn prompts or more planes; leave those out.")
    if request.container is not None and request.container not in request.concepts:
        raise InputError(
            "Examples say nothing of '{concept}'; give an example of it too, or a mask to look inside of.",
            concept=request.container,
        )


def in_words(examples: Sequence[Example]) -> str:
    """What was shown, for reports: ``2 examples (CT of 40 slices, brain.nii.gz)``."""
    names = ", ".join(example.volume.name for example in examples)
    return f"{len(examples)} example{'' if len(examples) == 1 else 's'} ({names})"
