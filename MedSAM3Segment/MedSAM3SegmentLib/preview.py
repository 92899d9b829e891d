"""A picture of a result: the most telling slices with coloured overlays, and a legend that says what was found.

Slices are shown at their physical aspect ratio, as a radiologist sees them. Drawn with Pillow and its own font alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .concepts import Vocabulary
from .grid import Plane
from .intensity import Window, to_display
from .result import ConceptResult, SegmentResult
from .volume import Volume

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Colour = tuple[int, int, int]
Position = tuple[int, int]

#: Most slices in one picture, and how many are shown where there are as many.
MOST_TILES = 12
USUAL_TILES = 6

#: A slice that shows this part of a concept's largest cross-section tells as much as the largest one itself.
_NEARLY_LARGEST = 0.75

# Pixels: edge of a square tile (others have its area) when there are one, two, or more, and the longest edge of any.
_TILE_EDGES = (760, 560, 380)
_LONGEST_EDGE = 1000
_WIDEST_ROW = 1600
_NARROWEST = 700
_GAP = 8
_MARGIN = 24
_LEGEND_COLUMN, _LEGEND_ROW = 300, 28
_SWATCH = 16
_TITLE, _NORMAL, _SMALL, _TINY = 26, 17, 15, 14

_BACKGROUND: Colour = (18, 21, 25)
_TEXT: Colour = (232, 235, 238)
_FAINT: Colour = (146, 154, 162)
_WARNING: Colour = (255, 191, 71)
_SHADOW: Colour = (0, 0, 0)
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


@dataclass(frozen=True)
class Tile:
    """One slice of the picture.

    Attributes:
        index: of the slice along the stack.
        window: the intensity window to show it through.
    """

    index: int
    window: Window


def draw_preview(volume: Volume, result: SegmentResult, vocabulary: Vocabulary | None = None) -> Image:
    """The picture of ``result``, RGB.

    Args:
        volume: what was segmented.
        result: of ``volume``.
        vocabulary: gives the colours; the shipped one by default.
    """
    from PIL import Image, ImageDraw

    stack = result.stack
    colours = _colours(result, vocabulary or Vocabulary.load())
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
        draw.text((_MARGIN, top), _fitted(line.text, line.size, width - 2 * _MARGIN), line.colour, _font(line.size))
        top += line.height
    for n, concept in enumerate(result.concepts):
        corner = (_MARGIN + n % per_row * _LEGEND_COLUMN, legend_top + n // per_row * _LEGEND_ROW)
        note = amount(volume, concept.voxels) if concept.found else "not found"
        _draw_legend_entry(draw, corner, concept, colours[n], note)
    left_side = "" if is_plain_picture(volume) else _SCREEN_LEFT[stack.plane]
    largest = {n: max(tiles, key=lambda tile: np.count_nonzero(mask[tile.index])) for n, mask in masks.items()}
    for place, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        corner = (
            (width - used) // 2 + place % columns * (size[0] + _GAP),
            tiles_top + place // columns * (size[1] + _GAP),
        )
        shown = _overlaid(picture, [(colours[n], mask[tile.index]) for n, mask in masks.items()], size)
        canvas.paste(shown, corner)
        named = {result.concepts[n].concept: masks[n][tile.index] for n in masks if largest[n] is tile}
        _draw_names(draw, corner, size, named)
        caption = f"slice {tile.index}" if stack.count > 1 else ""
        if len(_window_names(result)) > 1:
            caption = f"{caption} · {tile.window.name}".lstrip(" ·")
        _draw_caption(draw, corner, size, caption, left_side)
    return canvas


def is_plain_picture(volume: Volume) -> bool:
    """Whether the volume is a PNG or JPEG, or frames: its pixels have no size, and its left side is nobody's right."""
    picture = 1 in volume.grid.shape and not volume.modality and volume.array.dtype == np.uint8
    return volume.is_sequence or picture


def amount(volume: Volume, voxels: int) -> str:
    """How much of ``volume`` that is: millilitres, or pixels of a plain picture."""
    if is_plain_picture(volume):
        return f"{voxels} px"
    millilitres = voxels * volume.grid.voxel_volume_mm3 / 1000
    return f"{millilitres:.0f} mL" if millilitres >= 100 else f"{millilitres:.3g} mL"


def choose_tiles(result: SegmentResult) -> list[Tile]:
    """The slices to show, in order: the largest cross-section of each concept, and some between for the whole course.

    One slice stands for several concepts where it shows nearly the largest cross-section of each. Where nothing was
    found, the slices are those with the best scores and some between.
    """
    areas = {
        n: np.count_nonzero(result.stack.extract(concept.mask), axis=(1, 2))
        for n, concept in enumerate(result.concepts)
        if concept.found
    }
    if not areas:
        return _tiles_of_nothing(result)
    chosen: dict[int, Window] = {}
    untold = dict(areas)
    while untold and len(chosen) < MOST_TILES:
        share = {n: area / area.max() for n, area in untold.items()}
        # Whole numbers count concepts that a slice tells; the rest, always below 1, decides between equals.
        value = sum((part >= _NEARLY_LARGEST) + 0.5 * part / len(share) for part in share.values())
        index = int(np.argmax(value))
        told = [n for n, part in share.items() if part[index] >= _NEARLY_LARGEST]
        chosen[index] = result.concepts[told[0]].window
        for n in told:
            del untold[n]
    return _spread(chosen, np.flatnonzero(sum(areas.values())).tolist(), next(iter(chosen.values())))


def _tiles_of_nothing(result: SegmentResult) -> list[Tile]:
    chosen: dict[int, Window] = {}
    for concept in result.concepts[:USUAL_TILES]:
        best = max(concept.evidence, key=lambda item: item.score)
        chosen[best.slice_index] = concept.window
    first = result.concepts[0]
    return _spread(chosen, sorted(first.score_by_slice), first.window)


