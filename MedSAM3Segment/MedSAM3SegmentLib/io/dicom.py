"""DICOM files to one volume: which of them belong together, in what order they lie, and whether the stack is even.

Slices are placed by their Image Position (Patient), never by file name or instance number, so that a tilted gantry, a
missing slice or a second echo is seen instead of silently misplaced.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, joined, message

from .itk import (
    LPS_TO_RAS,
    StoredImage,
    quiet_itk,
    read_image,
)

_SOP_INSTANCE = "0008|0018"
_IMAGE_TYPE = "0008|0008"
_MODALITY = "0008|0060"
_DESCRIPTION = "0008|103e"
_SERIES = "0020|000e"
_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"

#: Largest departure of a slice from even spacing, as a fraction of the spacing, that counts as rounding.
_EVEN = 0.02

#: A gap of more than this many slice distances is not a missing slice but another stack.
_LARGEST_GAP = 5

#: Largest departure of a slice's corner from the stack's axis in millimeters that counts as rounding.
_STRAIGHT_MM = 0.1

#: A series with this many times the slices of any other in the same folder is the one that is meant.
_MEANT_RATIO = 10


@dataclass(frozen=True)
class _Slice:
    """One file of a series.

    Attributes:
        size: (columns, rows, frames).
        position: LPS millimeters of the first voxel, or None where the file does not say.
        orientation: LPS directions of a row and of a column, six cosines, or None.
    """

    path: Path
    instance: str
    series: str
    description: str
    modality: str
    is_localizer: bool
    size: tuple[int, int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


def is_dicom(path: Path) -> bool:
    """Whether ``path`` is a DICOM file by its preamble, or by its name where the preamble is left out."""
    if path.suffix.lower() in (".dcm", ".ima"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom(path: Path) -> StoredImage:
    """Read the one image series in a folder (and the folders in it), or one DICOM file.

    The tag ``0008|0060`` of what comes back is the modality. The grid is sheared where the gantry was tilted.

    Raises:
        InputError: there is no image, it is not clear which of several series is meant, or the slices do not make up
            one volume.
    """
    if path.is_dir():
        files = sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        files = [file for file in files if is_dicom(file)]
        if not files:
            raise InputError(
                "{path} holds no DICOM file; give a folder with a DICOM series, or the image file itself.", path=path
            )
    else:
        files = [path]
    slices, messages = _choose([found for file in files if (found := _describe(file))], path)
    return _stack(slices, path, messages)


def _describe(path: Path) -> _Slice | None:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:  # no image in it: a report, a structure set, a directory file, or damage
        return None

    def tag(key: str) -> str:
        return str(reader.GetMetaData(key)).strip(" \0") if reader.HasMetaDataKey(key) else ""

    def numbers(key: str, count: int) -> tuple[float, ...] | None:
        try:
            values = tuple(float(part) for part in tag(key).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count else None

    return _Slice(
        path=path,
        instance=tag(_SOP_INSTANCE) or str(path),
        series=tag(_SERIES),
        description=tag(_DESCRIPTION),
        modality=tag(_MODALITY).upper(),
        is_localizer="LOCALIZER" in tag(_IMAGE_TYPE).upper(),
        size=(*reader.GetSize(), 1)[:3],
        position=numbers(_POSITION, 3),
        orientation=numbers(_ORIENTATION, 6),
    )


def _choose(found: list[_Slice], path: Path) -> tuple[list[_Slice], tuple[Message, ...]]:
    """The slices of the one series that is meant, and what to tell about the others."""
    images = [item for item in found if item.modality != "SEG"]
    if not images:
        if found:
            raise InputError(
                "{path} is a DICOM segmentation, not an image; give the series it was made from.", path=path
            )
        raise InputError(
            "{path} holds no DICOM image that can be read; check that it is complete and not a report or a plan.",
            path=path,
        )
    series: dict[Any, dict[str, _Slice]] = defaultdict(dict)
    for item in images:
        orientation = item.orientation and tuple(round(cosine, 3) + 0.0 for cosine in item.orientation)
        # The same image stored twice counts once.
        series[item.series, orientation, item.size[:2]].setdefault(item.instance, item)
    by_size = sorted((list(group.values()) for group in series.values()), key=len, reverse=True)
    candidates = [group for group in by_size if not group[0].is_localizer] or by_size
    if len(candidates) > 1 and len(candidates[0]) < _MEANT_RATIO * len(candidates[1]):
        names = joined((_call(group) for group in candidates), "; ")
        raise InputError(
            "{path} holds {count} image series ({names}); give a folder with only one of them.",
            path=path,
            count=len(candidates),
            names=names,
        )
    meant = candidates[0]
    if len(by_size) == 1:
        return meant, ()
    # Messages travel with results, so they say nothing that somebody typed at the scanner.
    others = joined((_kind(group) for group in by_size if group is not meant), "; ")
    return meant, (message("The folder also holds what was left out: {others}.", others=others),)


def _call(group: list[_Slice]) -> Message:
    first = group[0]
    name = " ".join(filter(None, (first.modality, f"'{first.description}'")))
    return message("{name} with {files}", name=name, files=_files(group))


def _kind(group: list[_Slice]) -> Message:
    modality = group[0].modality
    return joined([modality, _files(group)], ", ") if modality else message("images, {files}", files=_files(group))


def _files(group: list[_Slice]) -> Message:
    return message("1 file") if len(group) == 1 else message("{count} files", count=len(group))


def _stack(slices: list[_Slice], path: Path, messages: tuple[Message, ...]) -> StoredImage:
    if len(slices) == 1:
        image = read_image(slices[0].path, "GDCMImageIO")
        return StoredImage(image.array, image.grid, image.tags, messages)
    if any(item.size[2] > 1 for item in slices):
        raise InputError(
            "{path} holds {count} multi-frame DICOM files; give one of them.", path=path, count=len(slices)
        )
    if any(item.position is None or item.orientation is None for item in slices):
        raise InputError("{path} holds DICOM images that do not say where they lie; give one of its files.", path=path)

    normal = np.cross(slices[0].orientation[:3], slices[0].orientation[3:])  # type: ignore[index]
    slices = sorted(slices, key=lambda item: float(normal @ np.asarray(item.position)))
    positions = np.array([item.position for item in slices])
    heights = positions @ normal
    steps = np.diff(heights)
    if steps.min() < 1e-3:
        raise InputError(
            "{path} holds several images at the same position (time points, echoes or reconstructions of one "
            "series); give a folder with only one of each.",
            path=path,
        )
    if steps.max() > _LARGEST_GAP * np.median(steps):
        raise InputError(
            "{path} holds slices with a gap of {gap:.1f} mm between them; give the slices of one stack only.",
            path=path,
            gap=steps.max(),
        )
    axis = (positions[-1] - positions[0]) / (heights[-1] - heights[0])
    off_axis = np.abs(positions - positions[0] - np.outer(heights - heights[0], axis)).max()
    if off_axis > _STRAIGHT_MM:
        raise InputError(
            "{path} holds slices that do not lie on one line (up to {distance:.1f} mm beside it); give the "
            "slices of one stack only.",
            path=path,
            distance=off_axis,
        )

    images = [read_image(item.path, "GDCMImageIO") for item in slices]
    array = np.concatenate([image.array for image in images])
    indices = (heights - heights[0]) / float(np.median(steps))
    if np.abs(indices - np.linspace(0, indices[-1], len(indices))).max() > _EVEN:
        array = _even(array, indices)
        messages += (
            message(
                "The slices are {least:.2f} to {most:.2f} mm apart, so one may be missing; the gaps were filled by "
                "interpolation.",
                least=steps.min(),
                most=steps.max(),
            ),
        )
    matrix = images[0].grid.ijk_to_ras.copy()
    step = (heights[-1] - heights[0]) / max(len(array) - 1, 1)
    matrix[:3, 2] = LPS_TO_RAS[:3, :3] @ (axis * step)
    matrix[:3, 3] = LPS_TO_RAS[:3, :3] @ positions[0]
    grid = VoxelGrid(array.shape[:3], matrix)  # type: ignore[arg-type]
    return StoredImage(array, grid, images[0].tags, messages)


def _even(array: NDArray[Any], indices: NDArray[np.float64]) -> NDArray[Any]:
    """Slices at even distances, linear between the ones at the rising ``indices`` (in units of the usual distance)."""
    count = round(float(indices[-1])) + 1
    wanted = np.linspace(0, indices[-1], count)
    after = np.clip(np.searchsorted(indices, wanted), 1, len(indices) - 1)
    weight = (wanted - indices[after - 1]) / (indices[after] - indices[after - 1])
    even = np.empty((count, *array.shape[1:]), array.dtype)
    for n in range(count):
        value = array[after[n] - 1] * (1 - weight[n]) + array[after[n]] * weight[n]
        even[n] = value if array.dtype.kind == "f" else np.rint(value)
    return even
