"""The part of a NIfTI header that ITK hides: the stored affine, and how long the file has to be.

ITK replaces a sheared affine by the nearest perpendicular one and fills a truncated file up with noise, both without a
word. Offsets are those of the NIfTI-1 standard (``nifti1.h``).
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

_FIELDS = {
    "dim": ("i2", 8, 40),
    "bitpix": ("i2", 1, 72),
    "vox_offset": ("f4", 1, 108),
    "qform_code": ("i2", 1, 252),
    "sform_code": ("i2", 1, 254),
    "srow": ("f4", 12, 280),
}
_SIZE = 348

#: No voxel is a kilometre from the scanner.
_FARTHEST_MM = 1e6
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What was read.

    Attributes:
        shape: voxel counts along i, j, k, time, ...
        qform_code, sform_code: NIfTI's codes for the space each transform leads to; 0 where it is not stored.
        sform: 4x4 matrix from ``(i, j, k, 1)`` to RAS millimetres; meaningless where ``sform_code`` is 0.
    """

    shape: tuple[int, ...]
    qform_code: int
    sform_code: int
    sform: Matrix


def is_nifti_name(path: Path) -> bool:
    """Whether the file's name ends as a single-file NIfTI's does."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header of a ``.nii`` or ``.nii.gz`` file, and all of the file to see that it is whole.

    Raises:
        InputError: the file is not NIfTI, is truncated or damaged, or has no voxels.
    """
    not_nifti = InputError("{path} is not a NIfTI file, or its header is damaged; export it again.", path=path)
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            raw = file.read(_SIZE)
            if len(raw) < _SIZE:
                raise not_nifti
            length = len(raw)
            while chunk := file.read(_CHUNK):
                length += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError("{path} is truncated or damaged; copy or export it again.", path=path) from None
    except OSError as error:
        raise InputError(
            "{path} cannot be opened ({why}); check the path and its permissions.", path=path, why=str(error.strerror)
        ) from None
    if raw[4:7] == b"n+2":
        raise InputError("{path} is a NIfTI-2 file, which ITK cannot read; convert it to NIfTI-1.", path=path)
    order = next((order for order in "<>" if np.frombuffer(raw, order + "i4", 1)[0] == _SIZE), None)
    if order is None or raw[344:347] != b"n+1":
        raise not_nifti
    values = {name: np.frombuffer(raw, order + kind, count, offset) for name, (kind, count, offset) in _FIELDS.items()}
    dimensions = int(values["dim"][0])
    if not 1 <= dimensions <= 7 or not np.isfinite(values["vox_offset"][0]) or values["bitpix"][0] <= 0:
        raise not_nifti
    shape = tuple(int(n) for n in values["dim"][1 : 1 + dimensions])
    if min(shape) < 1:
        raise InputError(
            "{path} is empty: its size is {size} voxels; export it again.", path=path, size=" x ".join(map(str, shape))
        )
    needed = int(values["vox_offset"][0]) + int(np.prod(shape, dtype=object)) * int(values["bitpix"][0]) // 8
    if length < needed:
        raise InputError(
            "{path} is truncated: {length} of {needed} bytes are there; copy or export it again.",
            path=path,
            length=length,
            needed=needed,
        )
    sform = np.eye(4)
    sform[:3] = values["srow"].reshape(3, 4)
    sform_code = int(values["sform_code"][0])
    # ITK never comes back from an infinite one.
    if sform_code and not (np.abs(sform).max() < _FARTHEST_MM and abs(np.linalg.det(sform)) > 1e-12):
        raise InputError(
            "{path} has a broken orientation (its sform has no volume or no end); repair its header.", path=path
        )
    return NiftiHeader(shape, int(values["qform_code"][0]), sform_code, sform)
