"""A picture of a result: the most telling slices with colored overlays, and a legend that says what was found.

Slices are shown at their physical aspect ratio, as a radiologist sees them. Drawn with Pillow and its own font alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import to_display
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.units import format_volume, is_plain_picture
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

from .preview_labels import (
    NAME_SIZE,
    SHADOW,
    TEXT,
    Color,
    Position,
    draw_names,
    fitted,
    font,
)
from .slice_selection import choose_tiles

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

# Pixels: edge of a square tile (others have its area) when there are one, two, or more, and the longest edge of any.
_TILE_EDGES = (760, 560, 380)
_LONGEST_EDGE = 1000
_WIDEST_ROW = 1600
_NARROWEST = 700
_GAP = 8
_MARGIN = 24
_LEGEND_COLUMN, _LEGEND_ROW = 300, 28
_SWATCH = 16
_TITLE, _NORMAL, _SMALL = 26, 17, 15

_BACKGROUND: Color = (18, 21, 25)
_FAINT: Color = (146, 154, 162)
_WARNING: Color = (255, 191, 71)
_FILL_OPACITY = 0.35

# Brightness (of 255) up to which a pixel shows nothing, and how much of that is left around what is shown.
_BLACK = 24
_RIM = 0.03

# How much is shown around what was found, as a multiple of its extent, and the least part of the body that is shown.
_CONTEXT = 2.5
_SMALLEST_VIEW = 0.4

#: What lies to the left on the screen, by plane.
_SCREEN_LEFT = {Plane.AXIAL: "R", Plane.CORONAL: "R", Plane.SAGITTAL: "A"}

DEMO_LINE = "DEMO MODEL: trained on synthetic pictures; this says nothing about a real patient."


def draw_preview(volume: Volume, result: SegmentResult, vocabulary: Vocabulary | None = None) -> Image:
    """The picture of ``result``, RGB.

    Args:
        volume: what was segmented.
        result: of ``volume``.
        vocabulary: gives the colors; the shipped one by default.
    """
    from PIL import Image, ImageDraw

    stack = result.stack
    colors = concept_colors(result, vocabulary or Vocabulary.load())
    masks = {n: stack.extract(concept.mask) for n, concept in enumerate(result.concepts) if concept.found}
    tiles = choose_tiles(result)
    slices = stack.extract(volume.array)
    pictures = [to_display(slices[tile.index], tile.window) for tile in tiles]
    view = _view(pictures, [mask[tile.index] for tile in tiles for mask in masks.values()])
    pictures = [picture[view] for picture in pictures]
    masks = {n: mask[:, view[0], view[1]] for n, mask in masks.items()}

    size = _tile_size(pictures[0].shape[:2], stack.spacing, len(tiles))
    columns = max(min(_WIDEST_ROW // (size[0] + _GAP), len(tiles)), 1)
    rows = -(-len(tiles) // columns)
    columns = -(-len(tiles) // rows)  # as even as it gets
    used = columns * (size[0] + _GAP) - _GAP
    width = max(used, _NARROWEST) + 2 * _MARGIN
    heading = _heading(volume, result)
    legend_top = _MARGIN + sum(line.height for line in heading)
    per_row = max((width - 2 * _MARGIN) // _LEGEND_COLUMN, 1)
    tiles_top = legend_top + -(-len(result.concepts) // per_row) * _LEGEND_ROW + 14

    canvas = Image.new("RGB", (width, tiles_top + rows * (size[1] + _GAP) - _GAP + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    top = _MARGIN - 6
    for line in heading:
        draw.text((_MARGIN, top), fitted(line.text, line.size, width - 2 * _MARGIN), line.color, font(line.size))
        top += line.height
    for n, concept in enumerate(result.concepts):
        corner = (_MARGIN + n % per_row * _LEGEND_COLUMN, legend_top + n // per_row * _LEGEND_ROW)
        note = format_volume(volume, concept.voxels) if concept.found else "not found"
        _draw_legend_entry(draw, corner, concept, colors[n], note)
    left_side = "" if is_plain_picture(volume) else _SCREEN_LEFT[stack.plane]
    largest = {n: max(tiles, key=lambda tile: np.count_nonzero(mask[tile.index])) for n, mask in masks.items()}
    for place, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        corner = (
            (width - used) // 2 + place % columns * (size[0] + _GAP),
            tiles_top + place // columns * (size[1] + _GAP),
        )
        shown = overlay_masks(picture, [(colors[n], mask[tile.index]) for n, mask in masks.items()], size)
        canvas.paste(shown, corner)
        named = {result.concepts[n].concept: masks[n][tile.index] for n in masks if largest[n] is tile}
        draw_names(draw, corner, size, named)
        caption = f"slice {tile.index}" if stack.count > 1 else ""
        if len(_window_names(result)) > 1:
            caption = f"{caption} · {tile.window.name}".lstrip(" ·")
        _draw_caption(draw, corner, size, caption, left_side)
    return canvas


def concept_colors(result: SegmentResult, vocabulary: Vocabulary) -> list[Color]:
    """Red, green and blue of each concept, 0 to 255."""
    parts = [vocabulary.color_for(concept.concept) for concept in result.concepts]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in parts]


def _view(pictures: Sequence[NDArray[np.uint8]], masks: Sequence[BoolMask]) -> tuple[slice, slice]:
    """The rows and columns to show, the same for all tiles.

    The black around the body is not worth the space; what is small is shown larger, with what lies around it.
    """
    bright = np.zeros(pictures[0].shape[:2], bool)
    for picture in pictures:
        bright |= (picture if picture.ndim == 2 else picture.max(axis=2)) > _BLACK
    found = np.zeros_like(bright)
    for mask in masks:
        found |= mask
    bright |= found
    if not bright.any():
        return slice(None), slice(None)
    parts = []
    for axis in (1, 0):
        first, end = _extent(bright.any(axis=axis))
        if found.any():
            found_first, found_end = _extent(found.any(axis=axis))
            reach = max((found_end - found_first) * _CONTEXT, (end - first) * _SMALLEST_VIEW) / 2
            middle = (found_first + found_end) / 2
            first, end = max(first, round(middle - reach)), min(end, round(middle + reach))
        rim = round(_RIM * (end - first)) + 1
        parts.append(slice(max(first - rim, 0), end + rim))
    return parts[0], parts[1]


def _extent(filled: Any) -> tuple[int, int]:
    places = np.flatnonzero(filled)
    return int(places[0]), int(places[-1]) + 1


def _tile_size(shape: tuple[int, ...], spacing: tuple[float, float, float], count: int) -> tuple[int, int]:
    """(width, height) in pixels of a tile with the physical aspect ratio of a slice of ``shape``."""
    height, width = shape[0] * spacing[1], shape[1] * spacing[2]
    edge = _TILE_EDGES[min(count, len(_TILE_EDGES)) - 1]
    scale = min(edge / (height * width) ** 0.5, _LONGEST_EDGE / max(height, width))
    return max(round(width * scale), 1), max(round(height * scale), 1)


def overlay_masks(picture: NDArray[np.uint8], layers: Sequence[tuple[Color, BoolMask]], size: tuple[int, int]) -> Image:
    """A slice at ``size`` with its masks: filled thinly, outlined clearly."""
    from PIL import Image
    from scipy.ndimage import binary_erosion

    enlarged = Image.fromarray(picture).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    shown = np.array(enlarged, dtype=np.float32)
    outlines = []
    for color, mask in layers:
        if not mask.any():
            continue
        grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        inside = np.asarray(grey) > 127
        shown[inside] = (1 - _FILL_OPACITY) * shown[inside] + _FILL_OPACITY * np.array(color, np.float32)
        outlines.append((color, inside & ~binary_erosion(inside, iterations=2)))
    for color, outline in outlines:  # on top of all fills, so that a tumour shows in its organ
        shown[outline] = color
    return Image.fromarray(np.rint(shown).astype(np.uint8))


@dataclass(frozen=True)
class _Line:
    """One line of the heading; sizes in pixels."""

    text: str
    size: int
    color: Color
    height: int


def _heading(volume: Volume, result: SegmentResult) -> list[_Line]:
    run = result.provenance
    windows = _window_names(result)
    window = f"window {windows[0]}" if len(windows) == 1 else f"{len(windows)} windows"
    parts = ["" if is_plain_picture(volume) else f"{run.plane} slices", window, f"threshold {run.threshold:g}"]
    setting = " · ".join(filter(None, [*parts, run.model.name]))
    lines = [_Line(volume.name, _TITLE, TEXT, 38), _Line(setting, _SMALL, _FAINT, 26)]
    if run.model.is_demo:
        lines.append(_Line(DEMO_LINE, _NORMAL, _WARNING, 28))
    if not any(concept.found for concept in result.concepts):
        lines.append(_Line("Nothing was found.", _NORMAL, TEXT, 28))
    return [*lines, _Line("", NAME_SIZE, TEXT, 12)]


def _window_names(result: SegmentResult) -> list[str]:
    return list(dict.fromkeys(concept.window.name for concept in result.concepts))


def _draw_legend_entry(draw: ImageDraw, corner: Position, concept: ConceptResult, color: Color, note: str) -> None:
    left, top = corner
    box = (left, top + 2, left + _SWATCH, top + 2 + _SWATCH)
    draw.rounded_rectangle(box, 4, color if concept.found else None, color, 2)
    text_left = left + _SWATCH + 10
    note_width = draw.textlength(note, font(_SMALL)) + 12
    name = fitted(concept.concept, _NORMAL, _LEGEND_COLUMN - _SWATCH - 26 - note_width)
    draw.text((text_left, top), name, TEXT if concept.found else _FAINT, font(_NORMAL))
    note_left = text_left + draw.textlength(name, font(_NORMAL)) + 10
    draw.text((note_left, top + 2), note, _FAINT, font(_SMALL))


def _draw_caption(draw: ImageDraw, corner: Position, size: tuple[int, int], caption: str, left_side: str) -> None:
    left, bottom = corner[0] + 8, corner[1] + size[1] - 6
    draw.text((left, bottom), caption, TEXT, font(_SMALL), anchor="ls", stroke_width=2, stroke_fill=SHADOW)
    middle = corner[1] + size[1] // 2
    draw.text((left, middle), left_side, _FAINT, font(_SMALL), anchor="lm", stroke_width=2, stroke_fill=SHADOW)
