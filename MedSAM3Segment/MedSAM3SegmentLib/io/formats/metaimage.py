"""MetaImage files (``.mha``, and ``.mhd`` with its data files) to voxels and their grid.

Voxels, types and places are those that ITK gives; the header is read here, because ITK's own reader believes what it
says, names of data files as format strings of C among it. The format is described at
https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.io.itk import StoredImage, lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

from .data_files import find_data_files, numbered_names
from .header_text import (
    broken_header,
    check_one_volume,
    check_sizes,
    next_line,
    numbers,
    unit_messages,
    whole_numbers,
)
from .voxel_data import VoxelData, open_file, read_voxels

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

#: Other names of fields, the last word counts.
_ALIASES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "BinaryDataByteOrderMSB": "ElementByteOrderMSB",
}

_MOST_AXES = 10


@dataclass(frozen=True)
class _Header:
    """A header as it is written.

    Attributes:
        fields: values by their usual names.
        names: the lines after ``ElementDataFile = LIST``.
        length: bytes of the file before what follows the header.
    """

    fields: Mapping[str, str]
    names: Sequence[str]
    length: int


def is_metaimage(path: Path) -> bool:
    """Whether the file's name is that of a MetaImage."""
    return path.suffix.lower() in (".mha", ".mhd")


def read_metaimage(path: Path) -> StoredImage:
    """Read a MetaImage.

    Returns:
        The voxels ``[k, j, i]`` or ``[k, j, i, component]`` as stored, and where they lie.

    Raises:
        InputError: the header is damaged or of a kind that is not supported, a data file is missing, the voxels are
            truncated or damaged, or there are several volumes.
    """
    header = _read_header(path)
    fields = header.fields
    if fields.get("ObjectType", "Image") != "Image":
        raise InputError("{path} is a MetaIO file but no image; give an image.", path=path)
    (dimension,) = whole_numbers(fields.get("NDims"), 1, path)
    if not 1 <= dimension <= _MOST_AXES:
        raise broken_header(path)
    sizes = whole_numbers(fields.get("DimSize"), dimension, path)
    check_sizes(sizes, path)
    check_one_volume(sizes[3:], path)
    (components,) = whole_numbers(fields.get("ElementNumberOfChannels", "1"), 1, path)
    if components < 1:
        raise broken_header(path)
    grid, said = _grid(fields, sizes, path)
    kind = fields.get("ElementType", "").removesuffix("_ARRAY")
    if kind not in _DTYPES:
        raise InputError("{path} has voxels of a kind that is not supported; convert them to float.", path=path)
    dtype = np.dtype(_DTYPES[kind]).newbyteorder(">" if _is_true(fields, "ElementByteOrderMSB") else "<")
    count = int(np.prod(sizes, dtype=object)) * components
    values = read_voxels(_voxel_data(header, path), count, dtype)
    array = values.reshape(grid.shape if components == 1 else (*grid.shape, components))
    return StoredImage(array, grid, {}, said)


def _read_header(path: Path) -> _Header:
    fields: dict[str, str] = {}
    with open_file(path, path) as file:
        while (line := next_line(file, path)) is not None:
            key, separator, value = (part.strip() for part in line.partition("="))
            if not separator:
                if line.strip():
                    raise broken_header(path)
                continue
            fields[_ALIASES.get(key, key)] = value
            if key == "ElementDataFile":
                break
        else:
            raise broken_header(path)
        names: list[str] = []
        length = file.tell()
        if value.split()[:1] == ["LIST"]:
            while (line := next_line(file, path)) is not None:
                names += [line.strip()] if line.strip() else []
        return _Header(fields, names, length)


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "").strip()[:1] in ("T", "t", "1")


def _grid(fields: Mapping[str, str], sizes: Sequence[int], path: Path) -> tuple[VoxelGrid, tuple[Message, ...]]:
    dimension = len(sizes)
    spatial = min(dimension, 3)
    spacing = np.ones(dimension)
    for name in ("ElementSize", "ElementSpacing"):
        if name in fields:
            spacing = np.array(numbers(fields[name], dimension, path))
    lps: Matrix = np.eye(4)
    if "Offset" in fields:
        lps[:spatial, 3] = numbers(fields["Offset"], dimension, path)[:spatial]
    said = unit_messages([fields.get("DistanceUnits", "")])
    if "TransformMatrix" in fields:
        # Axis after axis, each a row of the text.
        directions = np.array(numbers(fields["TransformMatrix"], dimension**2, path)).reshape(dimension, dimension).T
        lps[:spatial, :spatial] = directions[:spatial, :spatial]
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(lps[:3, :3], axis=0)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise broken_header(path)
        lps[:3, :3] /= lengths
    else:
        said += (message("The MetaImage header does not say how the patient lies, so left and right are a guess."),)
    lps[:spatial, :spatial] *= spacing[:spatial]
    shape = (*sizes[:3], 1, 1)[:3]
    return lps_grid(shape[::-1], lps, path), said


def _voxel_data(header: _Header, path: Path) -> VoxelData:
    fields = header.fields
    (skipped,) = whole_numbers(fields.get("HeaderSize", "0"), 1, path)
    if skipped < -1:
        raise broken_header(path)
    encoding = "gzip" if _is_true(fields, "CompressedData") else "raw"
    if "BinaryData" in fields and not _is_true(fields, "BinaryData"):
        encoding = "text"
    if skipped < 0 and encoding != "raw":
        raise broken_header(path)
    name = fields["ElementDataFile"]
    words = name.split()
    if name.upper() == "LOCAL":
        return VoxelData(path, [path], encoding, header.length)
    if words[:1] == ["LIST"]:
        names = list(header.names)
    elif "%" in name:
        names = numbered_names(path, words[0], words[1:4])
    else:
        names = [name]
    # The files' own headers are left out before anything is decompressed.
    files = find_data_files(path, names)
    return VoxelData(path, files, encoding, 0, 0, -1) if skipped < 0 else VoxelData(path, files, encoding, skipped)
