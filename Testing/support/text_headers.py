"""NRRD and MetaImage files of every kind that their formats allow, written line by line; and what ITK makes of them."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.itk import grid_of, quiet_itk

Array = np.ndarray[Any, Any]

NRRD_TYPES = {
    "u1": "uchar",
    "i1": "int8",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "uint32",
    "i8": "long long",
    "u8": "uint64_t",
    "f4": "float",
    "f8": "double",
}
META_TYPES = {
    "u1": "MET_UCHAR",
    "i1": "MET_CHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "i8": "MET_LONG_LONG",
    "u8": "MET_ULONG_LONG",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}


def encoded(array: Array, encoding: str) -> bytes:
    """The voxels of ``array`` as NRRD or MetaImage stores them."""
    plain = np.ascontiguousarray(array).tobytes()
    if encoding in ("text", "ascii", "txt"):
        return " ".join(repr(value) for value in array.ravel().tolist()).encode() + b"\n"
    if encoding == "hex":
        return plain.hex().encode()
    if encoding in ("gzip", "gz"):
        return gzip.compress(plain)
    if encoding == "zlib":
        return zlib.compress(plain)
    return bz2.compress(plain) if encoding == "bzip2" else plain


def nrrd_text(array: Array, encoding: str, *lines: str) -> bytes:
    """A header for ``array``, its axes the slowest first, and with ``lines`` more."""
    kind = array.dtype
    header = [
        "NRRD0005",
        "# a comment: with a colon",
        f"type: {NRRD_TYPES[kind.str[1:]]}",
        f"dimension: {array.ndim}",
        f"sizes: {' '.join(str(n) for n in array.shape[::-1])}",
        f"encoding: {encoding}",
        f"endian: {'big' if kind.str[0] == '>' else 'little'}",
        *lines,
    ]
    return "\n".join(header).encode() + b"\n"


def meta_text(array: Array, *lines: str, components: int = 1) -> bytes:
    """A header for ``array`` ``[k, j, i]`` or ``[k, j, i, component]``, with ``lines`` more before its last one."""
    sizes = array.shape[::-1] if components == 1 else array.shape[-2::-1]
    header = [
        "ObjectType = Image",
        f"NDims = {len(sizes)}",
        f"DimSize = {' '.join(map(str, sizes))}",
        f"ElementType = {META_TYPES[array.dtype.str[1:]]}",
        f"ElementByteOrderMSB = {array.dtype.str[0] == '>'}",
        *([f"ElementNumberOfChannels = {components}"] if components > 1 else []),
        *lines,
    ]
    return "\n".join(header).encode() + b"\n"


def itk_reads(path: Path) -> tuple[Array, VoxelGrid]:
    """What SimpleITK reads; only for files that do it no harm."""
    with quiet_itk():
        image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    grid = grid_of(image, path)
    return array.reshape(*grid.shape, *array.shape[image.GetDimension() :]), grid
