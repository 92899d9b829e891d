"""Slice stacks: how a volume becomes upright slices and back.

This is the only place that knows how a slice maps to a volume. Slices are shown as a radiologist sees them; arrays are
indexed ``[k, j, i]`` as SimpleITK and Slicer give them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.messages.message import Message, message

from .voxel_grid import VoxelGrid

#: How much finer the two in-plane spacings must be before an axis counts as the acquired slice axis.
ACQUIRED_SPACING_RATIO = 1.2


class Plane(StrEnum):
    """The plane a stack is cut in, by its name in the patient."""

    ACQUIRED = "acquired"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def words(self) -> Message:
        """Its name in a sentence."""
        match self:
            case Plane.AXIAL:
                return message("axial")
            case Plane.CORONAL:
                return message("coronal")
            case Plane.SAGITTAL:
                return message("sagittal")
        return message("acquired")


# What a radiologist sees: for each plane the RAS directions of (next slice, down the screen, right on the screen).
# Axial: anterior up, the patient's left on the right. Coronal: superior up, left on the right. Sagittal: superior up,
# anterior on the left (Slicer's own default for each of its three slice views).
_DISPLAY_DIRECTIONS: dict[Plane, tuple[tuple[int, int, int], ...]] = {
    Plane.AXIAL: ((0, 0, 1), (0, -1, 0), (-1, 0, 0)),
    Plane.CORONAL: ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    Plane.SAGITTAL: ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
}


_NORMAL_AXIS = {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}


def acquired_axis(grid: VoxelGrid) -> int:
    """The index axis (0 i, 1 j, 2 k) along which the slices of ``grid`` were acquired.

    A single-slice axis is the one; otherwise the axis whose spacing is clearly the coarsest; a nearly isotropic volume
    has no acquired axis that matters and is cut axially.
    """
    counts = grid.shape[::-1]
    single = [axis for axis in range(3) if counts[axis] == 1]
    if len(single) == 1:
        return single[0]
    spacing = grid.spacing
    coarsest = int(np.argmax(spacing))
    others = max(s for axis, s in enumerate(spacing) if axis != coarsest)
    if spacing[coarsest] > ACQUIRED_SPACING_RATIO * others:
        return coarsest
    return grid.patient_axes.index(_NORMAL_AXIS[Plane.AXIAL])


@dataclass(frozen=True)
class SliceStack:
    """One way of cutting a grid into slices that are shown as a radiologist sees them.

    Slices are numbered along the stack axis as the voxels are stored, so slice ``n`` is index ``n`` of that axis in any
    viewer. Within a slice, rows run down and columns run right on the screen.

    Attributes:
        grid: the grid that is cut.
        plane: the anatomical plane the slices are closest to (never ``ACQUIRED``).
        axis: the index axis (0 i, 1 j, 2 k) that the stack runs along.
        array_axes: array axes of a ``[k, j, i]`` volume in the order (slice, row, column).
        flips: which of (slice, row, column) run against the array axis. The slice axis never does.
    """

    grid: VoxelGrid
    plane: Plane
    axis: int
    array_axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def along(cls, grid: VoxelGrid, plane: Plane = Plane.ACQUIRED) -> SliceStack:
        """The stack of ``grid`` in ``plane``; oblique grids take the closest index axis."""
        patient_axes = grid.patient_axes
        if plane is Plane.ACQUIRED:
            axis = acquired_axis(grid)
            normals = {normal: name for name, normal in _NORMAL_AXIS.items()}
            plane = normals[patient_axes[axis]]
        else:
            axis = patient_axes.index(_NORMAL_AXIS[plane])
        array_axes = []
        flips = []
        for position, wanted in enumerate(_DISPLAY_DIRECTIONS[plane]):
            patient_axis = int(np.flatnonzero(wanted)[0])
            index_axis = patient_axes.index(patient_axis)
            array_axes.append(2 - index_axis)
            against = grid.directions[patient_axis, index_axis] * wanted[patient_axis] < 0
            flips.append(bool(against) and position > 0)
        return cls(grid, plane, axis, tuple(array_axes), tuple(flips))  # type: ignore[arg-type]

    @property
    def count(self) -> int:
        """How many slices the stack has."""
        return self.grid.shape[self.array_axes[0]]

    @property
    def slice_shape(self) -> tuple[int, int]:
        """(rows, columns) of every slice."""
        return self.grid.shape[self.array_axes[1]], self.grid.shape[self.array_axes[2]]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing between slices, rows and columns in millimeters."""
        spacing = self.grid.spacing
        return tuple(spacing[2 - axis] for axis in self.array_axes)  # type: ignore[return-value]

    def extract(self, volume: NDArray) -> NDArray:  # type: ignore[type-arg]
        """The slices ``[slice, row, column, ...]`` of ``volume`` ``[k, j, i, ...]``, as a view of the same memory."""
        if volume.shape[:3] != self.grid.shape:
            raise ValueError(f"The volume has shape {volume.shape[:3]}, its grid {self.grid.shape}.")
        slices = volume.transpose(*self.array_axes, *range(3, volume.ndim))
        return slices[self._flip]

    def insert(self, slices: NDArray) -> NDArray:  # type: ignore[type-arg]
        """The volume ``[k, j, i, ...]`` whose slices are ``slices``: the exact inverse of ``extract``."""
        if slices.shape[:3] != (self.count, *self.slice_shape):
            raise ValueError(f"The slices have shape {slices.shape[:3]}, not {(self.count, *self.slice_shape)}.")
        inverse = np.argsort(self.array_axes)
        return slices[self._flip].transpose(*inverse, *range(3, slices.ndim))

    def position_of(self, ras: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where places lie in the stack.

        Args:
            ras: ``[..., 3]``, millimeters.

        Returns:
            ``[..., 3]`` as (slice, row, column) of the upright slices, whole numbers at the centers of voxels; outside
            of the volume below -0.5 or above the last by more than 0.5.
        """
        ijk = self.grid.to_ijk(ras)
        positions = ijk[..., [2 - axis for axis in self.array_axes]]
        last = np.array([self.grid.shape[axis] - 1 for axis in self.array_axes])
        return np.where(self.flips, last - positions, positions)

    @property
    def _flip(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)
