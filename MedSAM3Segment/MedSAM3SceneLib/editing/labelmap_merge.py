"""Changing a part of a segment and nothing else: a few slices, or all but a few.

All is worked out on the lattice that the segment stands on, so what is not to change does not, to the voxel, also where
the volume stands on another lattice. Only ``edited_lattice`` looks at the scene; the rest may run on another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice, lattice_of, resampled_labelmap
from MedSAM3SceneLib.mrml.oblique_voxels import find_oblique_voxels
from MedSAM3SceneLib.mrml.segment_masks import block_of, paste
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid

from .overwrite import reference_lattice


@dataclass(frozen=True, eq=False)
class VoxelBlock:
    """Some voxels of a lattice.

    Attributes:
        voxels: bool ``[k, j, i]``.
        first: the index ``(i, j, k)`` of the first of them on the lattice.
    """

    voxels: BoolMask
    first: NDArray[np.int64]


def edited_lattice(segmentation: Any, content: Any | None, ijk_to_segmentation: Matrix) -> Matrix:
    """The lattice to change a segment on: its own where it has one.

    Args:
        segmentation: the vtkSegmentation.
        content: what the segment holds now, from ``labelmaps.content_of``; an empty one may share the labelmap of
            others, which stands on a lattice that need not be its own.
        ijk_to_segmentation: the voxels of the volume, in the segmentation's frame.
    """
    if content is not None:
        return lattice_of(content)
    reference = reference_lattice(segmentation)
    one = np.ones((1, 1, 1), bool)
    if reference is not None and labelmap_on_lattice(one, ijk_to_segmentation, reference) is not None:
        return reference
    return ijk_to_segmentation


def with_slices_changed(
    content: Any | None,
    lattice: Matrix,
    mask: BoolMask,
    region: BoolMask,
    ijk_to_segmentation: Matrix,
) -> Any | None:
    """What a segment holds when ``region`` takes the voxels of ``mask`` and all else stays.

    Args:
        content: what it holds now, from ``labelmaps.content_of``.
        lattice: from ``edited_lattice``.
        mask, region: bool ``[k, j, i]`` on the volume's grid.

    Returns:
        A labelmap on ``lattice``, or None where nothing is left.
    """
    new, changing = (_on_lattice(voxels, ijk_to_segmentation, lattice) for voxels in (mask & region, region))
    return _labelmap(_chosen(new, _current(content, lattice), changing), lattice)


def with_slices_kept(
    content: Any | None,
    lattice: Matrix,
    mask: BoolMask,
    kept: BoolMask,
    ijk_to_segmentation: Matrix,
) -> Any | None:
    """What a segment holds when ``kept`` stays and all else takes the voxels of ``mask``.

    Args and returns as ``with_slices_changed``.
    """
    new, staying = (_on_lattice(voxels, ijk_to_segmentation, lattice) for voxels in (mask & ~kept, kept))
    return _labelmap(_chosen(_current(content, lattice), new, staying), lattice)


def with_oblique_slice_changed(
    content: Any | None, lattice: Matrix, mask: BoolMask, slice_to_segmentation: Matrix
) -> Any | None:
    """What a segment holds when the voxels that an oblique slice goes through take its mask and all else stays.

    Args:
        content: what it holds now, from ``labelmaps.content_of``.
        lattice: from ``edited_lattice``.
        mask: bool ``[row, column]`` of the slice, with one pixel set at least.
        slice_to_segmentation: 4x4 from ``(column, row, slice, 1)`` to RAS millimeters of the segmentation's frame.

    Returns:
        A labelmap on ``lattice``, or None where nothing is left.
    """
    # The block of the lattice that the slice goes through, and a voxel around it.
    rows, columns = mask.shape
    ends = np.array([[c, r, s, 1.0] for c in (-1, columns) for r in (-1, rows) for s in (-1, 1)]).T
    reached = (np.linalg.inv(lattice) @ slice_to_segmentation @ ends)[:3]
    first = np.floor(reached.min(axis=1)).astype(np.int64) - 1
    size = np.ceil(reached.max(axis=1)).astype(np.int64) - first + 2
    i, j, k = (int(n) for n in size)
    cut = find_oblique_voxels(mask, slice_to_segmentation, VoxelGrid((k, j, i), _moved(lattice, first)))
    new, changing = np.zeros((2, k, j, i), bool)
    changing[tuple(cut.indices.T)] = True
    new[tuple(cut.indices[cut.inside].T)] = True
    return _labelmap(_chosen(VoxelBlock(new, first), _current(content, lattice), VoxelBlock(changing, first)), lattice)


def common_reach(labelmap: Any, content: Any | None) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Which voxels of its lattice a labelmap and what the segment holds now reach: the first ``(i, j, k)`` and how many
    ``(k, j, i)``.
    """
    reached = [block for block in _before_and_after(labelmap, content) if block.voxels.size]
    first = np.min([block.first for block in reached], axis=0)
    end = np.max([block.first + block.voxels.shape[::-1] for block in reached], axis=0)
    i, j, k = (int(count) for count in end - first)
    return first, (k, j, i)


