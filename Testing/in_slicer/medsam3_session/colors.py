"""Whether the color of a segment is in a picture of a slice view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of a segment's color that must be mixed into a pixel at least; Slicer fills with less than half of it.
_LEAST_PART = 0.25

#: How far a mixed color may be from what was mixed, of 255: rounding, and edges that are smoothed.
_TOLERANCE = 12.0

Color = tuple[float, float, float]


def colored_pixels(picture: NDArray[Any], color: Color) -> int:
    """How many pixels show ``color``, alone or over some grey.

    Args:
        picture: uint8 ``[row, column, RGB]``.
        color: red, green and blue from 0 to 1; no grey.
    """
    pixels = picture[..., :3].astype(np.float32)
    # Grey below or above changes nothing of what is left of a color without its mean.
    pixels -= pixels.mean(-1, keepdims=True)
    wanted = 255 * np.asarray(color, np.float32)
    wanted -= wanted.mean()
    length = float(wanted @ wanted)
    if length < 2 * _TOLERANCE**2:
        raise ValueError(f"The colour {color} is a grey, as the picture is.")
    part = pixels @ wanted / length
    beside = np.abs(pixels - part[..., None] * wanted).max(-1)
    return int(((part >= _LEAST_PART) & (part <= 1.1) & (beside <= _TOLERANCE)).sum())
