"""Text on a picture: in one line, in Pillow's own font, and beside what it names where it would cover it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Color = tuple[int, int, int]
Position = tuple[int, int]

TEXT: Color = (232, 235, 238)
SHADOW: Color = (0, 0, 0)

#: Pixels.
NAME_SIZE = 14


def draw_names(draw: ImageDraw, corner: Position, size: tuple[int, int], masks: Mapping[str, BoolMask]) -> None:
    """Each name in its mask, or beside it where it would cover too much of it or another name.

    A name without room is left out; the legend has it.

    Args:
        corner: left and top of a tile, in pixels of the picture.
        size: width and height of the tile.
        masks: bool ``[row, column]`` by name, stretched over the tile.
    """
    taken: list[tuple[float, float, float, float]] = []
    for name, mask in masks.items():
        if not mask.any():
            continue
        text = fitted(name, NAME_SIZE, size[0] - 8)
        half_width, half_height = draw.textlength(text, font(NAME_SIZE)) / 2 + 3, NAME_SIZE / 2 + 3
        for x, y in _places_for_name(mask, size, half_width, half_height):
            x = min(max(x, half_width), size[0] - half_width)
            y = min(max(y, half_height), size[1] - half_height)
            box = (x - half_width, y - half_height, x + half_width, y + half_height)
            if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                continue
            taken.append(box)
            place = (corner[0] + x, corner[1] + y)
            draw.text(place, text, TEXT, font(NAME_SIZE), anchor="mm", stroke_width=1, stroke_fill=SHADOW)
            break


def _places_for_name(
    mask: BoolMask, size: tuple[int, int], half_width: float, half_height: float
) -> list[tuple[float, float]]:
    """Where the middle of a name may go, in pixels of the tile, best first."""
    rows, columns = np.nonzero(mask)
    per_row, per_column = size[1] / mask.shape[0], size[0] / mask.shape[1]
    x, y = (columns.mean() + 0.5) * per_column, (rows.mean() + 0.5) * per_row
    top, bottom = rows.min() * per_row, (rows.max() + 1) * per_row
    left, right = columns.min() * per_column, (columns.max() + 1) * per_column
    beside = [
        (x, top - half_height),
        (x, bottom + half_height),
        (right + half_width, y),
        (left - half_width, y),
    ]
    has_room = bottom - top > 4 * half_height and right - left > 2 * half_width
    return [(x, y), *beside] if has_room else beside


def fitted(text: str, size: int, width: float) -> str:
    """``text``, in one line and cut with an ellipsis where it is wider than ``width`` pixels."""
    text = " ".join(text.split())
    measure = font(size)
    if measure.getlength(text) <= width:
        return text
    while text and measure.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def font(size: int) -> FreeTypeFont | ImageFont:
    """Pillow's own, ``size`` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
