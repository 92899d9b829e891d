"""Tiles: a part of a slice with contours, numbers, side letters, a scale bar and its window, drawn from voxels.

What is drawn is all that leaves: no header, no name and no text of a file is ever on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedSAM3AgentLib.actions import GRID_CELLS
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import Window, to_display
from MedSAM3SegmentLib.reporting.preview_labels import SHADOW, TEXT, Color, font

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

#: Contour colors by candidate number; saturated, never gray, red last.
COLORS: tuple[Color, ...] = (
    (0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 255, 0), (255, 140, 0), (90, 140, 255), (255, 170, 220),
    (160, 255, 160), (255, 60, 60),
)  # fmt: skip

#: Width of a contour and of the scale bar, pixels as displayed.
_CONTOUR, _BAR = 2, 3

#: Millimeters that the scale bar shows.
BAR_MM = 20.0

#: An object less than this wide as displayed has its number beside it, pixels.
_ROOM = 24

_SMALL, _NUMBER = 13, 17

#: What lies at the left, right, top and bottom of the screen, by plane.
_LETTERS = {Plane.AXIAL: "RLAP", Plane.CORONAL: "RLSI", Plane.SAGITTAL: "APSI"}


@dataclass(frozen=True, eq=False)
class Tile:
    """What one tile shows.

    Attributes:
        pixels: the upright slice ``[row, column]`` or ``[row, column, 3]``, in the volume's unit.
        rows, columns: the part that is shown, half-open.
        spacing: of rows and columns, millimeters.
        window: to show it through.
        plane: gives the side letters, or None for a picture without sides.
        masks: bool ``[row, column]`` by candidate number.
        caption: at the bottom.
        numbered: whether the numbers are drawn.
        grid: whether cells A1 to H8 are drawn.
    """

    pixels: NDArray  # type: ignore[type-arg]
    rows: tuple[int, int]
    columns: tuple[int, int]
    spacing: tuple[float, float]
    window: Window
    plane: Plane | None
    masks: Mapping[int, BoolMask]
    caption: str
    numbered: bool = True
    grid: bool = False


def draw_tile(tile: Tile, edge: int) -> Image:
    """A tile on a square of ``edge`` pixels, at the physical aspect ratio, RGB."""
    from PIL import Image, ImageDraw

    part = tile.pixels[tile.rows[0] : tile.rows[1], tile.columns[0] : tile.columns[1]]
    height, width = part.shape[0] * tile.spacing[0], part.shape[1] * tile.spacing[1]
    scale = edge / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shown = Image.fromarray(to_display(part, tile.window)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    pixels = np.array(shown)
    masks = {number: _enlarged(mask, tile, size) for number, mask in tile.masks.items()}
    for number, mask in masks.items():
        edge_of = mask & ~ndimage.binary_erosion(mask, iterations=_CONTOUR)
        pixels[edge_of] = COLORS[(number - 1) % len(COLORS)]
    canvas = Image.new("RGB", (edge, edge))
    canvas.paste(Image.fromarray(pixels), (0, 0))
    draw = ImageDraw.Draw(canvas)
    if tile.grid:
        _draw_grid(draw, size)
    if tile.numbered:
        for number, mask in masks.items():
            _draw_number(draw, number, mask, size)
    if tile.plane is not None:
        _draw_letters(draw, _LETTERS[tile.plane], size)
        _draw_bar(draw, size, scale * BAR_MM)
    _text(draw, (5, size[1] - 5), tile.caption, _SMALL, "ls")
    return canvas


def _enlarged(mask: BoolMask, tile: Tile, size: tuple[int, int]) -> BoolMask:
    from PIL import Image

    part = mask[tile.rows[0] : tile.rows[1], tile.columns[0] : tile.columns[1]]
    gray = Image.fromarray(part.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(gray) > 127


def _draw_number(draw: ImageDraw, number: int, mask: BoolMask, size: tuple[int, int]) -> None:
    if not mask.any():
        return
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    x, y = float(column), float(row)
    if 2 * distance.max() < _ROOM:
        x0, y0 = x, y
        x, y = min(x + 26, size[0] - 12), max(y - 22, 12)
        draw.line((x0, y0, x, y), COLORS[(number - 1) % len(COLORS)], 1)
    _text(draw, (x, y), str(number), _NUMBER, "mm", COLORS[(number - 1) % len(COLORS)], 3)


def _draw_grid(draw: ImageDraw, size: tuple[int, int]) -> None:
    for cell in range(GRID_CELLS):
        x, y = size[0] * cell / GRID_CELLS, size[1] * cell / GRID_CELLS
        if cell:
            draw.line((x, 0, x, size[1]), (90, 90, 90), 1)
            draw.line((0, y, size[0], y), (90, 90, 90), 1)
        _text(draw, (x + size[0] / GRID_CELLS / 2, 9), "ABCDEFGH"[cell], _SMALL, "mm", (200, 200, 120))
        _text(draw, (9, y + size[1] / GRID_CELLS / 2), str(cell + 1), _SMALL, "mm", (200, 200, 120))


def _draw_letters(draw: ImageDraw, letters: str, size: tuple[int, int]) -> None:
    left, right, top, bottom = tuple(letters)
    width, height = size
    _text(draw, (18, height / 2), left, _SMALL, "lm")
    _text(draw, (width - 5, height / 2), right, _SMALL, "rm")
    _text(draw, (width / 2, 18), top, _SMALL, "mt")
    _text(draw, (width / 2, height - 20), bottom, _SMALL, "mb")


def _draw_bar(draw: ImageDraw, size: tuple[int, int], length: float) -> None:
    if length < 8 or length > size[0] - 10:
        return
    right, y = size[0] - 6, size[1] - 8
    draw.line((right - length, y, right, y), TEXT, _BAR)
    _text(draw, (right, y - 4), f"{BAR_MM:g} mm", _SMALL, "rs")


@cache
def _font(size: int) -> FreeTypeFont | ImageFont:
    return font(size)


def _text(
    draw: ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    anchor: str,
    color: Color = TEXT,
    halo: int = 2,
) -> None:
    draw.text(place, text, color, _font(size), anchor=anchor, stroke_width=halo, stroke_fill=SHADOW)