def with_protected_kept(labelmap: Any, content: Any | None, protected: VoxelBlock) -> Any | None:
    """What a segment holds when it becomes ``labelmap`` but where ``protected`` is set.

    Args:
        labelmap: what it shall become.
        content: what it holds now, from ``labelmaps.content_of``.
        protected: on the lattice of ``labelmap``, of all that ``common_reach`` tells.

    Returns:
        A labelmap on the same lattice, or None where nothing is left.
    """
    new, current = _before_and_after(labelmap, content)
    return _labelmap(_chosen(current, new, protected), lattice_of(labelmap))


def _before_and_after(labelmap: Any, content: Any | None) -> tuple[VoxelBlock, VoxelBlock]:
    """A labelmap, and what the segment holds now, on its lattice."""
    return VoxelBlock(*block_of(labelmap)), _current(content, lattice_of(labelmap))


def _current(content: Any | None, lattice: Matrix) -> VoxelBlock:
    if content is None:
        return VoxelBlock(np.zeros((0, 0, 0), bool), np.zeros(3, np.int64))
    voxels, first = block_of(content)
    return _on_lattice(voxels, _moved(lattice_of(content), first), lattice)


def _on_lattice(voxels: BoolMask, ijk_to_ras: Matrix, lattice: Matrix) -> VoxelBlock:
    if not voxels.any():
        return VoxelBlock(np.zeros((0, 0, 0), bool), np.zeros(3, np.int64))
    exact = labelmap_on_lattice(voxels, ijk_to_ras, lattice)
    if exact is not None:
        return VoxelBlock(*block_of(exact))
    own = labelmap_on_lattice(voxels, ijk_to_ras, ijk_to_ras)
    return VoxelBlock(*block_of(resampled_labelmap(own, lattice)))


def _chosen(inside: VoxelBlock, outside: VoxelBlock, where: VoxelBlock) -> VoxelBlock:
    """``inside`` where ``where`` is set, else ``outside``."""
    filled = [block for block in (inside, outside) if block.voxels.size]
    if not filled:
        return inside
    first = np.min([block.first for block in filled], axis=0)
    end = np.max([block.first + np.array(block.voxels.shape[::-1]) for block in filled], axis=0)
    canvas = np.zeros((3, *(end - first)[::-1]), bool)
    for voxels, block in zip(canvas, (inside, outside, where), strict=True):
        if block.voxels.size:
            paste(voxels, block.voxels, block.first - first)
    return VoxelBlock(np.where(canvas[2], canvas[0], canvas[1]), first)


def _labelmap(block: VoxelBlock, lattice: Matrix) -> Any | None:
    if not block.voxels.any():
        return None
    return labelmap_on_lattice(block.voxels, _moved(lattice, block.first), lattice)


def _moved(lattice: Matrix, first: NDArray[np.int64]) -> Matrix:
    """``lattice`` counted from index ``first`` ``(i, j, k)``."""
    moved = lattice.copy()
    moved[:3, 3] += lattice[:3, :3] @ first
    return moved


@dataclass(frozen=True, eq=False)
class StackSliceChange:
    """One slice of the volume's stack takes the answer; all others stay."""

    stack: SliceStack
    index: int

    def labelmap(self, mask: BoolMask, content: Any | None, lattice: Matrix, to_segmentation: Matrix) -> Any | None:
        """See ``Change``."""
        region = slices_only(self.stack, (self.index,))
        return with_slices_changed(content, lattice, mask, region, to_segmentation @ self.stack.grid.ijk_to_ras)


@dataclass(frozen=True, eq=False)
class ObliqueChange:
    """The voxels that an oblique slice goes through take the answer; all others stay."""

    slice_to_ras: Matrix

    def labelmap(self, mask: BoolMask, content: Any | None, lattice: Matrix, to_segmentation: Matrix) -> Any | None:
        """See ``Change``."""
        return with_oblique_slice_changed(content, lattice, mask[0], to_segmentation @ self.slice_to_ras)


@dataclass(frozen=True, eq=False)
class VolumeChange:
    """The whole segment takes the answer, but for slices that a person drew."""

    stack: SliceStack
    drawn: tuple[int, ...] = ()

    def labelmap(self, mask: BoolMask, content: Any | None, lattice: Matrix, to_segmentation: Matrix) -> Any | None:
        """See ``Change``."""
        kept = slices_only(self.stack, self.drawn)
        return with_slices_kept(content, lattice, mask, kept, to_segmentation @ self.stack.grid.ijk_to_ras)


#: How an answer changes a segment. ``labelmap`` gives what the segment is to hold, from the answer's mask
#: ``[k, j, i]``, what it holds now, the lattice of ``edited_lattice`` and the way from the frame of the
#: volume's grid to the segmentation's; None where nothing is left.
Change = StackSliceChange | ObliqueChange | VolumeChange


def changed_and_new(
    change: Change, mask: BoolMask, content: Any | None, lattice: Matrix, to_segmentation: Matrix
) -> tuple[Any | None, Any | None]:
    """What a segment is to hold, as ``Change`` says, and what of that is new, which alone may take from neighbors.

    The same object where all of it is new.
    """
    changed = change.labelmap(mask, content, lattice, to_segmentation)
    if content is None or isinstance(change, VolumeChange):
        return changed, changed
    return changed, change.labelmap(mask, None, lattice, to_segmentation)


def slices_only(stack: SliceStack, indices: Sequence[int]) -> BoolMask:
    """Bool ``[k, j, i]``, True on some slices of a stack."""
    region = np.zeros(stack.grid.shape, bool)
    stack.extract(region)[list(indices)] = True
    return region
