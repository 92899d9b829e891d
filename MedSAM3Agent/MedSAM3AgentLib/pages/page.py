"""Pages: the one picture that goes with a question, and that a person sees in report and panel as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from MedSAM3AgentLib.backends.protocol import TileView
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.reporting.preview_labels import TEXT, fitted, font
from MedSAM3SegmentLib.units import is_plain_picture
from MedSAM3SegmentLib.volume import Volume

from .drawing import Tile, draw_tile
from .slices import deciding_slices, spread_slices, view_of

if TYPE_CHECKING:
    from PIL.Image import Image

#: Edge of a page at most, pixels; models see 1024 as about as many tokens at most.
PAGE_EDGE = 1008

_HEADING = 26


@dataclass(frozen=True, eq=False)
class Page:
    """A picture with what its tiles show.

    Attributes:
        png: PNG bytes without any text chunk.
        tiles: in the order of their numbers.
    """

    png: bytes
    tiles: tuple[TileView, ...]


@dataclass(frozen=True, eq=False)
class PageSource:
    """What pages are drawn from.

    Attributes:
        volume, stack: what is looked at, and how it is cut.
        window: to show it through.
        scores: of the phrase by slice.
        container: what the target lies in, or None.
    """

    volume: Volume
    stack: SliceStack
    window: Window
    scores: Mapping[int, float]
    container: BoolMask | None = None


def draw_verdict_page(source: PageSource, mask: BoolMask, heading: str) -> Page:
    """A mask's contour on the slices that decide, each beside the same slice without it."""
    indices = deciding_slices(mask, source.stack, source.scores, 4)
    masks = {1: mask}
    view = _view(source, masks, indices)
    drawn, views = [], []
    for number, index in enumerate(indices, start=1):
        marked = _tile(source, index, view, masks, f"tile {number}, slice {index}", numbered=False)
        raw = _tile(source, index, view, {}, f"same slice, {source.window.name}")
        drawn += [marked, raw]
        views.append(TileView(number, index, *view))
    return Page(_png(drawn, 4 if len(indices) > 2 else 2, heading), tuple(views))


def draw_action_page(
    source: PageSource, candidates: Mapping[int, BoolMask], heading: str, *, drawn: bool = True
) -> Page:
    """Numbered candidates on up to nine slices with cells A1 to H8; without candidates slices through the container.

    Args:
        drawn: False for the tiles alone, where nobody looks at the picture.
    """
    everything = np.zeros(source.volume.grid.shape, bool)
    for mask in candidates.values():
        everything |= mask
    region = source.container if source.container is not None and source.container.any() else None
    indices = set(deciding_slices(everything, source.stack, source.scores, 4)) if everything.any() else set()
    for index in spread_slices(source.stack, region, 9):
        if len(indices) < 9:
            indices.add(index)
    ordered = sorted(indices)
    # Without a container the target may be anywhere, beside all candidates too.
    rows, columns = source.stack.slice_shape
    view = ((0, rows), (0, columns))
    if region is not None:
        view = _view(source, {**candidates, 0: region}, ordered)
    views = tuple(TileView(number, index, *view) for number, index in enumerate(ordered, start=1))
    if not drawn:
        return Page(b"", views)
    tiles = [
        _tile(source, one.slice_index, view, candidates, f"tile {one.number}, slice {one.slice_index}", grid=True)
        for one in views
    ]
    return Page(_png(tiles, 3, heading), views)


def draw_close_page(source: PageSource, mask: BoolMask, tile: TileView, heading: str) -> Page:
    """One slice enlarged, with and without the contour."""
    view = (tile.rows, tile.columns)
    marked = _tile(source, tile.slice_index, view, {1: mask}, f"slice {tile.slice_index}", numbered=False)
    raw = _tile(source, tile.slice_index, view, {}, f"same slice, {source.window.name}")
    return Page(_png([marked, raw], 2, heading), (TileView(1, tile.slice_index, *view),))


def _view(
    source: PageSource, masks: Mapping[int, BoolMask], indices: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    marked = np.zeros(source.stack.slice_shape, bool)
    for mask in masks.values():
        marked |= source.stack.extract(mask)[list(indices)].any(axis=0)
    return view_of(marked, source.stack.slice_shape)


def _tile(
    source: PageSource,
    index: int,
    view: tuple[tuple[int, int], tuple[int, int]],
    masks: Mapping[int, BoolMask],
    caption: str,
    *,
    numbered: bool = True,
    grid: bool = False,
) -> Tile:
    stack = source.stack
    return Tile(
        pixels=stack.extract(source.volume.array)[index],
        rows=view[0],
        columns=view[1],
        spacing=(stack.spacing[1], stack.spacing[2]),
        window=source.window,
        plane=None if is_plain_picture(source.volume) else stack.plane,
        masks={number: stack.extract(mask)[index] for number, mask in masks.items()},
        caption=caption,
        numbered=numbered,
        grid=grid,
    )


def _png(tiles: Sequence[Tile], columns: int, heading: str) -> bytes:
    from PIL import Image, ImageDraw

    columns = max(min(columns, len(tiles)), 1)
    rows = -(-len(tiles) // columns)
    edge = min(PAGE_EDGE // columns, (PAGE_EDGE - _HEADING) // rows, 480)
    canvas = Image.new("RGB", (columns * edge, _HEADING + rows * edge), (18, 21, 25))
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 4), fitted(heading, 16, columns * edge - 12), TEXT, font(16))
    for n, tile in enumerate(tiles):
        canvas.paste(draw_tile(tile, edge - 2), (n % columns * edge, _HEADING + n // columns * edge))
    return png_bytes(canvas)


def png_bytes(picture: Image) -> bytes:
    """A picture as PNG, with its pixels and nothing else."""
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
