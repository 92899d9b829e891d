"""The part of a NIfTI header that ITK hides: the stored affine, and how long the file has to be.

ITK replaces a sheared affine by the nearest perpendicular one and fills a truncated file up with noise, both without a
word. nibabel takes the header apart; what is believed of it is decided here.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

#: No voxel is a kilometre from the scanner.
_FARTHEST_MM = 1e6
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What was read.

    Attributes:
        shape: voxel counts along i, j, k, time, ...
        qform_code, sform_code: NIfTI's codes for the space each transform leads to; 0 where it is not stored.
        sform: 4x4 matrix from ``(i, j, k, 1)`` to RAS millimeters; meaningless where ``sform_code`` is 0.
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
    # Takes a third of a second, which reading other formats need not wait for.
    from nibabel.nifti1 import Nifti1Header

    not_nifti = InputError("{path} is not a NIfTI file, or its header is damaged; export it again.", path=path)
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            raw = file.read(Nifti1Header.sizeof_hdr)
            if len(raw) < Nifti1Header.sizeof_hdr:
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
    # As it is stored, in either byte order: nibabel's own checks mend what is refused here.
    headers = (Nifti1Header(raw, order, check=False) for order in "<>")
    header = next((header for header in headers if header["sizeof_hdr"] == Nifti1Header.sizeof_hdr), None)
    if header is None or not header["magic"].item().startswith(Nifti1Header.single_magic):
        raise not_nifti
    dimensions, offset, bits = int(header["dim"][0]), float(header["vox_offset"]), int(header["bitpix"])
    if not 1 <= dimensions <= 7 or not np.isfinite(offset) or bits <= 0:
        raise not_nifti
    shape = tuple(int(n) for n in header["dim"][1 : 1 + dimensions])
    if min(shape) < 1:
        raise InputError(
            "{path} is empty: its size is {size} voxels; export it again.", path=path, size=" x ".join(map(str, shape))
        )
    needed = int(offset) + int(np.prod(shape, dtype=object)) * bits // 8
    if length < needed:
        raise InputError(
            "{path} is truncated: {length} of {needed} bytes are there; copy or export it again.",
            path=path,
            length=length,
            needed=needed,
        )
    sform: Matrix = header.get_sform()
    sform_code = int(header["sform_code"])
    # ITK never comes back from an infinite one.
    if sform_code and not (np.abs(sform).max() < _FARTHEST_MM and abs(np.linalg.det(sform)) > 1e-12):
        raise InputError(
            "{path} has a broken orientation (its sform has no volume or no end); repair its header.", path=path
        )
    return NiftiHeader(shape, int(header["qform_code"]), sform_code, sform)
