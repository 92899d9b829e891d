"""NIfTI-1, NIfTI-2 and Analyze files to voxels and their grid.

nibabel takes headers apart; what is believed of them is decided here, and voxels are read from exactly the file that
was named. Where a header leaves a choice it is taken as ITK takes it, because 3D Slicer shows the image so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.io.itk import StoredImage, lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

from .nifti_grid import nifti_grid
from .voxel_data import VoxelData, allocate, read_head, read_voxels

#: Bytes that hold any of the headers.
_HEAD_BYTES = 540

_ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")

#: Intent codes whose fifth dimension is the components of a voxel: symmetric matrix, displacement, vector, RGB, RGBA.
_VECTOR_INTENTS = (1005, 1006, 1007, 2003, 2004)

#: Data type codes of NIfTI that are taken, with their types; 128 and 2304 are color.
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLORS = {128: 3, 2304: 4}
_COMPLEX = (32, 1792, 2048)

#: Values that are scaled at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class _Files:
    """Where header and voxels are.

    Attributes:
        header: nibabel's header, as stored.
        voxels: the file with the voxels.
        is_single: whether they follow the header in the same file.
        is_compressed: whether ``voxels`` is gzip.
    """

    header: Any
    voxels: Path
    is_single: bool
    is_compressed: bool

    @property
    def is_analyze(self) -> bool:
        return not hasattr(self.header, "get_qform")


def is_nifti(path: Path) -> bool:
    """Whether ``path`` is a NIfTI file by its name or, whatever it is called, by its content."""
    if path.name.lower().endswith(_ENDINGS):
        return True
    try:
        head, _ = read_head(path, _HEAD_BYTES)
    except InputError:
        return False
    return _magic(head) in (b"n+1\0", b"n+2\0")


def read_nifti(path: Path) -> StoredImage:
    """Read a NIfTI image or an Analyze pair, from header or voxels.

    Returns:
        The voxels ``[k, j, i]`` or ``[k, j, i, component]`` with the values and types that ITK gives them: as stored,
        or float32 (float64 from float64) where the header scales them; and where they lie, in millimeters.

    Raises:
        InputError: it is not NIfTI, truncated or damaged, holds no voxels, several volumes or complex numbers, or its
            orientation has no volume or no end.
    """
    files = _find_files(path)
    header = files.header
    shape = _shape(header, path)
    code = int(header["datatype"])
    if code in _COMPLEX:
        raise InputError("{path} holds complex numbers; give its magnitude instead.", path=path)
    if code not in _DTYPES and code not in _COLORS:
        raise InputError(
            "{path} has voxels of the kind {code}, which is not supported; convert them to float.", path=path, code=code
        )
    spatial, components = _components(header, shape, path)
    offset = _offset(files, path)
    grid, messages = nifti_grid(header, spatial, path) if not files.is_analyze else _analyze_grid(header, spatial, path)
    dtype = np.dtype(_DTYPES.get(code, "u1")).newbyteorder(header.endianness)
    colors = _COLORS.get(code, 1)
    encoding = "gzip" if files.is_compressed else "raw"
    data = VoxelData(path, [files.voxels], encoding, skip_bytes=offset)
    values = read_voxels(data, int(np.prod(shape, dtype=object)) * colors, dtype)
    if colors == 1:
        values, said = _scaled(values, header, path)
        messages += said
    if colors > 1 and components == 1:
        return StoredImage(values.reshape(*spatial[::-1], colors), grid, messages=messages)
    array = values.reshape(components, *spatial[::-1])
    return StoredImage(array[0] if components == 1 else np.moveaxis(array, 0, -1), grid, messages=messages)


def _magic(head: bytes) -> bytes:
    return head[4:8] if head[4:6] == b"n+" or head[4:6] == b"ni" else head[344:348]


def _find_files(path: Path) -> _Files:
    head, compressed = read_head(path, _HEAD_BYTES)
    header = _header(head)
    if header is not None and _magic(head).startswith(b"n+"):
        return _Files(header, path, True, compressed)
    other = _other_half(path)
    if path.name.lower().endswith((".img", ".img.gz")):
        if other is None:
            raise InputError(
                "{path} is half of an image of two files and its header ({name}) is not there; put both into one "
                "folder.",
                path=path,
                name=_half_name(path),
            )
        header = _header(read_head(other, _HEAD_BYTES)[0])
        if header is None:
            raise _not_nifti(other)
        return _Files(header, path, False, compressed)
    # Without any magic it is Analyze, which only a pair can be.
    if header is None or (not _magic(head).startswith(b"ni") and not path.name.lower().endswith((".hdr", ".hdr.gz"))):
        raise _not_nifti(path)
    if other is None:
        raise InputError(
            "{path} is half of an image of two files and its voxels ({name}) are not there; put both into one folder.",
            path=path,
            name=_half_name(path),
        )
    return _Files(header, other, False, read_head(other, 2)[1])


def _half_name(path: Path) -> str:
    """What the other file of a pair is called."""
    name = path.name
    for mine, other in ((".hdr", ".img"), (".img", ".hdr")):
        for ending in ("", ".gz"):
            if name.lower().endswith(mine + ending):
                base = name[: len(name) - len(mine + ending)]
                written = name[len(base) : len(base) + 4]
                return base + (other.upper() if written.isupper() else other) + name[len(base) + 4 :]
    return path.with_suffix(".img").name


def _other_half(path: Path) -> Path | None:
    """The other file of a pair: compressed as this one is, or else the other way."""
    same = path.with_name(_half_name(path))
    swapped = same.with_suffix("") if same.suffix.lower() == ".gz" else same.with_name(same.name + ".gz")
    return next((file for file in (same, swapped) if file.exists()), None)


def _header(head: bytes) -> Any | None:
    """nibabel's header of the kind and the byte order that the bytes say, unmended; None where they are none."""
    # Takes a third of a second, which reading other formats need not wait for.
    from nibabel.analyze import AnalyzeHeader
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    magic = _magic(head)
    kind = Nifti2Header if magic[2:3] == b"2" else Nifti1Header if magic[:2] in (b"n+", b"ni") else AnalyzeHeader
    size = kind.sizeof_hdr
    if len(head) < size:
        return None
    for order in "<>":
        header = kind(head[:size], order, check=False)
        if int(header["sizeof_hdr"]) == size:
            return header
    return None


