"""Which part of a mask an edit must look at to come out as if it had looked at all of it."""

from __future__ import annotations

from math import ceil

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .commands import (
    Command,
    FillHoles,
    Hollow,
    IntensityRange,
    KeepLargest,
    KeepPart,
    KeepSide,
    Margin,
    RemoveSmall,
    SelectObject,
    Smooth,
    SmoothingMethod,
    SplitObjects,
)
from .filters import RADIUS_FACTOR, Spacing, kernel_voxels

#: Slices of an array, in its order ``(k, j, i)``.
Region = tuple[slice, slice, slice]


def region_of(command: Command, mask: BoolMask, spacing: Spacing) -> Region | None:
    """The block of ``mask`` ``[k, j, i]`` that decides what ``command`` makes of it; None for all of it.

    All that is set lies in it, and outside of it nothing will be. Around what is set there is so much room that what
    is cut off changes no voxel: at least one voxel, and where a kernel moves over the mask twice its reach.

    Args:
        spacing: along ``(k, j, i)``, millimeters.
    """
    match command:
        case Margin():
            room = [ceil(max(command.mm, 0.0) / along) + 1 for along in spacing]
        case KeepLargest() | RemoveSmall() | SelectObject() | SplitObjects() | KeepSide() | KeepPart():
            room = [0, 0, 0]
        case IntensityRange():
            room = [0, 0, 0]
        case FillHoles():
            room = [1, 1, 1]
        case Smooth():
            room = [2 * _reach(command, along) + 1 for along in spacing]
        case Hollow():
            room = [ceil(command.mm / along) + 2 for along in spacing]
        case _:
            return None
    filled = filled_region(mask)
    if filled is None:
        return slice(0, 1), slice(0, 1), slice(0, 1)
    wanted = zip(filled, room, mask.shape, strict=True)
    return tuple(slice(max(0, part.start - more), min(size, part.stop + more)) for part, more, size in wanted)  # type: ignore[return-value]


def filled_region(mask: BoolMask) -> Region | None:
    """The smallest block of ``mask`` ``[k, j, i]`` that holds all that is set; None where nothing is."""
    ends = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if not filled.size:
            return None
        ends.append(slice(int(filled[0]), int(filled[-1]) + 1))
        # What is left of the other axes is looked at in this part only.
        mask = mask[tuple(ends[-1] if other == axis else slice(None) for other in range(3))]
    return tuple(ends)  # type: ignore[return-value]


def grid_of(grid: VoxelGrid, region: Region) -> VoxelGrid:
    """Where the voxels of a block of ``grid`` lie."""
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [part.start for part in reversed(region)]
    return VoxelGrid(tuple(part.stop - part.start for part in region), matrix)  # type: ignore[arg-type]


def _reach(command: Smooth, along: float) -> int:
    """How many voxels a kernel looks far."""
    if command.method is SmoothingMethod.GAUSSIAN:
        return int(command.mm / along * RADIUS_FACTOR)
    return kernel_voxels(command.mm, along) // 2
