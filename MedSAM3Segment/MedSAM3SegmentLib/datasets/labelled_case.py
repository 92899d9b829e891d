"""An image with labels, from whatever format: which concepts are labelled, where, and on which slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume

from .findings import Findings, listed
from .label_files import LabelFile, is_picture_file, place_mask

#: Which slices somebody looked at: all, those on which anything is labelled, or these numbers along the plane; None
#: where nobody said it.
LabelledSlices = Literal["all", "drawn"] | frozenset[int] | None


@dataclass(frozen=True, eq=False)
class CaseLabels:
    """What is labelled in an image.

    Attributes:
        masks: by concept ``[k, j, i]`` on the image's grid; one that is empty is absent wherever somebody looked.
        ignored: voxels of which nothing is known, or None.
        labelled_slices: on which somebody looked, where the labels themselves say it.
    """

    masks: Mapping[str, BoolMask]
    ignored: BoolMask | None = None
    labelled_slices: LabelledSlices = None


#: Gives the labels on the grid of the image.
ReadLabels = Callable[[VoxelGrid, Findings], CaseLabels]


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """One image with labels.

    Attributes:
        name: what it is called in sentences; no two cases of a split are called the same.
        image: the file.
        concepts: names of what is labelled; each may be absent.
        read_labels: reads them; raises InputError.
        absent: those of ``concepts`` that somebody says are not there.
        plane: in which slices are cut.
        split: ``train``, ``val`` or ``test``, or "" where there are no splits.
        labelled_slices: on which somebody looked.
        volume: the image, where it is in memory already; ``image`` is then its name alone.
    """

    name: str
    image: Path
    concepts: tuple[str, ...]
    read_labels: ReadLabels
    absent: frozenset[str] = frozenset()
    plane: Plane = Plane.ACQUIRED
    split: str = ""
    labelled_slices: LabelledSlices = None
    volume: Volume | None = None


@dataclass(frozen=True, eq=False)
class LabelledDataset:
    """Images with labels.

    Attributes:
        path: what was given.
        format: what it is, in words.
        cases: of all splits.
    """

    path: Path
    format: str
    cases: Sequence[LabelledCase] = field(default_factory=tuple)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        return tuple(dict.fromkeys(case.split for case in self.cases if case.split))

    def cases_of(self, split: str | None) -> list[LabelledCase]:
        """The cases of a split, or all of them; cases of no split are for training.

        Raises:
            InputError: there is none.
        """
        found = [case for case in self.cases if split in (None, case.split or "train")]
        if not found:
            there = f"there are {', '.join(self.splits)}" if self.splits else "it has no splits"
            raise InputError(f"{self.path} has no case of the split '{split}'; {there}.")
        return found


def place_on_image(mask: BoolMask, file: LabelFile, grid: VoxelGrid, image: Path) -> BoolMask:
    """A mask on the voxels of its image, exactly; axes may have another order and other directions.

    Raises:
        InputError: voxels do not coincide, or a part lies outside.
    """
    if file.is_picture and is_picture_file(image):
        # The size of a picture's pixels is what its writer put there, and says nothing of another picture's.
        if file.grid.shape != grid.shape:
            raise InputError(
                f"{file.path} has {file.grid.shape[2]} x {file.grid.shape[1]} pixels and {image} {grid.shape[2]} x "
                f"{grid.shape[1]}; give the mask of this image."
            )
        return mask
    return place_mask(mask, file.grid, grid, file.path, image)


def check_values(file: LabelFile, known: set[int], names: str, findings: Findings) -> None:
    """Refuse labels that nothing names, which would count as background.

    Args:
        names: what names them, for the sentence.
    """
    strange = [one.name for one in file.segments if one.label not in known]
    if strange:
        findings.refuse(f"{file.path} holds {listed(strange)}, which {names} does not name; correct one of them.")


def any_of(masks: Mapping[str, BoolMask], shape: tuple[int, int, int]) -> BoolMask:
    """Where any concept is."""
    joined = np.zeros(shape, bool)
    for mask in masks.values():
        joined |= mask
    return joined
