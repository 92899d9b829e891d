"""Label maps and masks of any tool: what is in them by name and number, pictures included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.formats.pictures import NUMBERED_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES, read_label_picture
from MedSAM3SegmentLib.io.read_volume import read_stored
from MedSAM3SegmentLib.io.segment import IsWanted, Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

#: Compressed with loss, so that the rim of a mask has values between.
LOSSY_SUFFIXES = (".jpg", ".jpeg")

#: Pixels above half of the range belong to a mask that was compressed with loss or stored in gray.
HALF = 127

#: Cropped parts of one image lie so near that what holds both is not more than this many times as large.
_LARGEST_UNION = 1000

#: What label maps end in, longest first.
_SUFFIXES = (
    ".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", *PICTURE_SUFFIXES, *TIFF_SUFFIXES,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelFile:
    """What a file labels.

    Attributes:
        segments: with name, number and mask; numbers without a name are called ``Label N``.
        grid: of the masks.
        is_picture: whether the pixels have no size.
    """

    path: Path
    segments: Sequence[Segment]
    grid: VoxelGrid
    is_picture: bool


def stem_of(path: Path) -> str:
    """The file's name without the suffix of a label map; empty where it is none."""
    name = path.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return ""


def is_picture_file(path: Path) -> bool:
    return path.suffix.lower() in (*PICTURE_SUFFIXES, *TIFF_SUFFIXES)


def find_label_files(folder: Path) -> dict[str, Path]:
    """The label maps in a folder and below, by path without suffix, in alphabetical order.

    Raises:
        InputError: there is no such folder, none in it, or two of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder with the masks or label maps.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not stem_of(path) or not path.is_file() or any(part.startswith((".", "__MACOSX")) for part in inside.parts):
            continue
        name = (inside.parent / stem_of(path)).as_posix()
        if name in found:
            raise InputError(f"{found[name]} and {path} are of the same case; remove one of them.")
        found[name] = path
    if not found:
        raise InputError(f"{folder} holds no mask or label map ({', '.join(_SUFFIXES)}); check the path.")
    return found


def read_gray(path: Path) -> tuple[NDArray[Any], VoxelGrid]:
    """A picture as gray values ``[1, row, column]``; of colors the mean, of what is transparent black.

    Raises:
        InputError: it cannot be read.
    """
    stored = read_stored(path)
    array = stored.array
    if array.ndim == 4:
        # Where all channels agree, as in masks that were saved in color, the value stays whole.
        array = array[..., 0] if (array == array[..., :1]).all() else array.mean(axis=3)
    return array, stored.grid


def read_labels(path: Path, is_wanted: IsWanted = lambda _name, _label: True) -> LabelFile:
    """Read a ``.seg.nrrd``, a label map or a picture.

    Of pictures that were compressed with loss all above half is the label 255, and nothing else.

    Raises:
        InputError: it cannot be read, or its values are no labels.
    """
    if not is_picture_file(path):
        segments, grid = read_segmentation(path, is_wanted)
        return LabelFile(path, segments, grid, False)
    values, grid = read_gray(path)
    if values.dtype.kind == "f" and path.suffix.lower() in NUMBERED_SUFFIXES:
        stored = read_label_picture(path)
        values = stored.array if stored.array.ndim == 3 else values
    if path.suffix.lower() in LOSSY_SUFFIXES:
        values = np.where(values > HALF, 255, 0)
    elif values.dtype.kind == "f":
        raise InputError(f"{path} is in color and no mask; give masks or label maps in gray.")
    numbers = [int(number) for number in np.unique(values) if number]
    segments = [
        Segment(f"Label {number}", values == number, (1.0, 1.0, 1.0), label=number)
        for number in numbers
        if is_wanted(f"Label {number}", number)
    ]
    return LabelFile(path, segments, grid, True)


def read_object_map(path: Path) -> tuple[NDArray[Any], VoxelGrid, bool]:
    """A file in which each object has a number of its own: ``[k, j, i]``, its grid, and whether it is a picture.

    Raises:
        InputError: it cannot be read, or was compressed with loss, after which numbers mean nothing.
    """
    if path.suffix.lower() in LOSSY_SUFFIXES:
        raise InputError(f"{path} is a JPEG, in which numbers of objects do not survive; give PNG, TIFF or NIfTI.")
    if is_picture_file(path):
        values, grid = read_gray(path)
    else:
        stored = read_stored(path)
        values, grid = stored.array, stored.grid
    if values.ndim != 3 or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
        raise InputError(f"{path} does not hold one whole number for each voxel; give a map of numbered objects.")
    return values.astype(np.int64), grid, is_picture_file(path)


def find_segments(file: LabelFile, concept: str, values: Sequence[int | str]) -> list[Segment]:
    """The segments of a concept: those with its values (numbers or names), or without values those of its name."""
    if not values:
        return [one for one in file.segments if prompt_for(one.name) == prompt_for(concept)]
    names = {value.casefold() for value in values if isinstance(value, str)}
    numbers = {value for value in values if isinstance(value, int)}
    return [one for one in file.segments if one.name.strip().casefold() in names or one.label in numbers]


def join_masks(segments: Sequence[Segment], shape: tuple[int, ...]) -> BoolMask:
    """Voxels of any of the segments."""
    joined = np.zeros(shape, bool)
    for segment in segments:
        joined |= segment.mask
    return joined


def place_mask(mask: BoolMask, own: VoxelGrid, grid: VoxelGrid, path: Path, reference: Path) -> BoolMask:
    """A mask on the voxels of its reference, exactly; its axes may have another order.

    Raises:
        InputError: voxels do not coincide, or a part lies outside.
    """
    placed = placed_on(grid, mask, own)
    is_part = is_cropped(path) or is_cropped(reference)
    if placed is None or (sorted(own.shape) != sorted(grid.shape) and not is_part):
        raise InputError(
            f"{path} has {size(own)} voxels that are not those of {reference} ({size(grid)}); resample it onto "
            "them, nearest neighbor."
        )
    if np.count_nonzero(placed) < np.count_nonzero(mask):
        raise InputError(f"A part of {path} lies outside of {reference}; resample it onto its voxels.")
    return placed


def union_grid(grid: VoxelGrid, other: VoxelGrid) -> VoxelGrid:
    """The smallest grid on the lattice of ``grid`` that holds both; only where they share it is it of use."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in other.shape[::-1]])).reshape(3, -1).T.astype(np.float64)
    corners = np.rint(grid.to_ijk(other.to_ras(ends)))
    low = np.minimum(corners.min(axis=0), 0)
    high = np.maximum(corners.max(axis=0), np.array(grid.shape[::-1]) - 1)
    moved = np.eye(4)
    moved[:3, 3] = low
    shape = tuple(int(n) for n in (high - low + 1)[::-1])
    if np.prod(shape, dtype=float) > _LARGEST_UNION * (np.prod(grid.shape) + np.prod(other.shape)):
        return grid  # far apart: whoever places them refuses
    return VoxelGrid(shape, grid.ijk_to_ras @ moved)  # type: ignore[arg-type]


