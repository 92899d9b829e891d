"""Where the voxels of a NIfTI file lie: which of its two transforms counts, and in which unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.io.itk import lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

#: No voxel is a kilometre from the scanner.
_FARTHEST_MM = 1e6

#: Millimeters of NIfTI's unit codes for space; what says nothing is millimeters.
_MM_OF_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}

#: Transforms whose corners lie this close, in voxels, are the same.
_SAME_VOXELS = 0.1

_SCANNER = 1


def nifti_grid(header: Any, shape: tuple[int, int, int], path: Path) -> tuple[VoxelGrid, tuple[Message, ...]]:
    """The grid that a NIfTI header means.

    ITK's choice is kept, unless ITK bends the very transform that counts: the sform where its code is 1 (scanner) or
    there is no other, else the qform. ITK replaces a sheared sform by the nearest perpendicular one without a word.

    Args:
        header: nibabel's header, of NIfTI-1 or NIfTI-2, as stored.
        shape: voxel counts along i, j, k.

    Returns:
        The grid, which may be sheared, and what was guessed.

    Raises:
        InputError: the transform has no volume or no end.
    """
    qform_code, sform_code = int(header["qform_code"]), int(header["sform_code"])
    scale = _MM_OF_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if qform_code <= 0 and sform_code <= 0:
        said = message("The NIfTI header does not say how the patient lies, so left and right are a guess.")
        lps = np.diag([*_steps(header, shape, path) * scale, 1.0])
        return lps_grid(shape[::-1], lps, path), (said,)
    if sform_code <= 0:
        return _qform_grid(header, shape, scale, path), ()
    sform = _grid(shape, _sform(header, shape, path), scale, path)
    if qform_code <= 0:
        return sform, ()
    try:
        qform = _qform_grid(header, shape, scale, path)
    except InputError:
        if sform_code != _SCANNER:
            raise
        return sform, ()
    if sform.same_as(qform, tolerance_mm=1e-3 * min(qform.spacing)):
        return sform, ()
    if sform.same_as(qform, tolerance_mm=_SAME_VOXELS * min(qform.spacing)):
        return (sform if sform_code == _SCANNER else qform), ()
    if sform.is_sheared and sform_code in (_SCANNER, qform_code):
        # A qform cannot hold shear. One with the same code means the same space, only less exactly.
        return sform, ()
    if sform_code != _SCANNER:
        return qform, (
            message("The NIfTI header holds two different orientations; its qform was used, as 3D Slicer does."),
        )
    if not np.allclose(sform.spacing, qform.spacing, rtol=0.01):
        matrix = sform.ijk_to_ras.copy()
        matrix[:3, :3] = sform.directions * qform.spacing
        return VoxelGrid(sform.shape, matrix), (
            message(
                "The NIfTI header holds two different voxel sizes; {size} mm was used, as 3D Slicer does.",
                size=" x ".join(f"{spacing:.3g}" for spacing in qform.spacing),
            ),
        )
    return sform, ()


def _grid(shape: tuple[int, int, int], matrix: Matrix, scale: float, path: Path) -> VoxelGrid:
    scaled = matrix * np.array([[scale], [scale], [scale], [1.0]])
    if not np.abs(scaled).max() < _FARTHEST_MM:
        raise _broken(path)
    try:
        return VoxelGrid(shape[::-1], scaled + 0.0)
    except ValueError:
        raise _broken(path) from None


def _broken(path: Path) -> InputError:
    return InputError(
        "{path} has a broken orientation (its axes have no volume or no end); repair its header.", path=path
    )


def _steps(header: Any, shape: tuple[int, int, int], path: Path) -> Matrix:
    """Distances of voxels along i, j, k in the header's unit; an axis with one voxel needs none.

    Raises:
        InputError: one is zero or not a number.
    """
    steps = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    steps[(np.array(shape) == 1) & ~((steps > 0) & np.isfinite(steps))] = 1.0
    if not ((steps > 0) & (steps < _FARTHEST_MM)).all():
        raise InputError("{path} has voxels without size or place; repair the spacing in its header.", path=path)
    return steps


def _sform(header: Any, shape: tuple[int, int, int], path: Path) -> Matrix:
    matrix: Matrix = np.eye(4)
    matrix[:3] = [header[row] for row in ("srow_x", "srow_y", "srow_z")]
    # An image of one slice may leave out how thick it is.
    if shape[2] == 1 and not matrix[:3, 2].any():
        normal = np.cross(matrix[:3, 0], matrix[:3, 1])
        if (length := np.linalg.norm(normal)) > 0:
            matrix[:3, 2] = normal / length * _steps(header, shape, path)[2]
    return matrix


def _qform_grid(header: Any, shape: tuple[int, int, int], scale: float, path: Path) -> VoxelGrid:
    quaternion = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    offset = np.array([float(header[f"qoffset_{letter}"]) for letter in "xyz"])
    if not np.isfinite([*quaternion, *offset]).all():
        raise _broken(path)
    matrix: Matrix = np.eye(4)
    steps = _steps(header, shape, path)
    # The sign of the third axis; zero counts as positive.
    steps[2] *= -1.0 if float(header["pixdim"][0]) < 0 else 1.0
    matrix[:3, :3] = _rotation(quaternion) * steps
    matrix[:3, 3] = offset
    return _grid(shape, matrix, scale, path)


def _rotation(vector: Matrix) -> Matrix:
    """3x3 matrix of the unit quaternion whose last three parts are ``vector``; if longer it is cut, as by ITK."""
    from nibabel.quaternions import quat2mat

    rest = 1.0 - float(vector @ vector)
    if rest < 1e-7:
        vector = vector / np.linalg.norm(vector)
        rest = 0.0
    return np.asarray(quat2mat([np.sqrt(rest), *vector]))