def _not_nifti(path: Path) -> InputError:
    return InputError("{path} is not a NIfTI file, or its header is damaged; export it again.", path=path)


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """Voxel counts along i, j, k, time, ..."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise _not_nifti(path)
    shape = tuple(int(n) for n in header["dim"][1 : 1 + dimensions])
    if min(shape) < 1:
        raise InputError(
            "{path} is empty: its size is {size} voxels; export it again.", path=path, size=" x ".join(map(str, shape))
        )
    return shape


def _components(header: Any, shape: tuple[int, ...], path: Path) -> tuple[tuple[int, int, int], int]:
    """The size along i, j, k and the number of values per voxel.

    Raises:
        InputError: there are several volumes.
    """
    i, j, k, *more = *shape, *(1,) * (3 - len(shape))
    is_vector = (
        len(more) == 2 and more[0] == 1 and "intent_code" in header and (int(header["intent_code"]) in _VECTOR_INTENTS)
    )
    if is_vector:
        return (i, j, k), more[1]
    if (count := int(np.prod(more, dtype=object))) > 1:
        raise InputError(
            "{path} holds {count} volumes (time points or channels); extract one and give that.",
            path=path,
            count=count,
        )
    return (i, j, k), 1


def _offset(files: _Files, path: Path) -> int:
    offset = float(files.header["vox_offset"])
    if not np.isfinite(offset) or not 0 <= offset < 2**62:
        raise _not_nifti(path)
    # Old software leaves it out; the voxels cannot lie in the header.
    return max(int(offset), files.header.sizeof_hdr + 4) if files.is_single else int(offset)


def _analyze_grid(header: Any, shape: tuple[int, int, int], path: Path) -> tuple[VoxelGrid, tuple[Message, ...]]:
    lps: Matrix = np.diag([*np.abs(np.asarray(header["pixdim"][1:4], float)), 1.0])
    said = message("An Analyze header does not say how the patient lies, so left and right are a guess.")
    return lps_grid(shape[::-1], lps, path), (said,)


def _scaled(values: NDArray[Any], header: Any, path: Path) -> tuple[NDArray[Any], tuple[Message, ...]]:
    """The values that the header's slope and intercept make, rounded as ITK rounds them."""
    if "scl_slope" not in header:  # Analyze
        return values, ()
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    is_odd = not np.isfinite(intercept) or not np.isfinite(slope) or (slope == 0 and intercept != 0)
    messages: tuple[Message, ...] = ()
    if is_odd and not (np.isnan(slope) and (np.isnan(intercept) or intercept == 0)):
        messages = (
            message(
                "The header scales the voxels by {slope} and adds {intercept}, which is no scaling; what is not a "
                "number, and an addition without a scale, was left out.",
                slope=str(slope),
                intercept=str(intercept),
            ),
        )
    if not np.isfinite(slope) or slope == 0:
        return values, messages
    if not np.isfinite(intercept):
        intercept = 0.0
    if slope == 1 and intercept == 0:
        return values, messages
    kind = np.float64 if values.dtype == np.float64 else np.float32
    same = values.dtype == kind
    scaled = values if same else allocate(values.size * np.dtype(kind).itemsize, path).view(kind)
    with np.errstate(all="ignore"):
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].astype(kind).astype(np.float64)
            scaled[start : start + _BLOCK] = block * slope + intercept
    return scaled, messages
