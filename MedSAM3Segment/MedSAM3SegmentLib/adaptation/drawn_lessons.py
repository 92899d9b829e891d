"""What was drawn of a concept: what a detector learns from, and what is held out to judge it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.interpolation.drawn_concepts import drawn_slices
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.prompts.prompts import TargetPrompts
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

#: Drawn slices that show the object, below which none can be held out between two others and two be learnt from.
FEWEST = 4

#: The same, below which the outermost ones cannot be held out too.
FEWEST_FOR_ENDS = 6

#: Of those between the outermost ones, one in so many is held out.
_HOLD_OUT_EVERY = 4


@dataclass(frozen=True, eq=False)
class DrawnLesson:
    """A concept as it was drawn.

    Attributes:
        query: the concept with its words, by which it is learnt.
        masks: bool ``[row, column]`` by slice.
        between: slices between others that are not learnt from.
        ends: the outermost slices with the object, which are not learnt from either; none where too few were drawn.
    """

    query: ConceptQuery
    masks: Mapping[int, BoolMask]
    between: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def held_out(self) -> tuple[int, ...]:
        return (*self.between, *self.ends)

    @property
    def learnt(self) -> tuple[int, ...]:
        """The slices that are learnt from."""
        return tuple(index for index in sorted(self.masks) if index not in self.held_out)


def drawn_lesson(query: ConceptQuery, prompts: TargetPrompts | None, stack: SliceStack) -> DrawnLesson | None:
    """What there is to learn of a concept; None where it is too little."""
    masks = drawn_slices(prompts, stack)
    shown = sorted(index for index, mask in masks.items() if mask.any())
    if len(shown) < FEWEST:
        return None
    ends = (shown[0], shown[-1]) if len(shown) >= FEWEST_FOR_ENDS else ()
    # What is held out has learnt slices on both sides.
    inner = shown[2:-2] if ends else shown[1:-1]
    count = max(1, len(shown) // _HOLD_OUT_EVERY)
    chosen = {inner[round(n)] for n in np.linspace(0, len(inner) - 1, count + 2)[1:-1]}
    # Drawn prompts may have made the words a mere name; here they are what is learnt.
    asked = replace(query, prompt=prompt_for(query.concept), is_phrase=True)
    return DrawnLesson(asked, masks, tuple(sorted(chosen)), ends)


def learnt_stacks(
    lessons: Sequence[DrawnLesson], slices: np.ndarray, slice_shape: tuple[int, int]
) -> list[LabelledStack]:
    """The slices that are learnt from, those together that the same concepts were drawn on.

    A slice that a concept was not drawn on may show it or not; nothing is asked of it there.

    Args:
        slices: the volume's intensities ``[slice, row, column]``.
    """
    groups: dict[tuple[Window, tuple[int, ...]], list[int]] = {}
    for index in sorted({index for one in lessons for index in one.learnt}):
        for window in dict.fromkeys(one.query.window for one in lessons):
            numbers = tuple(
                number for number, one in enumerate(lessons) if one.query.window == window and index in one.learnt
            )
            if numbers:
                groups.setdefault((window, numbers), []).append(index)
    stacks = []
    for (window, numbers), indices in groups.items():
        codes = np.zeros((len(indices), *slice_shape), np.uint32)
        for bit, number in enumerate(numbers[:32]):
            for place, index in enumerate(indices):
                codes[place] |= lessons[number].masks[index].astype(np.uint32) << np.uint32(bit)
        names = tuple(lessons[number].query.prompt for number in numbers[:32])
        # No other window than that which it will be asked through.
        stacks.append(LabelledStack(slices[indices], window, False, codes, names))
    return stacks
