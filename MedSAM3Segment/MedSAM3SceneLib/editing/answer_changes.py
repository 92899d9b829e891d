"""How an answer of the engine changes a segment: one slice of it, the voxels along an oblique slice, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, SliceStack

from .labelmap_merge import with_cut_changed, with_slices_changed, with_slices_kept


@dataclass(frozen=True, eq=False)
class StackSliceChange:
    """One slice of the volume's stack takes the answer; all others stay."""

    stack: SliceStack
    index: int

    def labelmap(
        self, mask: NDArray[np.bool_], content: Any | None, lattice: Matrix, to_segmentation: Matrix
    ) -> Any | None:
        """See ``Change``."""
        region = slices_only(self.stack, (self.index,))
        return with_slices_changed(content, lattice, mask, region, to_segmentation @ self.stack.grid.ijk_to_ras)


@dataclass(frozen=True, eq=False)
class CutChange:
    """The voxels that an oblique slice goes through take the answer; all others stay."""

    slice_to_ras: Matrix

    def labelmap(
        self, mask: NDArray[np.bool_], content: Any | None, lattice: Matrix, to_segmentation: Matrix
    ) -> Any | None:
        """See ``Change``."""
        return with_cut_changed(content, lattice, mask[0], to_segmentation @ self.slice_to_ras)


@dataclass(frozen=True, eq=False)
class VolumeChange:
    """The whole segment takes the answer, but for slices that a person drew."""

    stack: SliceStack
    drawn: tuple[int, ...] = ()

    def labelmap(
        self, mask: NDArray[np.bool_], content: Any | None, lattice: Matrix, to_segmentation: Matrix
    ) -> Any | None:
        """See ``Change``."""
        kept = slices_only(self.stack, self.drawn)
        return with_slices_kept(content, lattice, mask, kept, to_segmentation @ self.stack.grid.ijk_to_ras)


#: How an answer changes a segment. ``labelmap`` gives what the segment is to hold, from the answer's mask
#: ``[k, j, i]``, what it holds now, the lattice of ``segment_changes.edited_lattice`` and the way from the frame of the
#: volume's grid to the segmentation's; None where nothing is left.
Change = StackSliceChange | CutChange | VolumeChange


def changed_and_new(
    change: Change, mask: NDArray[np.bool_], content: Any | None, lattice: Matrix, to_segmentation: Matrix
) -> tuple[Any | None, Any | None]:
    """What a segment is to hold, as ``Change`` says, and what of that is new, which alone may take from neighbours.

    The same object where all of it is new.
    """
    changed = change.labelmap(mask, content, lattice, to_segmentation)
    if content is None or isinstance(change, VolumeChange):
        return changed, changed
    return changed, change.labelmap(mask, None, lattice, to_segmentation)


def slices_only(stack: SliceStack, indices: Sequence[int]) -> NDArray[np.bool_]:
    """Bool ``[k, j, i]``, True on some slices of a stack."""
    region = np.zeros(stack.grid.shape, bool)
    stack.extract(region)[list(indices)] = True
    return region
