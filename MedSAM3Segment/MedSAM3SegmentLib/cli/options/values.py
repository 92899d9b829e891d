"""What the values of the shell's options mean: places, boxes, slices, and what a file shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import PositionRAS
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.vocabulary.segment_names import find_named

if TYPE_CHECKING:
    from MedSAM3SegmentLib.io.segment import Segment


def position_of(text: str) -> PositionRAS:
    """A place, from ``R,A,S`` in millimeters.

    Raises:
        InputError: it is something else.
    """
    try:
        return _numbers(text)
    except ValueError:
        raise InputError(f"'{text}' is not R,A,S with three numbers in millimetres, such as -12,30.5,4.") from None


def corners_of(text: str) -> tuple[PositionRAS, PositionRAS]:
    """Two corners of a box, from ``R,A,S/R,A,S`` in millimeters.

    Raises:
        InputError: it is something else.
    """
    try:
        first, second = text.split("/")
        return _numbers(first), _numbers(second)
    except ValueError:
        raise InputError(
            f"'{text}' is not R,A,S/R,A,S with two corners in millimetres, such as -12,30.5,4/20,60,4."
        ) from None


def mask_on(
    path: Path,
    grid: VoxelGrid,
    name: str = "",
    choose: Callable[[Sequence[Segment]], Sequence[Segment]] | None = None,
) -> BoolMask:
    """What is segmented in a file, on the voxels of ``grid``, bool ``[k, j, i]``.

    Args:
        name: of the segments that are meant, upper or lower case; where none is called so it is all of them.
        choose: says in place of a name which segments are meant.

    Raises:
        InputError: it cannot be read, holds nothing, or lies on other voxels.
    """
    from MedSAM3SegmentLib.io.segmentation import read_segmentation

    segments, own_grid = read_segmentation(path)
    if not segments:
        raise InputError(f"{path} holds no segment; give a segmentation that is not empty.")
    named = [segments[n] for n in find_named([segment.name for segment in segments], name)] if name else []
    meant = (named or segments) if choose is None else choose(segments)
    mask = np.logical_or.reduce([segment.mask for segment in meant])
    placed = placed_on(grid, mask, own_grid)
    if placed is None:
        raise InputError(f"{path} does not lie on the volume's voxels; resample it to the volume.")
    return placed


def parse_slices(text: str) -> tuple[int, int]:
    """The first slice and the one after the last, from ``A:B``.

    Raises:
        InputError: it is something else, or empty.
    """
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"The slice range '{text}' is not A:B with two whole numbers, such as 40:90.") from None
    if not 0 <= first < end:
        raise InputError(f"The slice range '{text}' is empty; A:B needs 0 <= A < B, and B is not part of it.")
    return first, end


def _numbers(text: str) -> PositionRAS:
    """Raises ValueError where there are not three."""
    right, anterior, superior = (float(part) for part in text.split(","))
    return right, anterior, superior
