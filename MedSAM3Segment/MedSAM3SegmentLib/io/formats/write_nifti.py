"""Scalar arrays to NIfTI files, by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .gzip_labels import write_gzipped_labels

#: NIfTI-1 counts voxels in 16 bits.
_LONGEST_AXIS = 32767

_SCANNER = 1


def write_nifti(file: Path, array: NDArray[Any], grid: VoxelGrid) -> None:
    """Write voxels and their places, compressed where the name ends in ``.gz``.

    Args:
        file: is written as it comes; see ``atomic_write`` for whole or not at all.
        array: scalars ``[k, j, i]``.
        grid: where they lie, kept to the float32 precision of NIfTI in both of its forms; NIfTI-2 where an axis is
            longer than NIfTI-1 can say.

    Raises:
        OSError: the disk failed.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    header = (Nifti2Header if max(grid.shape) > _LONGEST_AXIS else Nifti1Header)(endianness="<")
    header.set_data_dtype(array.dtype.newbyteorder("<"))
    header.set_data_shape(grid.shape[::-1])
    header.set_qform(grid.ijk_to_ras, _SCANNER)
    header.set_sform(grid.ijk_to_ras, _SCANNER)
    header.set_xyzt_units("mm")
    # No extension follows.
    start = header.binaryblock + b"\0" * 4
    header["vox_offset"] = len(start)
    header["magic"] = header.single_magic
    start = header.binaryblock + b"\0" * 4
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data
    with file.open("wb") as opened:
        if not file.name.lower().endswith(".gz"):
            opened.write(start)
            opened.write(voxels)
            return
        write_gzipped_labels(opened, start, voxels)
