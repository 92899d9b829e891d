"""From stored values to those that are meant: each frame by its own slope and intercept, exact where both are whole."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError

from .elements import text
from .frames import Frame
from .image_header import ImageHeader
from .kinds import is_projection
from .pixels import is_color, pixel_range

_logger = logging.getLogger(__name__)

#: Values of more digits than single precision holds need double precision.
_SINGLE_BITS = 16

#: No intensity is larger.
_LARGEST = 1e30


def value_type(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest type that holds every value that the frames can have.

    Raises:
        InputError: a slope or intercept is no sensible number, or some frames are in color and others not.
    """
    image = frames[0].image
    if is_color(image):
        return np.dtype(np.uint8)
    bounds = [0]
    is_whole, bits = True, 0
    seen: set[tuple[Any, ...]] = set()
    for frame in frames:
        span = _range(frame.image)
        key = (frame.slope, frame.intercept, span)
        if key in seen:
            continue
        seen.add(key)
        slope, intercept = frame.slope, frame.intercept
        if not 0 < abs(slope) < _LARGEST or abs(intercept) > _LARGEST:
            raise InputError(
                "{path} has a rescale slope of {slope:g} and an intercept of {intercept:g}, which leave no values; "
                "export it again.",
                path=frame.image.path,
                slope=slope,
                intercept=intercept,
            )
        if span is None:
            return np.dtype(np.float64 if _is_double(frame.image) else np.float32)
        bits = max(bits, (span[1] - span[0]).bit_length())
        if slope == int(slope) and intercept == int(intercept):
            values = [int(slope) * value + int(intercept) for value in span]
            bounds += [*values, *span, int(slope), int(intercept)]
        else:
            is_whole = False
    if is_whole:
        for kind in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64):
            limits = np.iinfo(kind)
            if limits.min <= min(bounds) and max(bounds) <= limits.max:
                return np.dtype(kind)
    return np.dtype(np.float32 if bits <= _SINGLE_BITS else np.float64)


def write_values(frame: Frame, stored: NDArray[Any], values: NDArray[Any]) -> None:
    """Write the values that a frame's ``stored`` ones mean into ``values``, of the type that ``value_type`` gave."""
    image = frame.image
    if is_color(image):
        values[...] = stored
        return
    stored = _inverted(image, _by_table(image, stored))
    np.copyto(values, stored, casting="unsafe")
    if values.dtype.kind == "f":
        if frame.slope != 1:
            values *= frame.slope
        if frame.intercept:
            values += frame.intercept
        return
    if frame.slope != 1:
        values *= int(frame.slope)
    if frame.intercept:
        values += int(frame.intercept)


def is_inverted(image: ImageHeader) -> bool:
    """Whether low values are meant to be shown bright."""
    return text(image.data, "PhotometricInterpretation") == "MONOCHROME1"


def _inverted(image: ImageHeader, stored: NDArray[Any]) -> NDArray[Any]:
    """A radiograph as it is meant to be seen; a measure such as HU stays what it is, however it is to be shown."""
    span = _range(image)
    if not is_inverted(image) or not is_projection(image.modality) or span is None:
        return stored
    return span[0] + span[1] - stored.astype(np.int64)


def _by_table(image: ImageHeader, stored: NDArray[Any]) -> NDArray[Any]:
    if not _has_table(image):
        return stored
    from pydicom.pixels.processing import apply_modality_lut

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            looked_up: NDArray[Any] = apply_modality_lut(stored, image.data)
    except Exception as error:  # a table that is damaged
        _logger.debug("%s: %s", image.path, error)
        raise InputError("{path} has a damaged modality LUT; export it again.", path=image.path) from None
    return looked_up


def _has_table(image: ImageHeader) -> bool:
    return "ModalityLUTSequence" in image.data and "RescaleSlope" not in image.data


def _range(image: ImageHeader) -> tuple[int, int] | None:
    # A modality LUT has entries of up to 16 bits (PS3.3 C.11.1.1.1).
    return (0, (1 << 16) - 1) if _has_table(image) else pixel_range(image)


def _is_double(image: ImageHeader) -> bool:
    return image.pixels is not None and image.pixels.keyword == "DoubleFloatPixelData"