def _spread(chosen: dict[int, Window], candidates: Sequence[int], window: Window) -> list[Tile]:
    """``chosen`` and, up to the usual number, each time the candidate that is farthest from all that are shown."""
    while len(chosen) < USUAL_TILES and (free := [index for index in candidates if index not in chosen]):
        chosen[max(free, key=lambda index: min(abs(index - shown) for shown in chosen))] = window
    return [Tile(index, chosen[index]) for index in sorted(chosen)]


def _colours(result: SegmentResult, vocabulary: Vocabulary) -> list[Colour]:
    parts = [vocabulary.colour_for(concept.concept) for concept in result.concepts]
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in parts]


def _view(pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]]) -> tuple[slice, slice]:
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


def _overlaid(
    picture: NDArray[np.uint8], layers: Sequence[tuple[Colour, NDArray[np.bool_]]], size: tuple[int, int]
) -> Image:
    """A slice at ``size`` with its masks: filled thinly, outlined clearly."""
    from PIL import Image
    from scipy.ndimage import binary_erosion

    enlarged = Image.fromarray(picture).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    shown = np.array(enlarged, dtype=np.float32)
    outlines = []
    for colour, mask in layers:
        if not mask.any():
            continue
        grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        inside = np.asarray(grey) > 127
        shown[inside] = (1 - _FILL_OPACITY) * shown[inside] + _FILL_OPACITY * np.array(colour, np.float32)
        outlines.append((colour, inside & ~binary_erosion(inside, iterations=2)))
    for colour, outline in outlines:  # on top of all fills, so that a tumour shows in its organ
        shown[outline] = colour
    return Image.fromarray(np.rint(shown).astype(np.uint8))


@dataclass(frozen=True)
class _Line:
    """One line of the heading; sizes in pixels."""

    text: str
    size: int
    colour: Colour
    height: int


def _heading(volume: Volume, result: SegmentResult) -> list[_Line]:
    run = result.provenance
    windows = _window_names(result)
    window = f"window {windows[0]}" if len(windows) == 1 else f"{len(windows)} windows"
    parts = ["" if is_plain_picture(volume) else f"{run.plane} slices", window, f"threshold {run.threshold:g}"]
    setting = " · ".join(filter(None, [*parts, run.model.name]))
    lines = [_Line(volume.name, _TITLE, _TEXT, 38), _Line(setting, _SMALL, _FAINT, 26)]
    if run.model.is_demo:
        lines.append(_Line(DEMO_LINE, _NORMAL, _WARNING, 28))
    if not any(concept.found for concept in result.concepts):
        lines.append(_Line("Nothing was found.", _NORMAL, _TEXT, 28))
    return [*lines, _Line("", _TINY, _TEXT, 12)]


def _window_names(result: SegmentResult) -> list[str]:
    return list(dict.fromkeys(concept.window.name for concept in result.concepts))


def _draw_legend_entry(draw: ImageDraw, corner: Position, concept: ConceptResult, colour: Colour, note: str) -> None:
    left, top = corner
    box = (left, top + 2, left + _SWATCH, top + 2 + _SWATCH)
    draw.rounded_rectangle(box, 4, colour if concept.found else None, colour, 2)
    text_left = left + _SWATCH + 10
    note_width = draw.textlength(note, _font(_SMALL)) + 12
    name = _fitted(concept.concept, _NORMAL, _LEGEND_COLUMN - _SWATCH - 26 - note_width)
    draw.text((text_left, top), name, _TEXT if concept.found else _FAINT, _font(_NORMAL))
    note_left = text_left + draw.textlength(name, _font(_NORMAL)) + 10
    draw.text((note_left, top + 2), note, _FAINT, _font(_SMALL))


def _draw_caption(draw: ImageDraw, corner: Position, size: tuple[int, int], caption: str, left_side: str) -> None:
    left, bottom = corner[0] + 8, corner[1] + size[1] - 6
    draw.text((left, bottom), caption, _TEXT, _font(_SMALL), anchor="ls", stroke_width=2, stroke_fill=_SHADOW)
    middle = corner[1] + size[1] // 2
    draw.text((left, middle), left_side, _FAINT, _font(_SMALL), anchor="lm", stroke_width=2, stroke_fill=_SHADOW)


def _draw_names(
    draw: ImageDraw, corner: Position, size: tuple[int, int], masks: Mapping[str, NDArray[np.bool_]]
) -> None:
    """Each name in its mask, or beside it where it would cover too much of it or another name.

    A name without room is left out; the legend has it.
    """
    taken: list[tuple[float, float, float, float]] = []
    for name, mask in masks.items():
        if not mask.any():
            continue
        text = _fitted(name, _TINY, size[0] - 8)
        half_width, half_height = draw.textlength(text, _font(_TINY)) / 2 + 3, _TINY / 2 + 3
        for x, y in _places_for_name(mask, size, half_width, half_height):
            x = min(max(x, half_width), size[0] - half_width)
            y = min(max(y, half_height), size[1] - half_height)
            box = (x - half_width, y - half_height, x + half_width, y + half_height)
            if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                continue
            taken.append(box)
            place = (corner[0] + x, corner[1] + y)
            draw.text(place, text, _TEXT, _font(_TINY), anchor="mm", stroke_width=1, stroke_fill=_SHADOW)
            break


def _places_for_name(
    mask: NDArray[np.bool_], size: tuple[int, int], half_width: float, half_height: float
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


def _fitted(text: str, size: int, width: float) -> str:
    """``text``, in one line and cut with an ellipsis where it is wider than ``width`` pixels."""
    text = " ".join(text.split())
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)
