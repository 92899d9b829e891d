"""Frames to one volume: in the order of their places, even, with the gaps filled.

Slices are placed by their Image Position (Patient), never by file name, frame or instance number, so that a tilted
gantry, a missing slice or a second echo is seen instead of silently misplaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.itk import StoredImage, lps_grid
from MedSAM3SegmentLib.messages.message import Message, message

from .elements import text
from .frames import Frame, places_are_taken_from_first
from .kinds import film_kind, has_places
from .pixels import check_pixels, is_color, read_frames
from .rescale import is_inverted, value_type, write_values
from .spacing import pixel_spacing

#: Largest departure of a slice from even spacing, as a fraction of the spacing, that counts as rounding.
_EVEN = 0.02

#: A gap of more than this many slice distances is not a missing slice but another stack.
_LARGEST_GAP = 5

#: Largest departure of a slice's corner from the stack's axis that counts as rounding: in millimeters, and as a
#: fraction of a pixel, whichever is more.
_STRAIGHT_MM = 0.1
_STRAIGHT_PIXELS = 0.1

#: Largest departure of direction cosines from unit length and from a right angle that counts as rounding.
_COSINES = 0.01

#: No voxel is a kilometer from the scanner.
_FARTHEST_MM = 1e6

_Vectors = NDArray[np.float64]


def stack_frames(frames: list[Frame], path: Path) -> StoredImage:
    """The volume of frames that belong together; the grid is sheared where the gantry was tilted.

    Raises:
        InputError: they do not make up one volume, or a file is damaged.
    """
    if frames[0].refusal is not None:
        raise frames[0].refusal
    files = {frame.image.path for frame in frames}
    if frames[0].image.is_film or len(frames) == 1:
        if len(files) > 1:
            raise _several_files(path, files)
        return _without_places(frames, path)
    if any(frame.position is None or frame.orientation is None for frame in frames):
        if len(files) == 1 and all(frame.position is None or frame.orientation is None for frame in frames):
            return _without_places(frames, path)
        if len(files) == 1:
            raise InputError("{path} has frames that do not say where they lie; export it again.", path=path)
        if len(files) < len(frames):
            raise _several_files(path, files)
        kind = film_kind(frames[0].image.modality)
        if kind is not None:
            raise InputError(
                "{path} holds DICOM images that do not say where they lie ({kind}); give one of its files.",
                path=path,
                kind=kind,
            )
        raise InputError("{path} holds DICOM images that do not say where they lie; give one of its files.", path=path)
    return _with_places(frames, path)


def _several_files(path: Path, files: set[Path]) -> InputError:
    return InputError("{path} holds {count} multi-frame DICOM files; give one of them.", path=path, count=len(files))


def _with_places(frames: list[Frame], path: Path) -> StoredImage:
    across_row, down_column = _directions(frames, path)
    normal = np.cross(across_row, down_column)
    frames = sorted(frames, key=lambda frame: float(normal @ np.asarray(frame.position)))
    positions = np.array([frame.position for frame in frames])
    if np.abs(positions).max() > _FARTHEST_MM:
        raise InputError("{path} has voxels without size or place; repair the spacing in its header.", path=path)
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
    spacing, messages = pixel_spacing(frames, path)
    rounding = max(_STRAIGHT_MM, _STRAIGHT_PIXELS * min(spacing))
    # Straight along the normal where rounding allows it, so that no volume is resampled for the jitter of a header.
    axis = normal
    off_axis = _off_axis(positions, heights, axis)
    if off_axis > rounding:
        rise = heights - heights.mean()
        axis = rise @ (positions - positions.mean(axis=0)) / float(rise @ rise)
        off_axis = _off_axis(positions, heights, axis)
    if off_axis > rounding:
        raise InputError(
            "{path} holds slices that do not lie on one line (up to {distance:.1f} mm beside it); give the "
            "slices of one stack only.",
            path=path,
            distance=off_axis,
        )
    origin = positions.mean(axis=0) - axis * float(heights.mean() - heights[0])
    array = _load(frames)
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
    step = axis * (heights[-1] - heights[0]) / max(len(array) - 1, 1)
    grid = _grid(array, across_row * spacing[1], down_column * spacing[0], step, origin, path)
    if places_are_taken_from_first(frames[0].image, frames):
        messages += (
            message("The file says where its first frame lies only; the others were taken to follow behind it."),
        )
    return StoredImage(array, grid, _tags(frames), messages + _said_of_values(frames))


def _without_places(frames: list[Frame], path: Path) -> StoredImage:
    """One frame, moments, or frames in the order that they are stored in."""
    first = frames[0]
    spacing, messages = pixel_spacing(frames, path)
    array = _load(frames)
    has_direction = first.orientation is not None
    across_row, down_column = _directions(frames, path) if has_direction else (np.eye(3)[0], np.eye(3)[1])
    modality = first.image.modality
    is_lost = first.position is None or not has_direction
    if is_lost and has_places(modality):
        messages += (message("The DICOM header does not say how the patient lies, so left and right are a guess."),)
    distance = first.slice_distance
    if distance is None and len(frames) > 1 and not first.image.is_film:
        messages += (
            message("The file does not say how far apart its slices are, so lengths and volumes are not millimetres."),
        )
    if modality in ("XA", "RF"):
        messages += (
            message(
                "This is X-ray fluoroscopy or angiography ({modality}): a projection, in which nothing has a depth or "
                "a volume.",
                modality=modality,
            ),
        )
    origin = np.zeros(3) if is_lost else np.asarray(first.position)
    if np.abs(origin).max() > _FARTHEST_MM:
        raise InputError("{path} has voxels without size or place; repair the spacing in its header.", path=path)
    step = np.cross(across_row, down_column) * (distance or 1.0)
    grid = _grid(array, across_row * spacing[1], down_column * spacing[0], step, origin, path)
    return StoredImage(array, grid, _tags(frames), messages + _said_of_values(frames), first.image.is_film)


def _directions(frames: Sequence[Frame], path: Path) -> tuple[_Vectors, _Vectors]:
    """LPS unit vectors along a row and along a column, at right angles; the median of all frames."""
    cosines = np.median([frame.orientation for frame in frames if frame.orientation is not None], axis=0)
    across_row, down_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(across_row), np.linalg.norm(down_column)
    if max(abs(length - 1) for length in lengths) > _COSINES or abs(float(across_row @ down_column)) > _COSINES:
        raise InputError(
            "{path} has a broken orientation (direction cosines that are not at right angles and of length 1); repair "
            "its header.",
            path=path,
        )
    across_row = across_row / lengths[0]
    down_column = down_column - across_row * float(across_row @ down_column)
    return across_row, down_column / np.linalg.norm(down_column)


def _off_axis(positions: _Vectors, heights: _Vectors, axis: _Vectors) -> float:
    """How far the corner that is farthest from the best line along ``axis`` lies from it."""
    across = positions - np.outer(heights, axis)
    return float(np.abs(across - across.mean(axis=0)).max())


def _grid(
    array: NDArray[Any], across_row: _Vectors, down_column: _Vectors, step: _Vectors, origin: _Vectors, path: Path
) -> VoxelGrid:
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([across_row, down_column, step, origin])
    return lps_grid(array.shape[:3], matrix, path)


def _load(frames: Sequence[Frame]) -> NDArray[Any]:
    """The values of frames, ``[k, j, i]`` or ``[k, j, i, 3]``; all files are checked before one is read."""
    by_file: dict[int, list[int]] = {}
    for n, frame in enumerate(frames):
        by_file.setdefault(id(frame.image), []).append(n)
    for numbers in by_file.values():
        check_pixels(frames[numbers[0]].image)
    colors = {is_color(frames[numbers[0]].image) for numbers in by_file.values()}
    if len(colors) > 1:
        raise InputError(
            "{path} is in colour and others of its series are not; give one of them.", path=frames[0].image.path
        )
    shape = (len(frames), *frames[0].size, *((3,) if colors == {True} else ()))
    values = np.empty(shape, value_type(frames))
    for numbers in by_file.values():
        stored = read_frames([frames[n] for n in numbers])
        for n in numbers:
            write_values(frames[n], stored[frames[n]], values[n])
    return values


def _tags(frames: Sequence[Frame]) -> dict[str, str]:
    return {"0008|0060": frames[0].image.modality}


def _said_of_values(frames: Sequence[Frame]) -> tuple[Message, ...]:
    image = frames[0].image
    if not is_inverted(image) or not has_places(image.modality):
        return ()
    unit = text(image.data, "Modality").upper() or "image"
    return (
        message(
            "The {modality} asks to be shown inverted (MONOCHROME1); its values were kept as they are.", modality=unit
        ),
    )


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
