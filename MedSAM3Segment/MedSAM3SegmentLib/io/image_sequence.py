"""Image sequences (ultrasound, endoscopy): frames over time as a stack whose axis is time.

A folder of numbered pictures, an animated GIF or PNG, a TIFF of several pages, or a DICOM file of several frames that
were taken one after another. Everything that works on a stack of slices works on a stack of frames.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import ACQUIRED_SPACING_RATIO
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import message

from .dicom.find_files import is_dicom
from .formats.pictures import PICTURE_SUFFIXES, TIFF_SUFFIXES, count_frames, read_frames, read_picture
from .itk import StoredImage, lps_grid

TIME_MESSAGE = message(
    "The third axis is time: a slice is a frame, and lengths along it and volumes are not millimetres."
)

#: Files that may hold several frames.
_SEVERAL_FRAMES = (".gif", ".png", ".apng", *TIFF_SUFFIXES)

#: Pixels from frame to frame: the acquired plane of the grid is then that of the frames.
_FRAME_DISTANCE = 1.05 * ACQUIRED_SPACING_RATIO


def is_image_sequence(path: Path) -> bool:
    """Whether ``path`` is a folder of pictures without DICOM, or a picture file with several frames."""
    if path.is_dir():
        return bool(_frame_files(path)) and not _holds_dicom(path)
    return path.suffix.lower() in _SEVERAL_FRAMES and count_frames(path) > 1


def read_image_sequence(path: Path) -> StoredImage:
    """The frames ``[frame, row, column]`` or ``[frame, row, column, 3]``, on a grid of 1 mm as ITK and Slicer have it.

    The files of a folder are taken in the order of the numbers in their names (frame 2 before frame 10).

    Raises:
        InputError: a frame is damaged, or the frames differ in size.
    """
    if path.is_dir():
        files = _frame_files(path)
        frames = [read_picture(file).array[0] for file in files]
        names = [file.name for file in files]
    else:
        frames = read_frames(path)
        names = [message("frame {number}", number=n) for n in range(len(frames))]
    odd = next((n for n, frame in enumerate(frames) if frame.shape[:2] != frames[0].shape[:2]), None)
    if odd is not None:
        sizes = [f"{frames[n].shape[1]} x {frames[n].shape[0]}" for n in (0, odd)]
        raise InputError(
            "{path} holds frames of different sizes ({first} has {first_size} pixels, {second} {second_size}); "
            "give frames of one size.",
            path=path,
            first=names[0],
            first_size=sizes[0],
            second=names[odd],
            second_size=sizes[1],
        )
    array = stack_frames(frames)
    grid = lps_grid(array.shape[:3], np.eye(4), path)
    return StoredImage(array, grid, messages=(TIME_MESSAGE,), is_sequence=True)


def as_film(stored: StoredImage) -> StoredImage:
    """The frames of a DICOM film, so far apart that they are cut frame by frame, however the camera was held."""
    apart = max(stored.grid.spacing[:2]) * _FRAME_DISTANCE
    matrix = stored.grid.ijk_to_ras.copy()
    matrix[:3, 2] = stored.grid.directions[:, 2] * apart
    grid = VoxelGrid(stored.grid.shape, matrix)
    return replace(stored, grid=grid, messages=(*stored.messages, TIME_MESSAGE), is_sequence=True)


def _frame_files(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
    return sorted((file for file in files if not file.name.startswith(".")), key=lambda file: natural_order(file.name))


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts ``frame 2`` before ``frame 10``."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def _holds_dicom(folder: Path) -> bool:
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    # Opening a pipe would wait for whoever writes into it.
    return any(is_dicom(file) for file in files if file.is_file())


def stack_frames(frames: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Frames of one size as ``[frame, row, column]``, or with a last axis of 3 colors if one of them has it."""
    if any(frame.ndim == 3 for frame in frames):
        frames = [frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2) for frame in frames]
    return np.stack(frames)
