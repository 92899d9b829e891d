"""What a segment holds, as a mask on the voxels of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid, common_part

from .labelmaps import (
    binary_labelmap,
    content_of,
    labelmap_on_lattice,
    lattice_of,
    resampled_labelmap,
    voxels_of,
)
from .transforms import node_to_node
from .volumes import SceneVolume


def segment_volume_mm3(segment: Any) -> float:
    """How much a vtkSegment holds, cubic millimeters; takes a while for large ones, and touches no scene."""
    labelmap = binary_labelmap(segment)
    if labelmap is None or labelmap.IsEmpty():
        return 0.0
    value = segment.GetLabelValue()
    # Slice by slice, so that no array as large as all of it is made.
    voxels = sum(int(np.count_nonzero(part == value)) for part in voxels_of(labelmap))
    return voxels * float(abs(np.linalg.det(lattice_of(labelmap)[:3, :3])))


def grid_to_segmentation(segmentation_node: Any, volume_node: Any, placed: SceneVolume) -> Matrix:
    """4x4 from voxel index ``(i, j, k, 1)`` of a volume to RAS millimeters of the segmentation's own frame.

    Raises:
        InputError: a parent transform of either node is non-linear.
    """
    to_segmentation = node_to_node(volume_node, segmentation_node) @ placed.to_node
    return np.asarray(to_segmentation @ placed.volume.grid.ijk_to_ras)


def segment_mask(segment: Any, grid: VoxelGrid, ijk_to_segmentation: Matrix) -> BoolMask:
    """The voxels of ``grid`` that ``segment`` (a vtkSegment) holds, bool ``[k, j, i]``.

    To the voxel where the segment stands on the same lattice, else the nearest ones. What lies outside of the grid is
    left out.

    Args:
        ijk_to_segmentation: from ``grid_to_segmentation``.
    """
    return labelmap_mask(content_of(segment), grid, ijk_to_segmentation)


def labelmap_mask(labelmap: Any | None, grid: VoxelGrid, ijk_to_segmentation: Matrix) -> BoolMask:
    """As ``segment_mask`` of what ``labelmaps.content_of`` gave; touches no scene."""
    mask = np.zeros(grid.shape, bool)
    if labelmap is not None:
        paste(mask, *_block_on_grid(labelmap, ijk_to_segmentation))
    return mask


def labels_under(
    labelmap: Any, labels: NDArray[np.uint16], ijk_to_segmentation: Matrix
) -> tuple[NDArray[np.int64], int]:
    """How many voxels of each label, from 0 on, a labelmap covers, and how many voxels it has there in all.

    Args:
        labelmap: from ``labelmaps.content_of``.
        labels: ``[k, j, i]``.
        ijk_to_segmentation: from voxel index ``(i, j, k, 1)`` of ``labels`` to the segmentation's frame.
    """
    block, first = _block_on_grid(labelmap, ijk_to_segmentation)
    common = common_part(labels.shape, block, first)
    counts = np.zeros(1, np.int64) if common is None else np.bincount(labels[common[0]][block[common[1]]])
    return counts, int(np.count_nonzero(block))


def _block_on_grid(labelmap: Any, ijk_to_segmentation: Matrix) -> tuple[BoolMask, NDArray[np.int64]]:
    """A labelmap on the voxels of a grid: to the voxel where lattices are the same, else the nearest ones."""
    block, first = block_of(labelmap)
    start = lattice_of(labelmap).copy()
    start[:3, 3] += start[:3, :3] @ first
    on_grid = labelmap_on_lattice(block, start, ijk_to_segmentation)
    return block_of(on_grid or resampled_labelmap(labelmap, ijk_to_segmentation))


def block_of(labelmap: Any) -> tuple[BoolMask, NDArray[np.int64]]:
    """The voxels of an oriented image, bool ``[k, j, i]``, and the index ``(i, j, k)`` of the first."""
    first = np.array(labelmap.GetExtent()[::2])
    if labelmap.IsEmpty():
        return np.zeros((0, 0, 0), bool), first
    return voxels_of(labelmap) != 0, first


def paste(mask: BoolMask, block: BoolMask, first: NDArray[np.int64]) -> None:
    """Write ``block`` into ``mask``, both bool ``[k, j, i]``, from index ``first`` ``(i, j, k)`` on, as it fits."""
    common = common_part(mask.shape, block, first)
    if common is not None:
        into, part = common
        mask[into] = block[part]
