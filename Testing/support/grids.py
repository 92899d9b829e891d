"""Generated voxel grids of every kind that scanners and converters make, and ways to store one volume differently."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

#: The array axes in another order, and which of them (in the new order) are turned round.
Storage = tuple[tuple[int, int, int], tuple[bool, bool, bool]]

storages: st.SearchStrategy[Storage] = st.tuples(
    st.sampled_from(list(permutations(range(3)))), st.tuples(st.booleans(), st.booleans(), st.booleans())
)


def rotation(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """3x3 matrix that turns by ``degrees`` about ``axis``."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def stored_as(array: NDArray[Any], grid: VoxelGrid, storage: Storage) -> tuple[NDArray[Any], VoxelGrid]:
    """The same voxels at the same places in the patient, with the array axes permuted and turned round."""
    axes, flips = storage
    matrix = np.eye(4)
    matrix[:, 3] = grid.ijk_to_ras[:, 3]
    for new, old in enumerate(axes):
        column = grid.ijk_to_ras[:, 2 - old]
        if flips[new]:
            matrix[:, 3] += column * (grid.shape[old] - 1)
            column = -column
        matrix[:, 2 - new] = column
    turned = array.transpose(*axes, *range(3, array.ndim))
    turned = np.flip(turned, [n for n in range(3) if flips[n]])
    return turned, VoxelGrid(turned.shape[:3], matrix)


@st.composite
def grids(draw: st.DrawFn, max_size: int = 6, max_tilt: float = 30.0) -> VoxelGrid:
    """Flipped, permuted, oblique, anisotropic, off-center grids; perpendicular."""
    shape = draw(st.tuples(*[st.integers(1, max_size)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 9.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-600.0, 600.0)] * 3))
    axis = np.array(draw(st.tuples(*[st.floats(-1.0, 1.0)] * 3)))
    if np.linalg.norm(axis) < 0.1:
        axis = np.array([1.0, 2.0, 3.0])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(axis, draw(st.floats(0.0, max_tilt))) * spacing
    matrix[:3, 3] = origin
    return stored_as(np.zeros(shape, np.uint8), VoxelGrid(shape, matrix), draw(storages))[1]


def voxel_positions(grid: VoxelGrid) -> NDArray[np.float64]:
    """RAS millimeters of every voxel, ``[k, j, i, 3]``, by the definition of the grid alone."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    columns = np.stack([i, j, k, np.ones_like(i)], axis=-1).astype(np.float64)
    return (columns @ grid.ijk_to_ras.T)[..., :3]
