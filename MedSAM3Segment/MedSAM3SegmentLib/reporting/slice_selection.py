"""Which slices of a result tell most of it, for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.results.result import SegmentResult

#: Most slices in one picture, and how many are shown where there are as many.
MOST_TILES = 12
USUAL_TILES = 6

#: A slice that shows this part of a concept's largest cross-section tells as much as the largest one itself.
_NEARLY_LARGEST = 0.75


@dataclass(frozen=True)
class Tile:
    """One slice of the picture.

    Attributes:
        index: of the slice along the stack.
        window: the intensity window to show it through.
    """

    index: int
    window: Window


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
