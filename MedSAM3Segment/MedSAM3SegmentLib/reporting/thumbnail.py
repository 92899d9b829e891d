"""A small picture of a result: the one slice that tells most, with what was found in color."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MedSAM3SegmentLib.preprocessing.windowing import to_display
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from MedSAM3SegmentLib.volume import Volume

from .preview_image import concept_colors, overlay_masks
from .slice_selection import choose_tiles

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_thumbnail(volume: Volume, result: SegmentResult, edge: int, vocabulary: Vocabulary | None = None) -> Image:
    """The slice with the most of what was found, whole and at its physical aspect ratio, in a square picture, RGB.

    Args:
        volume: what was segmented.
        result: of ``volume``.
        edge: pixels of the square.
        vocabulary: gives the colors; the shipped one by default.
    """
    from PIL import Image

    stack = result.stack
    colors = concept_colors(result, vocabulary or Vocabulary.load())
    masks = {n: stack.extract(concept.mask) for n, concept in enumerate(result.concepts) if concept.found}
    tiles = choose_tiles(result)
    # The slice that shows most concepts, and of those the one with the most of them.
    tile = max(
        tiles,
        key=lambda tile: (
            sum(bool(mask[tile.index].any()) for mask in masks.values()),
            sum(int(np.count_nonzero(mask[tile.index])) for mask in masks.values()),
        ),
    )
    picture = to_display(stack.extract(volume.array)[tile.index], tile.window)
    height, width = picture.shape[0] * stack.spacing[1], picture.shape[1] * stack.spacing[2]
    scale = edge / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    shown = overlay_masks(picture, [(colors[n], mask[tile.index]) for n, mask in masks.items()], size)
    canvas = Image.new("RGB", (edge, edge))
    canvas.paste(shown, ((edge - size[0]) // 2, (edge - size[1]) // 2))
    return canvas
