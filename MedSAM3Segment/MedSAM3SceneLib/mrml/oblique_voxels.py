"""From the mask of one oblique slice back to the voxels it goes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid


@dataclass(frozen=True, eq=False)
class ObliqueVoxels:
    """The voxels that a slice goes through.

    Attributes:
        indices: int ``[n, 3]`` in array order ``(k, j, i)``.
        inside: bool ``[n]``, whether the slice's mask holds the voxel.
    """

    indices: NDArray[np.int64]
    inside: BoolMask


def find_oblique_voxels(mask: BoolMask, slice_to_ras: Matrix, grid: VoxelGrid) -> ObliqueVoxels:
    """The voxels of ``grid`` that a slice goes through, and which of them its mask holds.

    A voxel takes the nearest pixel to its center, looked at along the slice's normal; voxels that are farther beside
    the slice than they are large are left out. Only the few voxels next to the slice are looked at, so it takes as long
    as one slice does.

    Args:
        mask: bool ``[row, column]``.
        slice_to_ras: 4x4 from ``(column, row, slice, 1)`` to RAS millimeters. The slice is as thick as its third
            column is long.
        grid: where the voxels lie, in the same frame.
    """
    to_slice = np.linalg.inv(slice_to_ras) @ grid.ijk_to_ras
    height = to_slice[2]
    axis = int(np.abs(height[:3]).argmax())
    others = [other for other in range(3) if other != axis]
    counts = grid.shape[::-1]
    first, second = np.meshgrid(*[np.arange(counts[other]) for other in others], indexing="ij")
    centre = -(height[others[0]] * first + height[others[1]] * second + height[3]) / height[axis]
    reach = 0.5 / abs(height[axis])
    last = np.array(mask.shape[::-1]) - 1
    beside = np.abs(to_slice[:2, :3]).sum(axis=1) / 2
    found, inside = [], []
    for step in range(-int(np.ceil(reach)), int(np.ceil(reach)) + 1):
        along = np.floor(centre + 0.5) + step
        # Half-open, so that two slices side by side share no voxel.
        near = (along - centre > -reach - 1e-9) & (along - centre <= reach - 1e-9)
        near &= (along >= 0) & (along < counts[axis])
        index = np.empty((int(near.sum()), 3))
        index[:, others[0]], index[:, others[1]], index[:, axis] = first[near], second[near], along[near]
        places = index @ to_slice[:2, :3].T + to_slice[:2, 3]
        pixels = np.clip(np.floor(places + 0.5), 0, last)
        on = (np.abs(places - pixels) <= 0.5 + beside).all(axis=1)
        found.append(index[on][:, ::-1].astype(np.int64))
        columns, rows = pixels[on].astype(int).T
        inside.append(mask[rows, columns])
    return ObliqueVoxels(np.concatenate(found), np.concatenate(inside))
