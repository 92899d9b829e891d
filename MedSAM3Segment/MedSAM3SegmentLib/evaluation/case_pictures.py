"""Pictures of single cases: the slice with most of the reference, and where prediction and reference agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.io.atomic_write import atomic_write
from MedSAM3SegmentLib.preprocessing.windowing import choose_window, to_display
from MedSAM3SegmentLib.volume import Volume

from .case_row import CaseRow
from .cases.case import EvaluationCase, Reference
from .prediction import Predictor

if TYPE_CHECKING:
    from PIL.Image import Image

#: Edge in pixels that longer pictures are made smaller to.
_EDGE = 512

_BOTH, _REFERENCE, _PREDICTION = (255, 255, 255), (60, 220, 90), (240, 70, 220)
_OPACITY = 0.25


def draw_cases(
    cases: Sequence[EvaluationCase],
    predictor: Predictor,
    summary: Mapping[str, Any],
    rows: Sequence[CaseRow],
    output: Path,
) -> list[tuple[str, str]]:
    """Draw the worst, median and best case of each row.

    Returns:
        Caption and path, relative to ``output``, of each picture.
    """
    wanted: dict[str, list[tuple[CaseRow, str, str]]] = {}
    order = []
    for number, entry in enumerate(summary["results"], start=1):
        key = (entry["concept"], entry["prompt"], entry["phrase"])
        known = [row for row in rows if (row.concept, row.prompt, row.phrase) == key and row.dice is not None]
        known.sort(key=lambda row: (row.dice, row.case))
        chosen = {"best": len(known) - 1, "median": (len(known) - 1) // 2, "worst": 0} if known else {}
        # A case that is worst and best at once is drawn once.
        for place, which in sorted({place: which for which, place in chosen.items()}.items()):
            row, name = known[place], f"pictures/{number:02d}-{which}.png"
            wanted.setdefault(row.case, []).append((row, which, name))
            order.append(name)
    captions: dict[str, str] = {}
    for case in cases:
        if case.name in wanted:
            captions |= _draw_case(case, predictor, wanted[case.name], output)
    return [(captions[name], name) for name in order if name in captions]


def _draw_case(
    case: EvaluationCase, predictor: Predictor, wanted: Sequence[tuple[CaseRow, str, str]], output: Path
) -> dict[str, str]:
    volume = case.read_image()
    references = case.read_references(None if volume is None else volume.grid)
    predictions = {(p.concept, p.prompt.kind, p.prompt.phrase): p for p in predictor.predict_again(case, references)}
    captions = {}
    (output / "pictures").mkdir(exist_ok=True)
    for row, which, name in wanted:
        prediction = predictions.get((row.concept, row.prompt, row.phrase))
        if prediction is None:
            continue
        with atomic_write(output / name) as draft:
            draw_case(prediction.mask, prediction.reference or references[row.concept], volume).save(draft, "PNG")
        asked = f"{row.prompt} '{row.phrase}', " if row.prompt else ""
        captions[name] = f"{which}: {row.case}, {row.concept}, {asked}Dice {row.dice:.3f}"
    return captions


def draw_case(mask: BoolMask, reference: Reference, volume: Volume | None) -> Image:
    """Draw one slice, at its physical aspect ratio.

    Args:
        mask: the prediction, ``[k, j, i]`` on the reference's voxels.
        volume: the image; where it is None or has other voxels the background is black.
    """
    from PIL import Image

    stack = SliceStack.along(reference.grid, Plane.ACQUIRED)
    truth, found = stack.extract(reference.mask), stack.extract(mask)
    areas = truth.sum(axis=(1, 2)) if truth.any() else found.sum(axis=(1, 2))
    index = int(np.argmax(areas))
    picture = _background(stack, index, volume)
    rows, columns = picture.shape[:2]
    row_mm, column_mm = (1.0, 1.0) if reference.is_picture else stack.spacing[1:]
    height, width = rows * row_mm, columns * column_mm
    scale = _EDGE / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = np.asarray(Image.fromarray(picture.round().astype(np.uint8)).resize(shape), float)
    there, ours = (
        np.asarray(Image.fromarray(one[index]).resize(shape, Image.Resampling.NEAREST)) for one in (truth, found)
    )
    for where, color in ((there & ours, _BOTH), (there & ~ours, _REFERENCE), (ours & ~there, _PREDICTION)):
        shown[where] = (1 - _OPACITY) * shown[where] + _OPACITY * np.array(color)
    rim, our_rim = _outline(there), _outline(ours)
    for where, color in ((rim, _REFERENCE), (our_rim, _PREDICTION), (rim & our_rim, _BOTH)):
        shown[where] = color
    return Image.fromarray(shown.round().astype(np.uint8))


def _outline(mask: BoolMask) -> BoolMask:
    """The rim inside of a mask, two pixels wide; none along the picture's own edge."""
    from scipy import ndimage

    inner: BoolMask = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    return mask & ~inner


def _background(stack: SliceStack, index: int, volume: Volume | None) -> NDArray[Any]:
    if volume is None or volume.grid.shape != stack.grid.shape:
        return np.zeros((*stack.slice_shape, 3))
    shown = stack.extract(volume.array)[index]
    if shown.ndim == 2:
        shown = np.repeat(to_display(shown, choose_window(volume))[..., None], 3, axis=2)
    return np.asarray(shown, float).copy()
