"""Left and right of the patient, computed from RAS positions; no model is ever asked for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MedSAM3AgentLib.targets import Side
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.windowing import is_ct
from MedSAM3SegmentLib.units import is_plain_picture
from MedSAM3SegmentLib.volume import Volume

#: HU above which a CT voxel belongs to the body and not to the air around it.
_BODY_HU = -300.0

#: Every so many voxels along each axis are looked at for the midline.
_STEP = 3


def midline_of(volume: Volume) -> float | None:
    """R in millimeters of the middle of the body, half of it on each side; None where there are no sides.

    In CT the body is what is denser than air; in other images what is brighter than the mean.
    """
    if is_plain_picture(volume):
        return None
    array = volume.array[::_STEP, ::_STEP, ::_STEP]
    if array.ndim == 4:
        array = array.mean(axis=3)
    body = array > (_BODY_HU if is_ct(volume) else float(array.mean()))
    places = np.argwhere(body if body.any() else np.ones_like(body))[:, ::-1] * _STEP
    r = volume.grid.to_ras(places.astype(float))[:, 0]
    low, high = np.percentile(r, [1, 99])
    return float(low + high) / 2


def r_of_voxels(grid: VoxelGrid) -> NDArray[np.float64]:
    """R in millimeters of each voxel's center ``[k, j, i]``."""
    k, j, i = (np.arange(n, dtype=float) for n in grid.shape)
    row = grid.ijk_to_ras[0]
    return np.asarray(row[2] * k[:, None, None] + row[1] * j[None, :, None] + row[0] * i + row[3])


def centroid_ras(mask: BoolMask, grid: VoxelGrid) -> tuple[float, float, float]:
    """The mean position of a mask's voxels, millimeters RAS."""
    place = grid.to_ras(np.argwhere(mask)[:, ::-1].astype(float)).mean(axis=0)
    return float(place[0]), float(place[1]), float(place[2])


def side_of(mask: BoolMask, grid: VoxelGrid, midline: float) -> tuple[Side, float]:
    """On which side most of a mask is, and what share of it, 0.5 to 1."""
    r = grid.to_ras(np.argwhere(mask)[:, ::-1].astype(float))[:, 0]
    right = float(np.mean(r > midline))
    return (Side.RIGHT, right) if right >= 0.5 else (Side.LEFT, 1 - right)


def half_of(grid: VoxelGrid, side: Side, midline: float) -> BoolMask:
    """The half of the volume on one side, bool ``[k, j, i]``."""
    return np.asarray((r_of_voxels(grid) - midline) * side.sign > 0)
