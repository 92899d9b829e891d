"""What a person drew in the patient, as it lies on the slices of a stack.

Marks are in RAS millimeters or voxels; the networks take fractions of an upright slice's width and height, from its
upper left corner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid, common_part, turn_onto_lattice

from .prompts import BoxPromptRAS, MaskPromptRAS, PointPromptRAS

#: ``(x0, y0, x1, y1)`` as fractions of a slice.
BoxFractions = tuple[float, float, float, float]

#: A center this far (in slices) outside of a box still counts as in it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SlicePoint:
    """A click on one slice.

    Attributes:
        x, y: as fractions of the slice's width and height.
        positive: whether it is in the object.
    """

    slice_index: int
    x: float
    y: float
    positive: bool


@dataclass(frozen=True)
class SliceBox:
    """A box on one slice or on several in a row.

    Attributes:
        slices: the slices it is on.
        box: as fractions of each slice.
        positive: whether it shows the object.
    """

    slices: range
    box: BoxFractions
    positive: bool

    @property
    def middle(self) -> int:
        """The slice in its middle."""
        return self.slices[len(self.slices) // 2]


def points_on(stack: SliceStack, marks: Iterable[PointPromptRAS]) -> tuple[SlicePoint, ...]:
    """The points on the slices whose centers are nearest.

    Raises:
        InputError: one lies outside of the volume.
    """
    points = []
    for mark in marks:
        position = stack.position_of(np.asarray(mark.position, float))
        index = int(np.floor(position[0] + 0.5))
        x, y = _fractions(stack, position)
        if not (0 <= index < stack.count and 0 <= x <= 1 and 0 <= y <= 1):
            raise InputError(
                "The point {place} lies outside of the volume; move it onto it.", place=_in_words(mark.position)
            )
        points.append(SlicePoint(index, x, y, mark.positive))
    return tuple(points)


def boxes_on(stack: SliceStack, marks: Iterable[BoxPromptRAS]) -> tuple[SliceBox, ...]:
    """The boxes, cut to the volume; one thinner than a slice lies on the slice it is in.

    Raises:
        InputError: one lies outside of the volume, or has no area on its slices.
    """
    boxes = []
    for mark in marks:
        corners = stack.position_of(np.asarray(mark.corners, float))
        low, high = corners.min(axis=0), corners.max(axis=0)
        first, last = int(np.ceil(low[0] - _ROUNDING)), int(np.floor(high[0] + _ROUNDING))
        if first > last:
            first = last = int(np.floor((low[0] + high[0]) / 2 + 0.5))
        slices = range(max(first, 0), min(last + 1, stack.count))
        x0, y0 = (float(np.clip(value, 0, 1)) for value in _fractions(stack, low))
        x1, y1 = (float(np.clip(value, 0, 1)) for value in _fractions(stack, high))
        if not slices or _lies_beside(stack, low, high):
            raise InputError(
                "The box at {place} lies outside of the volume; move it onto it.", place=_in_words(mark.corners[0])
            )
        if x1 <= x0 or y1 <= y0:
            raise InputError(
                "The box at {place} has no area on {plane} slices; draw it in that plane.",
                place=_in_words(mark.corners[0]),
                plane=stack.plane.words,
            )
        boxes.append(SliceBox(slices, (x0, y0, x1, y1), mark.positive))
    return tuple(boxes)


def drawn_on(stack: SliceStack, marks: Iterable[MaskPromptRAS]) -> Mapping[int, BoolMask]:
    """The masks ``[row, column]`` by slice; several on one slice are joined.

    Raises:
        InputError: a mask does not fit the volume, or nothing was drawn.
    """
    drawn: dict[int, BoolMask] = {}
    for mark in marks:
        if mark.mask.shape != stack.grid.shape:
            raise InputError(
                "The drawn mask has {size} voxels, the volume {volume_size}; resample it to the volume.",
                size=str(mark.mask.shape[::-1]),
                volume_size=str(stack.grid.shape[::-1]),
            )
        slices = stack.extract(mark.mask)
        named = np.flatnonzero(slices.any(axis=(1, 2))).tolist() if mark.slices is None else mark.slices
        if not named:
            raise InputError("The drawn mask is empty; draw at least one slice, or name the slices that are empty.")
        for index in named:
            if not 0 <= index < stack.count:
                raise InputError(
                    "Slice {index} was drawn, but the stack has the slices 0 to {last} only.",
                    index=index,
                    last=stack.count - 1,
                )
            drawn[index] = slices[index] | drawn[index] if index in drawn else slices[index].astype(bool)
    return dict(sorted(drawn.items()))


def placed_on(grid: VoxelGrid, mask: BoolMask, own: VoxelGrid) -> BoolMask | None:
    """A mask ``[k, j, i]`` of a part of ``grid``, as Slicer crops segments, on all of it.

    Args:
        own: the mask's grid; its axes may have another order and other directions.

    Returns:
        None where the voxels of the two grids do not coincide; what lies outside of ``grid`` is left out.
    """
    turned = turn_onto_lattice(mask, np.linalg.inv(grid.ijk_to_ras) @ own.ijk_to_ras, np.zeros(3, np.int64))
    if turned is None:
        return None
    block, first = turned
    placed = np.zeros(grid.shape, bool)
    common = common_part(grid.shape, block, first)
    if common is not None:
        there, here = common
        placed[there] = block[here]
    return placed


def _fractions(stack: SliceStack, position: NDArray[np.float64]) -> tuple[float, float]:
    rows, columns = stack.slice_shape
    return float(position[2] + 0.5) / columns, float(position[1] + 0.5) / rows


def _lies_beside(stack: SliceStack, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Whether a box has nothing of the slices' own extent."""
    return any(high[1 + n] < -0.5 or low[1 + n] > stack.slice_shape[n] - 0.5 for n in range(2))


def _in_words(position: tuple[float, float, float]) -> str:
    return "({:.1f}, {:.1f}, {:.1f}) mm RAS".format(*position)
