"""NRRD files to voxels and their grid: ``.nrrd``, ``.seg.nrrd``, and ``.nhdr`` with its data files.

Voxels, types and places are those that ITK gives; the header is read here, because ITK's own reader believes what it
says: sizes before it has looked at the file, and names of data files as format strings of C. The format is described at
https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.itk import StoredImage
from MedSAM3SegmentLib.messages.message import Message

from .data_files import find_data_files, numbered_names
from .header_text import (
    broken_header,
    check_one_volume,
    check_sizes,
    header_lines,
    next_line,
    unit_messages,
    whole_numbers,
)
from .nrrd_grid import nrrd_grid
from .voxel_data import VoxelData, open_file, read_voxels

_MAGIC = b"NRRD000"

_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names.split(", ")}

_ENCODINGS = {
    "raw": "raw",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}

#: Kinds of axes along which voxels lie; along any other lie the values of one voxel.
_DOMAINS = ("domain", "space", "time", "none", "???")

_MOST_AXES = 16


@dataclass(frozen=True)
class NrrdHeader:
    """A header as it is written.

    Attributes:
        fields: values by field, its name in lower case and without spaces.
        pairs: key/value pairs.
        names: the lines after ``data file: LIST``.
        length: bytes of the file before what follows the header.
    """

    fields: Mapping[str, str]
    pairs: Mapping[str, str] = field(default_factory=dict)
    names: Sequence[str] = ()
    length: int = 0


def is_nrrd(path: Path) -> bool:
    """Whether the file begins as NRRD does."""
    with open_file(path, path) as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_nrrd(path: Path) -> StoredImage:
    """Read a NRRD image.

    Returns:
        The voxels ``[k, j, i]`` or ``[k, j, i, component]`` as stored, where they lie, and its key/value pairs as tags.

    Raises:
        InputError: the header is damaged or of a kind that is not supported, a data file is missing, the voxels are
            truncated or damaged, or there are several volumes or complex numbers.
    """
    header = _read_header(path)
    fields = header.fields
    (dimension,) = whole_numbers(fields.get("dimension"), 1, path)
    if not 1 <= dimension <= _MOST_AXES:
        raise broken_header(path)
    sizes = whole_numbers(fields.get("sizes"), dimension, path)
    check_sizes(sizes, path)
    dtype = _dtype(fields, path)
    values, spatial = _split_axes(fields, sizes, path)
    grid, said = nrrd_grid(fields, dimension, sizes, spatial, path)
    data = _voxel_data(header, path)
    array = read_voxels(data, int(np.prod(sizes, dtype=object)), dtype).reshape(sizes[::-1])
    # NumPy's axes are the file's backwards.
    order = [dimension - 1 - axis for axis in range(dimension - 1, -1, -1) if axis not in values]
    array = array.transpose(*order, *(dimension - 1 - axis for axis in values))
    shape = grid.shape
    components = sizes[values[0]] if values else 1
    array = array.reshape(shape if components == 1 else (*shape, components))
    messages: tuple[Message, ...] = (*said, *unit_messages(re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))))
    return StoredImage(array, grid, header.pairs, messages)


def _read_header(path: Path) -> NrrdHeader:
    with open_file(path, path) as file:
        magic = next_line(file, path)
        if magic is None or not magic.startswith(_MAGIC.decode()):
            raise broken_header(path)
        fields: dict[str, str] = {}
        pairs: dict[str, str] = {}
        names: list[str] = []
        lines = header_lines(file, path)
        for number, line in enumerate(lines):
            if line.startswith("#"):
                continue
            key, separator, value = line.partition(":")
            if not separator:
                raise broken_header(path)
            if value.startswith("="):
                pairs[_unescaped(key)] = _unescaped(value[1:])
                continue
            name = key.replace(" ", "").lower()
            fields.setdefault(name, value.strip())
            if name == "datafile" and value.split()[:1] == ["LIST"]:
                names = [name for name in lines[number + 1 :] if name.strip()]
                break
        return NrrdHeader(fields, pairs, names, file.tell())


def _unescaped(text: str) -> str:
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", text)


def _dtype(fields: Mapping[str, str], path: Path) -> np.dtype[np.generic]:
    name = fields.get("type", "").lower()
    if name not in _DTYPES:
        raise _unsupported(path, "type", name)
    dtype = np.dtype(_DTYPES[name])
    endian = fields.get("endian", "").lower()
    if dtype.itemsize > 1 and _encoding(fields, path) != "text":
        if endian not in ("little", "big"):
            raise _unsupported(path, "endian", endian)
        return dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype


def _encoding(fields: Mapping[str, str], path: Path) -> str:
    name = fields.get("encoding", "").lower()
    if name not in _ENCODINGS:
        raise _unsupported(path, "encoding", name)
    return _ENCODINGS[name]


def _unsupported(path: Path, name: str, value: str) -> InputError:
    shown = "".join(letter for letter in value[:40] if letter.isprintable())
    return InputError(
        "{path} has a header whose field '{name}' is '{value}', which is not supported; export it again.",
        path=path,
        name=name,
        value=shown,
    )


def _split_axes(fields: Mapping[str, str], sizes: Sequence[int], path: Path) -> tuple[list[int], list[int]]:
    """The axis along which the values of a voxel lie, if there is one, and the axes of space, the fastest first.

    Raises:
        InputError: there are several volumes, or complex numbers.
    """
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()] or ["???"] * len(sizes)
    if len(kinds) != len(sizes):
        raise broken_header(path)
    if "complex" in kinds:
        raise InputError("{path} holds complex numbers; give its magnitude instead.", path=path)
    values = [axis for axis, kind in enumerate(kinds) if kind not in _DOMAINS]
    rest = [axis for axis in range(len(sizes)) if axis not in values]
    # Whatever has one entry only can be left out.
    if len(values) > 1:
        values = [axis for axis in values if sizes[axis] > 1]
    if len(values) > 1:
        check_one_volume([sizes[axis] for axis in values], path)
    directions = fields.get("spacedirections", "")
    if len(rest) > 3 and directions:
        placed = [axis for axis, part in enumerate(_vectors(directions)) if part != "none" and axis in rest]
        others = [axis for axis in rest if axis not in placed[:3]]
    else:
        others = rest[3:]
    check_one_volume([sizes[axis] for axis in others], path)
    return values, [axis for axis in rest if axis not in others]


def _vectors(text: str) -> list[str]:
    return re.findall(r"none|\([^()]*\)", text)


def _voxel_data(header: NrrdHeader, path: Path) -> VoxelData:
    fields = header.fields
    encoding = _encoding(fields, path)
    (lines,) = whole_numbers(fields.get("lineskip", "0"), 1, path)
    (skipped,) = whole_numbers(fields.get("byteskip", "0"), 1, path)
    if lines < 0 or skipped < -1 or (skipped < 0 and encoding != "raw"):
        raise broken_header(path)
    name = fields.get("datafile")
    if name is None:
        return VoxelData(path, [path], encoding, header.length, lines, skipped)
    words = name.split()
    if words[:1] == ["LIST"]:
        names = [line.strip() for line in header.names]
    elif "%" in name and len(words) >= 4:
        names = numbered_names(path, words[0], words[1:4])
    else:
        names = [name]
    return VoxelData(path, find_data_files(path, names), encoding, 0, lines, skipped)
