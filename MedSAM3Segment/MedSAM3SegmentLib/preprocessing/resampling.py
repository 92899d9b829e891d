"""From a sheared lattice to a perpendicular one that covers the same part of the patient."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid


def perpendicular_grid(grid: VoxelGrid) -> VoxelGrid:
    """The perpendicular grid that covers all voxels of ``grid``, with voxels of the same volume.

    The finest index axis keeps its direction and the plane of the two finest stays the same plane, so that slices cut
    by a tilted gantry are shifted within themselves and not mixed with their neighbors.
    """
    order = np.argsort(grid.spacing, kind="stable")
    q, r = np.linalg.qr(grid.ijk_to_ras[:3, order])
    signs = np.sign(np.diag(r))
    axes = np.empty((3, 3))
    axes[:, order] = q * signs
    spacing = np.empty(3)
    spacing[order] = np.abs(np.diag(r))

    counts = np.array(grid.shape[::-1])
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in counts])))
    along = grid.to_ras(corners) @ axes / spacing
    low, high = along.min(axis=0), along.max(axis=0)
    # A count that comes out as 10.0000001 is 10.
    new_counts = np.maximum(np.ceil(high - low - 1e-6), 1).astype(int)
    first = (low + high - new_counts + 1) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = axes @ (first * spacing)
    return VoxelGrid(tuple(new_counts[::-1].tolist()), matrix)


def straighten(array: NDArray[Any], grid: VoxelGrid, linear: bool = True) -> tuple[NDArray[Any], VoxelGrid]:
    """Resample a sheared image onto ``perpendicular_grid(grid)``.

    Args:
        array: voxels ``[k, j, i]`` or ``[k, j, i, component]``.
        grid: its sheared grid.
        linear: trilinear interpolation, with the image's minimum outside of it; otherwise, for labels, the nearest
            voxel, with 0 outside.

    Returns:
        The voxels in the same dtype, and their grid.
    """
    from scipy.ndimage import affine_transform

    target = perpendicular_grid(grid)
    to_source = np.linalg.inv(grid.ijk_to_ras) @ target.ijk_to_ras
    # scipy indexes arrays, [k, j, i]: both ends of the matrix are turned round.
    matrix, offset = to_source[:3, :3][::-1, ::-1], to_source[:3, 3][::-1]
    background = float(array.min()) if linear else 0.0
    exact = array.dtype in (np.float64, np.int32, np.uint32, np.int64, np.uint64)
    channels = array if array.ndim == 4 else array[..., None]
    resampled = np.empty((*target.shape, channels.shape[3]), array.dtype)
    for channel in range(channels.shape[3]):
        values = affine_transform(
            channels[..., channel],
            matrix,
            offset,
            output_shape=target.shape,
            output=np.float64 if exact else np.float32,
            order=1 if linear else 0,
            mode="grid-constant",
            cval=background,
        )
        resampled[..., channel] = values if array.dtype.kind == "f" else np.rint(values)
    return resampled.reshape(target.shape + array.shape[3:]), target
