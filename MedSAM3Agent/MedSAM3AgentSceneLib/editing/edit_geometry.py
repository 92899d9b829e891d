"""The voxels that commands work on: those of the segment, over all that Slicer would let it be edited on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice
from MedSAM3SceneLib.mrml.segment_masks import labelmap_mask
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import LATTICE_TOLERANCE, Matrix, VoxelGrid, turn_onto_lattice

#: A grid with more voxels than that would not fit into the memory of a usual computer.
_MOST_VOXELS = 2**30

#: How far directions and spacings may differ, so that voxels a thousand apart are still the same.
_SAME = LATTICE_TOLERANCE / 1000


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a lattice in the segmentation's frame.

    Attributes:
        lattice: 4x4 from ``(i, j, k, 1)`` to RAS millimeters of the segmentation's own frame.
        first: the index ``(i, j, k)`` of the lattice at which the block begins.
        shape: voxel counts ``(k, j, i)``.
    """

    lattice: Matrix
    first: NDArray[np.int64]
    shape: tuple[int, int, int]

    @property
    def ijk_to_segmentation(self) -> Matrix:
        """4x4 from indices of the block to RAS millimeters of the segmentation's own frame."""
        moved = self.lattice.copy()
        moved[:3, 3] += self.lattice[:3, :3] @ self.first
        return moved

    @property
    def end(self) -> NDArray[np.int64]:
        """The index ``(i, j, k)`` of the lattice at which it ends."""
        return np.asarray(self.first + self.shape[::-1])

    def on(self, lattice: Matrix) -> Block | None:
        """The same voxels counted on another lattice; None where that has other voxels, or other directions."""
        moved = np.linalg.inv(lattice) @ self.lattice
        shift = np.rint(moved[:3, 3])
        if np.abs(moved[:3, :3] - np.eye(3)).max() > _SAME or np.abs(moved[:3, 3] - shift).max() > LATTICE_TOLERANCE:
            return None
        return Block(lattice, self.first + shift.astype(np.int64), self.shape)

    def with_block(self, other: Block) -> Block:
        """The smallest block of this lattice that holds both; the other may stand on another lattice."""
        counted = other.on(self.lattice)
        if counted is not None:
            begins, ends = counted.first, counted.end
        else:
            ijk_to_own = np.linalg.inv(self.lattice) @ other.ijk_to_segmentation
            edges = [(-0.5, size - 0.5) for size in other.shape[::-1]]
            corners = ijk_to_own @ np.array([[*corner, 1.0] for corner in product(*edges)]).T
            begins = np.floor(corners[:3].min(axis=1) + 0.5).astype(np.int64)
            ends = np.ceil(corners[:3].max(axis=1) + 0.5).astype(np.int64)
        first, end = np.minimum(self.first, begins), np.maximum(self.end, ends)
        i, j, k = (int(size) for size in end - first)
        if i * j * k > _MOST_VOXELS:
            raise InputError(
                "A segment has much finer voxels than the geometry of its segmentation, which would make {count}"
                " million of them; resample the segment or the geometry.",
                count=i * j * k // 10**6,
            )
        return Block(self.lattice, first, (k, j, i))

    def grid(self, placement: Matrix) -> VoxelGrid:
        """Where its voxels lie in the patient; ``placement`` is the way there from the segmentation's frame."""
        return VoxelGrid(self.shape, placement @ self.ijk_to_segmentation)

    def mask_of(self, content: Any | None) -> BoolMask:
        """What of ``labelmaps.content_of`` lies on its voxels, bool ``[k, j, i]``; the nearest of other lattices."""
        # Which frame the grid is in does not matter here.
        return labelmap_mask(content, VoxelGrid(self.shape, np.eye(4)), self.ijk_to_segmentation)


def labelmap_of(mask: BoolMask, block: Block) -> Any | None:
    """A mask on the voxels of ``block`` as an oriented image on its lattice, cropped; None where it is empty."""
    return labelmap_on_lattice(mask, block.ijk_to_segmentation, block.lattice) if mask.any() else None


def moved_mask(mask: BoolMask, block: Block, target: Block) -> BoolMask:
    """A mask on the voxels of ``block`` as one on those of ``target``; to the voxel where lattices are the same."""
    counted = block.on(target.lattice)
    if counted is not None and counted.shape == target.shape and (counted.first == target.first).all():
        return mask
    return target.mask_of(labelmap_of(mask, block))


def same_voxels(one: Matrix, other: Matrix) -> bool:
    """Whether voxels of two lattices coincide, whichever way they are counted."""
    return turn_onto_lattice(np.ones((1, 1, 1), bool), np.linalg.inv(one) @ other, np.zeros(3, np.int64)) is not None


def same_lattice(one: Matrix, other: Matrix) -> bool:
    """Whether two lattices have the same voxels under the same indices."""
    nothing = Block(other, np.zeros(3, np.int64), (1, 1, 1)).on(one)
    return nothing is not None and not nothing.first.any()


def block_of_image(image: Any, lattice: Matrix) -> Block | None:
    """The block that the extent of an oriented image is; None where that is empty."""
    ends = image.GetExtent()
    first, last = np.array(ends[::2], np.int64), np.array(ends[1::2], np.int64)
    if (last < first).any():
        return None
    i, j, k = (int(size) for size in last - first + 1)
    return Block(lattice, first, (k, j, i))
