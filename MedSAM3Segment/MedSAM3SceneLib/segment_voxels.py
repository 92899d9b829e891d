"""What a segment holds, as a mask on the voxels of a volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.grid import Matrix, VoxelGrid

from .frames import node_to_node
from .labelmaps import content_of, labelmap_on_lattice, lattice_of, resampled_labelmap
from .volumes import PlacedVolume


def grid_to_segmentation(segmentation_node: Any, volume_node: Any, placed: PlacedVolume) -> Matrix:
    """4x4 from voxel index ``(i, j, k, 1)`` of a volume to RAS millimetres of the segmentation's own frame.

    Raises:
        InputError: a parent transform of either node is non-linear.
    """
    to_segmentation = node_to_node(volume_node, segmentation_node) @ placed.to_node
    return np.asarray(to_segmentation @ placed.volume.grid.ijk_to_ras)


def segment_mask(segment: Any, grid: VoxelGrid, ijk_to_segmentation: Matrix) -> NDArray[np.bool_]:
    """The voxels of ``grid`` that ``segment`` (a vtkSegment) holds, bool ``[k, j, i]``.

    To the voxel where the segment stands on the same lattice, else the nearest ones. What lies outside of the grid is
    left out.

    Args:
        ijk_to_segmentation: from ``grid_to_segmentation``.
    """
    return labelmap_mask(content_of(segment), grid, ijk_to_segmentation)


def labelmap_mask(labelmap: Any | None, grid: VoxelGrid, ijk_to_segmentation: Matrix) -> NDArray[np.bool_]:
    """As ``segment_mask`` of what ``labelmaps.content_of`` gave; touches no scene."""
    mask = np.zeros(grid.shape, bool)
    if labelmap is not None:
        block, first = block_of(labelmap)
        start = lattice_of(labelmap).copy()
        start[:3, 3] += start[:3, :3] @ first
        on_grid = labelmap_on_lattice(block, start, ijk_to_segmentation)
        paste(mask, *block_of(on_grid or resampled_labelmap(labelmap, ijk_to_segmentation)))
    return mask


def block_of(labelmap: Any) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The voxels of an oriented image, bool ``[k, j, i]``, and the index ``(i, j, k)`` of the first."""
    from vtk.util.numpy_support import vtk_to_numpy

    first = np.array(labelmap.GetExtent()[::2])
    if labelmap.IsEmpty():
        return np.zeros((0, 0, 0), bool), first
    scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars())
    return scalars.reshape(labelmap.GetDimensions()[::-1]) != 0, first


def paste(mask: NDArray[np.bool_], block: NDArray[np.bool_], first: NDArray[np.int64]) -> None:
    """Write ``block`` into ``mask``, both bool ``[k, j, i]``, from index ``first`` ``(i, j, k)`` on, as it fits."""
    into, part = [], []
    for axis, (start, size) in enumerate(zip(first[::-1], block.shape, strict=True)):
        begin, end = max(0, int(start)), min(mask.shape[axis], int(start) + size)
        if begin >= end:
            return
        into.append(slice(begin, end))
        part.append(slice(begin - int(start), end - int(start)))
    mask[tuple(into)] = block[tuple(part)]
