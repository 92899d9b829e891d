"""Dice of the slices between drawn ones, by shape interpolation and by segmenters, on labeled volumes.

    python benchmarks/drawn_slices.py IMAGE LABELS [--names liver,spleen] [--model none --model demo] [--examples]
                                      [--beyond] [--adapt]

LABELS is a label map on the image's voxels; a ``labels.json`` beside it names its labels. Figures stand in
docs/drawn-slices.md; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.evaluation.drawn_slices import Drawing, draw_objects, draw_short_of_ends, fill_drawn, interpolate
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.request import NO_MODEL, Adapt
from MedSAM3SegmentLib.volume import Volume
from MedSAM3SegmentLib.without_model import ShapeSegmenter


def read_labels(path: Path, volume: Volume, names: list[str]) -> dict[str, BoolMask]:
    """The named labels on the voxels of ``volume``, bool ``[k, j, i]``."""
    labels = read_volume(path)
    known = {
        entry["name"]: int(value) for value, entry in json.loads((path.parent / "labels.json").read_text()).items()
    }
    masks = {}
    for name in names:
        if name in known:
            placed = placed_on(volume.grid, labels.array == known[name], labels.grid)
            if placed is None:
                raise SystemExit(f"{path} does not lie on the voxels of the image.")
            masks[name] = placed
    return masks


def segmenter_of(model: str) -> SegmenterProtocol:
    """The segmenter with a model, or without one."""
    if model == NO_MODEL:
        return ShapeSegmenter()
    from MedSAM3SegmentLib.segmenter import Segmenter

    return Segmenter.load(model, "cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--names", default="liver,spleen,kidney_left,kidney_right,aorta,stomach,colon")
    parser.add_argument("--model", action="append", default=[], help="'none' or a model; may be repeated")
    parser.add_argument("--examples", action="store_true", help="also give the drawn slices as examples")
    parser.add_argument("--adapt", action="store_true", help="also let models learn from the drawn slices")
    parser.add_argument(
        "--beyond",
        action="store_true",
        help="draw every third slice of a range that stops four slices before each end, and count what lies beyond it",
    )
    options = parser.parse_args()
    volume = read_volume(options.image)
    stack = SliceStack.along(volume.grid, Plane.AXIAL)
    masks = read_labels(options.labels, volume, options.names.split(","))
    segmenters = {model: segmenter_of(model) for model in options.model or [NO_MODEL]}
    drawings = {f"{drawing.value} drawn": draw_objects(masks, stack, drawing) for drawing in Drawing}
    if options.beyond:
        drawings = {"every third drawn, beyond": draw_short_of_ends(masks, stack)}
    for title, objects in drawings.items():
        rows = {"shape interpolation": {one.name: one.score(interpolate(one)) for one in objects}}
        for model, segmenter in segmenters.items():
            ways: dict[str, Callable[..., dict[str, BoolMask]]] = {f"model {model}": fill_drawn}
            if options.examples:
                ways[f"model {model}, as examples"] = partial(fill_drawn, as_examples=True)
            if options.adapt and model != NO_MODEL:
                ways[f"model {model}, learnt"] = partial(fill_drawn, adapt=Adapt.SLICES)
            for label, fill in ways.items():
                filled = fill(segmenter, volume, stack, objects)
                rows[label] = {one.name: one.score(filled[one.name]) for one in objects}
        table = Table(title=f"{options.image.name}, {title}")
        table.add_column("")
        for heading in (*(one.name for one in objects), "mean"):
            table.add_column(heading, justify="right")
        for label, scores in rows.items():
            table.add_row(label, *(f"{score:.3f}" for score in (*scores.values(), np.mean(list(scores.values())))))
        Console(width=160).print(table)


if __name__ == "__main__":
    main()
