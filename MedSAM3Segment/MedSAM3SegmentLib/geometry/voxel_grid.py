"""Voxel grids: where each voxel lies in the patient.

Arrays are indexed ``[k, j, i]`` as SimpleITK and Slicer
give them; matrices act on ``(i, j, k, 1)`` columns; positions are RAS millimeters (x to the patient's Right, y to
Anterior, z to Superior), as in Slicer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

Matrix = NDArray[np.float64]


#: How far, in voxels, the voxel centers of two lattices may lie apart and still be taken for the same; matrices that
#: went through single precision in a file differ by less.
LATTICE_TOLERANCE = 0.05

#: Largest |cosine| between two index axes that still counts as perpendicular (0.06 degrees).
SHEAR_COSINE = 1e-3


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """The lattice a volume's voxels stand on.

    Attributes:
        shape: voxel counts in array order ``(k, j, i)``.
        ijk_to_ras: 4x4 matrix from voxel index ``(i, j, k, 1)`` to RAS millimeters.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: Matrix

    def __post_init__(self) -> None:
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError("ijk_to_ras must be a finite 4x4 matrix.")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
            raise ValueError("ijk_to_ras is singular: the voxels of this grid have no volume.")
        matrix.setflags(write=False)
        object.__setattr__(self, "ijk_to_ras", matrix)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing along ``(i, j, k)`` in millimeters."""
        return tuple(float(s) for s in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def directions(self) -> Matrix:
        """3x3 matrix whose columns are the unit RAS directions of i, j and k."""
        return np.asarray(self.ijk_to_ras[:3, :3] / np.asarray(self.spacing))

    @property
    def origin(self) -> tuple[float, float, float]:
        """RAS position in millimeters of the center of voxel ``(0, 0, 0)``."""
        return tuple(float(x) for x in self.ijk_to_ras[:3, 3])  # type: ignore[return-value]

    @property
    def voxel_volume_mm3(self) -> float:
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    @property
    def is_sheared(self) -> bool:
        """Whether the index axes are not perpendicular, which neither ITK nor a closest-slice view can represent."""
        directions = self.directions
        cosines = np.abs(directions.T @ directions - np.eye(3))
        return bool(cosines.max() > SHEAR_COSINE)

    @property
    def patient_axes(self) -> tuple[int, int, int]:
        """For each index axis i, j, k the RAS axis (0 R, 1 A, 2 S) it runs closest to, each used once."""
        closeness = np.abs(self.directions)
        return max(permutations(range(3)), key=lambda axes: sum(closeness[axes[n], n] for n in range(3)))  # type: ignore[return-value]

    def to_ras(self, ijk: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS millimeters of index positions ``[..., 3]`` in ``(i, j, k)`` order."""
        return np.asarray(ijk) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def to_ijk(self, ras: NDArray[np.float64]) -> NDArray[np.float64]:
        """Index positions ``(i, j, k)`` of RAS millimeters ``[..., 3]``; whole numbers at the centers of voxels."""
        inverse = np.linalg.inv(self.ijk_to_ras)
        return np.asarray(np.asarray(ras) @ inverse[:3, :3].T + inverse[:3, 3])

    def same_as(self, other: VoxelGrid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and every corner lies within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape[::-1]])).reshape(3, -1).T.astype(np.float64)
        return bool(np.abs(self.to_ras(corners) - other.to_ras(corners)).max() <= tolerance_mm)


def turn_onto_lattice(
    block: BoolMask, ijk_to_lattice: Matrix, first: NDArray[np.int64]
) -> tuple[BoolMask, NDArray[np.int64]] | None:
    """Store a block of voxels in the axis order and the directions of another lattice, exactly.

    Args:
        block: ``[k, j, i]``.
        ijk_to_lattice: 4x4, from indices ``(i, j, k, 1)`` of the array that ``block`` is a part of to indices of the
            lattice.
        first: the index ``(i, j, k)`` at which the block begins in that array.

    Returns:
        The block with its axes permuted and flipped (a view), and the index of the lattice at which it begins; None
        where voxel centers do not coincide.
    """
    exact = np.rint(ijk_to_lattice)
    # Rows and columns of a signed permutation hold one 1 or -1 each.
    steps = np.abs(exact[:3, :3])
    if not ((steps.sum(axis=0) == 1).all() and (steps.sum(axis=1) == 1).all()):
        return None
    size = np.array(block.shape[::-1])
    corners = np.array([[*(first + np.array(ends) * (size - 1)), 1.0] for ends in product((0, 1), repeat=3)]).T
    if np.abs((ijk_to_lattice - exact) @ corners).max() > LATTICE_TOLERANCE:
        return None
    moved = (exact @ corners)[:3].astype(np.int64)
    sources = steps.argmax(axis=1)  # for each of i, j, k of the lattice the index axis of the block it comes from
    turned = block.transpose([2 - sources[2], 2 - sources[1], 2 - sources[0]])
    backwards = [exact[axis, sources[axis]] < 0 for axis in (2, 1, 0)]
    return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in backwards)], moved.min(axis=1)


def common_part(
    shape: tuple[int, ...], block: BoolMask, first: NDArray[np.int64]
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Which part of a grid of ``shape`` ``(k, j, i)`` is which part of ``block``; None where they share none.

    Args:
        block: ``[k, j, i]``.
        first: the index ``(i, j, k)`` of the grid at which the block begins.
    """
    into, part = [], []
    for axis, (start, size) in enumerate(zip(first[::-1], block.shape, strict=True)):
        begin, end = max(0, int(start)), min(shape[axis], int(start) + size)
        if begin >= end:
            return None
        into.append(slice(begin, end))
        part.append(slice(begin - int(start), end - int(start)))
    return tuple(into), tuple(part)