def size(grid: VoxelGrid) -> str:
    """Its size in voxels, i first, and where they lie."""
    count = " x ".join(map(str, grid.shape[::-1]))
    return f"{count} of {' x '.join(f'{one:.4g}' for one in grid.spacing)} mm"


def values_by_concept(given: Sequence[str]) -> Mapping[str, tuple[int | str, ...]]:
    """The values of ``--label NAME=VALUE[,VALUE...]``.

    Raises:
        InputError: one is something else, or a name comes twice.
    """
    values: dict[str, tuple[int | str, ...]] = {}
    for text in given:
        name, equals, listed_values = text.partition("=")
        parts = [part.strip() for part in listed_values.split(",")]
        if not equals or not name.strip() or not all(parts):
            raise InputError(f"'{text}' is not NAME=VALUE or NAME=VALUE,VALUE, such as kidney=2,3.")
        if name.strip() in values:
            raise InputError(f"'{name.strip()}' is given twice in --label; join its values with commas.")
        if "0" in parts:
            raise InputError(
                f"'{text}' names the label 0, which is the background; give the values of what is labelled."
            )
        values[name.strip()] = tuple(int(part) if part.isdecimal() else part for part in parts)
    return values


def is_cropped(path: Path) -> bool:
    """Whether a smaller file may be a part of the whole: Slicer crops what it saves."""
    return path.suffix.lower() == ".nrrd"
