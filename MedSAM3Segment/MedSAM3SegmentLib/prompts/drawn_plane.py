"""In which plane a mask was drawn: what lies on a few axial slices is but a line on each sagittal one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack

#: A mask that lies on neighboring slices of one plane was drawn there if it is this much thinner across them than
#: along them, in millimeters. What is drawn whole is seldom flatter.
_FLATNESS = 3.0

#: Slices with gaps between them were drawn one by one if no more than these lie in a row; objects that lie apart, such
#: as two kidneys, are on more.
_MOST_IN_A_ROW = 2


def drawn_plane(stack: SliceStack, masks: Iterable[BoolMask]) -> tuple[Plane, tuple[int, ...]] | None:
    """The plane that masks were drawn in, and on which of its slices, where that is another than the stack's.

    A mask was drawn in another plane if it lies there on a single slice, on slices each by itself or by twos with gaps
    between them, or is flat across its few slices, and if it lies on more slices of the stack, without a gap. What was
    drawn whole lies on slices in a row whichever way it is cut, so it is in the stack's own plane as well.

    Args:
        stack: that the masks are to be read in.
        masks: bool ``[k, j, i]`` on the stack's grid; together they are what was drawn.

    Returns:
        None where the stack's own plane is right, or nothing was drawn.
    """
    lines: list[BoolMask] = [np.zeros(count, bool) for count in stack.grid.shape]
    for mask in masks:
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            lines[axis] |= mask.any(axis=others)
    own = stack.array_axes[0]
    on = [np.flatnonzero(line) for line in lines]
    if not on[own].size or _has_gaps(on[own]):
        return None
    spacing = stack.grid.spacing[::-1]
    extents = [len(indices) * spacing[axis] for axis, indices in enumerate(on)]
    found = None
    for axis in sorted(range(3), key=lambda axis: len(on[axis])):
        if axis == own or len(on[axis]) >= len(on[own]):
            continue
        across = min(extents[other] for other in range(3) if other != axis)
        is_flat = extents[axis] * _FLATNESS <= across and not _has_gaps(on[axis])
        is_few = 2 * len(on[axis]) < len(on[own])
        is_spread = _has_gaps(on[axis]) and _longest_row(on[axis]) <= _MOST_IN_A_ROW
        if is_spread or (is_few and (is_flat or len(on[axis]) == 1)):
            found = axis
            break
    if found is None:
        return None
    for plane in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL):
        if SliceStack.along(stack.grid, plane).array_axes[0] == found:
            return plane, tuple(int(index) for index in on[found])
    return None


def _has_gaps(indices: NDArray[np.intp]) -> bool:
    return bool(indices[-1] - indices[0] + 1 > len(indices))


def _longest_row(indices: NDArray[np.intp]) -> int:
    return max(len(row) for row in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1))
