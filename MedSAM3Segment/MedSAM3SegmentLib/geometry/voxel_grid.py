"""Voxel grids: where each voxel lies in the patient.

Arrays are indexed ``[k, j, i]`` as SimpleITK and Slicer
give them; matrices act on ``(i, j, k, 1)`` columns; positions are RAS millimeters (x to the patient's Right, y to
Anterior, z to Superior), as in Slicer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

Matrix = NDArray[np.float64]


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
