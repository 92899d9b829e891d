"""Siemens mosaics: the slices of an MR volume tiled into one picture, taken apart with the private CSA header.

The header's position is that of the whole picture's corner as if the picture were one slice, so that the tile's own
corner lies half of what the picture is larger away from it (NiBabel's documentation, "Siemens mosaic").
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError

from .elements import number, vector
from .image_header import ImageHeader, read_elements

_logger = logging.getLogger(__name__)

_CREATORS = tuple(range(0x00290010, 0x00290020))
_CSA_CREATOR = "SIEMENS CSA HEADER"

#: The normal by CSA header and by cosines are parallel to this.
_PARALLEL = 1e-3


@dataclass(frozen=True, eq=False)
class Mosaic:
    """How a picture is tiled.

    Attributes:
        count: slices in it.
        rows, columns: pixels of a slice.
        across: tiles beside each other.
        orientation: LPS directions along a row and along a column.
        first: LPS millimeters of the first pixel of the first slice.
        step: LPS millimeters from a slice to the next.
    """

    count: int
    rows: int
    columns: int
    across: int
    orientation: tuple[float, ...]
    first: NDArray[np.float64]
    step: NDArray[np.float64]

    def position(self, n: int) -> tuple[float, ...]:
        """LPS millimeters of the first pixel of slice ``n``."""
        return tuple((self.first + n * self.step).tolist())

    def take_apart(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        """The slices ``[slice, row, column]`` of a picture ``[row, column]``."""
        down = picture.shape[0] // self.rows
        tiles = picture.reshape(down, self.rows, self.across, self.columns).swapaxes(1, 2)
        return tiles.reshape(-1, self.rows, self.columns)[: self.count]


def read_mosaic(image: ImageHeader) -> Mosaic:
    """How the picture of a mosaic is tiled, and where its slices lie.

    Raises:
        InputError: the header does not say how many slices there are, how far apart, or in which order they lie.
    """
    csa = _read_csa(image)
    count, normal = int(_csa_values(csa, "NumberOfImagesInMosaic", 1)[0]), _csa_values(csa, "SliceNormalVector", 3)
    position = vector(image.data, "ImagePositionPatient", 3)
    orientation = vector(image.data, "ImageOrientationPatient", 6)
    spacing = vector(image.data, "PixelSpacing", 2)
    distance = number(image.data, "SpacingBetweenSlices")
    across = math.ceil(math.sqrt(max(count, 1)))
    tiled = count > 0 and image.rows > 0 and image.rows % across == 0 and image.columns % across == 0
    if not tiled or position is None or orientation is None or spacing is None or not distance or not normal.any():
        raise InputError(
            "{path} is a Siemens mosaic (the slices of a volume tiled into one picture) whose header does not say how "
            "many slices it holds and in which order they lie; convert the scanner's own files with dcm2niix and give "
            "the NIfTI file.",
            path=image.path,
        )
    across_row, down_column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    cross = np.cross(across_row, down_column)
    if abs(abs(float(cross @ normal)) - 1) > _PARALLEL:
        raise InputError(
            "{path} is a Siemens mosaic whose headers contradict each other about its orientation; convert it with "
            "dcm2niix and give the NIfTI file.",
            path=image.path,
        )
    rows, columns = image.rows // across, image.columns // across
    first = (
        np.asarray(position)
        + across_row * spacing[1] * (image.columns - columns) / 2
        + down_column * spacing[0] * (image.rows - rows) / 2
    )
    step = cross * np.sign(cross @ normal) * abs(distance)
    return Mosaic(count, rows, columns, across, orientation, first, step)


def _read_csa(image: ImageHeader) -> dict[str, object]:
    """The tags of the CSA header by name; none where it was removed or is damaged."""
    creators = read_elements(image, _CREATORS)
    block = next((tag & 0xFF for tag in _CREATORS if tag in creators and _value(creators, tag) == _CSA_CREATOR), None)
    if block is None:
        return {}
    tag = 0x00290000 | block << 8 | 0x10
    data = read_elements(image, (tag,))
    stored = data.get_item(tag) if tag in data else None
    if stored is None or not isinstance(stored.value, bytes):
        return {}
    # Takes a while, which reading other files need not wait for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says of itself that it is experimental
        from nibabel.nicom.csareader import CSAError, read

    try:
        tags = read(stored.value)["tags"]
    except (CSAError, AssertionError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        _logger.debug("%s", error)
        return {}
    return dict(tags)


def _csa_values(tags: dict[str, object], name: str, count: int) -> NDArray[np.float64]:
    """The first ``count`` values of a CSA tag; zeros where they are not there."""
    tag = tags.get(name)
    values = tag.get("items", []) if isinstance(tag, dict) else []
    try:
        array = np.array([float(value) for value in values[:count]])
    except (TypeError, ValueError):
        return np.zeros(count)
    return array if array.shape == (count,) and np.isfinite(array).all() else np.zeros(count)


def _value(data: object, tag: int) -> str:
    value = getattr(data.get_item(tag), "value", b"")  # type: ignore[attr-defined]
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value).strip()
