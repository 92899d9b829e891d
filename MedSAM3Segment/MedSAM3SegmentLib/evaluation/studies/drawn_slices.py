"""How well the slices between drawn ones are filled: by shape interpolation as in Slicer, and by a segmenter.

A labeled volume is drawn on some of its slices as the labels are; what comes back on the others, between the first and
the last drawn one, is compared with the labels. Needs PyTorch only where the segmenter does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.geometry.shape_interpolation import shape_between
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Adapt, Mode, SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import ORGANS
from MedSAM3SegmentLib.volume import Volume

from .study import Study, StudyQuestion

SHAPES, DRAWN, AS_EXAMPLES, ADAPTED = "shape interpolation", "drawn slices", "as examples", "learned from drawn slices"
BEYOND = "beyond drawn slices"


class Drawing(StrEnum):
    """Which slices of an object are drawn, from its first to at most its last."""

    EVERY_THIRD = "every third"
    EVERY_FIFTH = "every fifth"
    SIX = "six"

    def slices_of(self, mask: BoolMask) -> tuple[int, ...]:
        """The slices of a mask ``[slice, row, column]`` that are drawn."""
        there = np.flatnonzero(mask.any(axis=(1, 2)))
        if not there.size:
            return ()
        first, last = int(there[0]), int(there[-1])
        if self is Drawing.SIX:
            return tuple(sorted(set(np.linspace(first, last, 6).round().astype(int).tolist())))
        return tuple(range(first, last + 1, 3 if self is Drawing.EVERY_THIRD else 5))


@dataclass(frozen=True, eq=False)
class DrawnObject:
    """An object of a labeled volume, drawn on some of its slices.

    Attributes:
        truth: bool ``[slice, row, column]``.
        drawn: the slices that were drawn.
        between: the slices that count: all others between the first and the last of those, or those beyond them.
    """

    name: str
    truth: BoolMask
    drawn: tuple[int, ...]
    between: tuple[int, ...]

    def score(self, mask: BoolMask) -> float:
        """Dice coefficient of ``mask`` ``[slice, row, column]`` over the slices that count."""
        return dice(mask[list(self.between)], self.truth[list(self.between)])


def draw_objects(masks: Mapping[str, BoolMask], stack: SliceStack, drawing: Drawing) -> list[DrawnObject]:
    """The objects of ``masks`` (bool ``[k, j, i]`` by name) that leave a slice between two drawn ones."""
    objects = []
    for name, mask in masks.items():
        truth = stack.extract(mask)
        drawn = drawing.slices_of(truth)
        between = tuple(index for one, other in pairwise(drawn) for index in range(one + 1, other))
        if between:
            objects.append(DrawnObject(name, truth, drawn, between))
    return objects


def draw_short_of_ends(
    masks: Mapping[str, BoolMask], stack: SliceStack, short: int = 4, step: int = 3
) -> list[DrawnObject]:
    """The objects of ``masks`` drawn on every ``step``-th slice of a range that stops ``short`` slices before each end.

    Objects without such a range are left out; ``between`` is what lies beyond the range.
    """
    objects = []
    for name, mask in masks.items():
        truth = stack.extract(mask)
        there = np.flatnonzero(truth.any(axis=(1, 2)))
        if not there.size or there[-1] - there[0] < 2 * short + step:
            continue
        first, last = int(there[0]) + short, int(there[-1]) - short
        drawn = tuple(sorted({*range(first, last + 1, step), last}))
        beyond = tuple(index for index in range(stack.count) if index < first or index > last)
        objects.append(DrawnObject(name, truth, drawn, beyond))
    return objects


def interpolate(one: DrawnObject) -> BoolMask:
    """Plain shape interpolation, bool ``[slice, row, column]``: signed distances, straight from slice to slice."""
    mask = np.zeros_like(one.truth)
    for before, after in pairwise(one.drawn):
        shape_at = shape_between(one.truth[before], one.truth[after])
        for index in range(before + 1, after):
            mask[index] = shape_at((index - before) / (after - before))
    return mask


def fill_drawn(
    segmenter: SegmenterProtocol,
    volume: Volume,
    stack: SliceStack,
    objects: Sequence[DrawnObject],
    *,
    as_examples: bool = False,
    adapt: Adapt | None = None,
) -> dict[str, BoolMask]:
    """What a segmenter makes of the drawn slices, bool ``[slice, row, column]`` by name.

    Args:
        as_examples: whether the drawn slices are given as examples in the volume itself and not as prompts.
        adapt: what the model learns from first; of prompts only.
    """
    drawn = {}
    for one in objects:
        mask = np.zeros_like(one.truth)
        mask[list(one.drawn)] = one.truth[list(one.drawn)]
        drawn[one.name] = np.ascontiguousarray(stack.insert(mask))
    names = tuple(drawn)
    if as_examples:
        shown = {one.name: (Example(volume, drawn[one.name], one.drawn),) for one in objects}
        request = SegmentRequest(names, plane=stack.plane, examples=shown)
    else:
        prompts = {
            one.name: TargetPrompts(masks=(MaskPromptRAS(drawn[one.name], one.drawn),), is_phrase=False)
            for one in objects
        }
        request = SegmentRequest(names, plane=stack.plane, mode=Mode.FROM_PROMPTS, prompts=prompts, adapt=adapt)
    result = segmenter.segment(volume, request)
    return {concept.concept: stack.extract(concept.mask) for concept in result.concepts}


def _predict(asked: StudyQuestion) -> Iterator[Prediction]:
    for condition in asked.conditions:
        if condition == BEYOND:
            objects = draw_short_of_ends(asked.masks, asked.stack)
        else:
            objects = draw_objects(asked.masks, asked.stack, Drawing(condition))
        for method in asked.methods if objects else ():
            if (method, condition) == (SHAPES, BEYOND):
                continue  # nothing lies beyond
            found = _filled(asked, objects, method)
            for one in objects:
                mask = np.ascontiguousarray(asked.stack.insert(found[one.name]))
                counting = asked.counting(one.name, one.between)
                yield Prediction(one.name, Prompt(method, condition), mask, reference=counting)


def _filled(asked: StudyQuestion, objects: Sequence[DrawnObject], method: str) -> dict[str, BoolMask]:
    if method == SHAPES:
        return {one.name: interpolate(one) for one in objects}
    adapt = Adapt.SLICES if method == ADAPTED else None
    as_examples = method == AS_EXAMPLES
    return fill_drawn(asked.segmenter, asked.volume, asked.stack, objects, as_examples=as_examples, adapt=adapt)


DRAWN_SLICES = Study(
    "drawn-slices",
    _predict,
    (SHAPES, DRAWN),
    (*(drawing.value for drawing in Drawing), BEYOND),
    further_methods=(AS_EXAMPLES, ADAPTED),
    seeds=(300, 310),
    spacing=5.0,
    concepts=ORGANS,
    groups={"organs": ORGANS},
    compared=((DRAWN, SHAPES),),
    needs_model=False,
)
