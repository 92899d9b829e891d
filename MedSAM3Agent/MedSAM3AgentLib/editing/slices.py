"""Edits by slices: ranges of the acquired stack, and what is above or below a slice or another segment."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, message

from .commands import BeyondSegment, BeyondSlice, SliceRange
from .regions import filled_region, grid_of


def keep_slice_range(mask: BoolMask, grid: VoxelGrid, command: SliceRange) -> BoolMask:
    """Keep, or remove, slices of the acquired stack.

    Raises:
        InputError: the stack has no such slices.
    """
    stack = SliceStack.along(grid)
    first = 0 if command.first is None else command.first
    last = stack.count - 1 if command.last is None else command.last
    _check_index(stack, first)
    named = np.zeros(mask.shape, bool)
    stack.extract(named)[first : last + 1] = True
    return mask & (named if command.keep else ~named)


def cut_beyond_slice(mask: BoolMask, grid: VoxelGrid, command: BeyondSlice) -> tuple[BoolMask, Message | None]:
    """Above is superior, whichever way the slices are stored; of other planes it is the higher number, which is said.

    Raises:
        InputError: the stack has no such slice.
    """
    stack = SliceStack.along(grid)
    _check_index(stack, command.index)
    is_axial = stack.plane is Plane.AXIAL
    rises = not is_axial or grid.directions[2, stack.axis] > 0
    cut = mask.copy()
    slices = stack.extract(cut)
    if command.above == rises:
        slices[command.index + 1 :] = False
    else:
        slices[: command.index] = False
    if is_axial:
        return cut, None
    return cut, message("The slices are {plane}, so above means a higher slice number.", plane=stack.plane.words)


def cut_beyond_segment(mask: BoolMask, grid: VoxelGrid, other: BoolMask, command: BeyondSegment) -> BoolMask:
    """Remove what is superior, or inferior, of all voxels of ``other``.

    Raises:
        InputError: it has none.
    """
    held, filled = filled_region(other), filled_region(mask)
    if held is None:
        raise InputError("The segment '{name}' is empty.", name=command.other)
    if filled is None:
        return mask.copy()
    heights = superior_of_voxels(grid_of(grid, held))[other[held]]
    superior = superior_of_voxels(grid_of(grid, filled))
    is_kept = superior <= heights.max() + 1e-6 if command.above else superior >= heights.min() - 1e-6
    cut = mask.copy()
    cut[filled] &= is_kept
    return cut


def superior_of_voxels(grid: VoxelGrid) -> np.ndarray:  # type: ignore[type-arg]
    """S in millimeters of each voxel's center ``[k, j, i]``."""
    row = grid.ijk_to_ras[2]
    k, j, i = (np.arange(n, dtype=float) for n in grid.shape)
    return np.asarray(row[2] * k[:, None, None] + row[1] * j[None, :, None] + row[0] * i + row[3])


def _check_index(stack: SliceStack, index: int) -> None:
    if not 0 <= index < stack.count:
        raise InputError(
            "There is no slice {index}; the stack has the slices 0 to {last}.", index=index, last=stack.count - 1
        )
