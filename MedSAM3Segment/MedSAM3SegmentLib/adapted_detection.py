"""Learning from the drawn slices of a run, and using what was learnt only where it does better.

Some of the slices that were drawn are held out. A copy of the detector is trained on the others; where what it sees
makes the held-out slices better than they are filled without it, it is asked for all slices, else it is not used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.detection.detect_slices import ConceptQuery, detect_slices
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import soft_mask_to_binary
from MedSAM3SegmentLib.interpolation.drawn_concepts import drawn_slices
from MedSAM3SegmentLib.interpolation.fill_between import ModelMasks, fill_between
from MedSAM3SegmentLib.interpolation.fill_track import slices_of
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import Progress, RunReporter, Stage
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.run_context import RunContext
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

#: Drawn slices that show the object, below which none can be held out between two others and two be learnt from.
_FEWEST = 4

#: One in so many is held out.
_HOLD_OUT_EVERY = 4

#: What was learnt must make the held-out slices this much better, or chance may have.
_LEAST_GAIN = 0.002


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A concept as it was drawn.

    Attributes:
        masks: bool ``[row, column]`` by slice.
        held_out: slices of it that are not learnt from.
    """

    query: ConceptQuery
    masks: Mapping[int, BoolMask]
    held_out: tuple[int, ...]


def detect_adapted(run: RunContext, part: SegmentRequest, region: SearchRegion) -> dict[str, list[SliceDetections]]:
    """What a detector that learnt from the drawn slices sees of the concepts that it makes better.

    Raises:
        Cancelled: between two steps.
    """
    stack = region.stack
    drawn = [one for name in part.concepts if (one := _drawn(run, part, name, stack)) is not None]
    if not drawn:
        run.reporter.add_message(
            message("There is too little to learn from: draw at least {count} slices of an object.", count=_FEWEST)
        )
        return {}
    from MedSAM3SegmentLib.training.fine_tuning.adapt_to_slices import adapt_to_slices

    with run.timed("learning"):
        adapted = adapt_to_slices(run.features.model, _stacks(run, drawn, stack), advance=_Advance(run.reporter))
        features = run.features.of_model(adapted)
        evidence = detect_slices(
            features,
            [one.query for one in drawn],
            region,
            run.threshold,
            RunReporter(replace(run.reporter.callbacks, progress=None, partial=None)),
        )
    kept = {}
    for one, items in zip(drawn, evidence, strict=True):
        if _is_better(run, one, items, stack):
            kept[one.query.concept] = items
    return kept


class _Advance:
    """Tells how far learning is, and may end it."""

    def __init__(self, reporter: RunReporter) -> None:
        self._reporter, self._started = reporter, time.monotonic()

    def __call__(self, done: int, steps: int) -> None:
        callbacks = self._reporter.callbacks
        callbacks.check()
        if callbacks.progress is not None:
            left = (time.monotonic() - self._started) / done * (steps - done) if done else None
            callbacks.progress(Progress(Stage.LEARNING, done, steps, left))


def _drawn(run: RunContext, part: SegmentRequest, name: str, stack: SliceStack) -> _Drawn | None:
    """A concept that there is enough of to learn from."""
    masks = drawn_slices(part.prompts.get(name), stack)
    shown = sorted(index for index, mask in masks.items() if mask.any())
    if len(shown) < _FEWEST:
        return None
    inner = shown[1:-1]
    count = max(1, len(shown) // _HOLD_OUT_EVERY)
    chosen = {inner[round(n)] for n in np.linspace(0, len(inner) - 1, count + 2)[1:-1]}
    # Drawn prompts may have made the words a mere name; here they are what is learnt.
    query = replace(run.queries[name], prompt=prompt_for(name), is_phrase=True)
    return _Drawn(query, masks, tuple(sorted(chosen)))


def _stacks(run: RunContext, drawn: Sequence[_Drawn], stack: SliceStack) -> list[LabelledStack]:
    """The slices that are learnt from, those together that the same concepts were drawn on.

    A slice that a concept was not drawn on may show it or not; nothing is asked of it there.
    """
    groups: dict[tuple[Window, tuple[int, ...]], list[int]] = {}
    for index in sorted({index for one in drawn for index in one.masks}):
        for window in dict.fromkeys(one.query.window for one in drawn):
            numbers = tuple(
                number
                for number, one in enumerate(drawn)
                if one.query.window == window and index in one.masks and index not in one.held_out
            )
            if numbers:
                groups.setdefault((window, numbers), []).append(index)
    slices = stack.extract(run.volume.array)
    stacks = []
    for (window, numbers), indices in groups.items():
        codes = np.zeros((len(indices), *stack.slice_shape), np.uint32)
        for bit, number in enumerate(numbers[:32]):
            for place, index in enumerate(indices):
                codes[place] |= drawn[number].masks[index].astype(np.uint32) << np.uint32(bit)
        names = tuple(drawn[number].query.prompt for number in numbers[:32])
        # No other window than that which it will be asked through.
        stacks.append(LabelledStack(slices[indices], window, False, codes, names))
    return stacks


def _is_better(run: RunContext, one: _Drawn, items: Sequence[SliceDetections], stack: SliceStack) -> bool:
    """Whether the held-out slices are filled better with what the adapted detector sees; says so either way."""
    seen = {item.slice_index: slice_mask(item, run.threshold, stack.slice_shape) for item in items}
    rest = {index: mask for index, mask in one.masks.items() if index not in one.held_out}
    image_of, check = slices_of(run.volume, stack), run.reporter.callbacks.check
    scores = []
    for models in ([], [ModelMasks(seen, saw_drawn=False)]):
        filled = fill_between(rest, image_of, stack.spacing, models, check)
        found = {index: soft_mask_to_binary(filled[index].soft, stack.slice_shape) for index in one.held_out}
        hits = sum(2 * np.count_nonzero(found[index] & one.masks[index]) for index in one.held_out)
        total = sum(np.count_nonzero(found[index]) + np.count_nonzero(one.masks[index]) for index in one.held_out)
        scores.append(hits / total if total else 0.0)
    without, with_it = scores
    is_better = with_it >= without + _LEAST_GAIN
    name, count, before, after = one.query.concept, len(one.held_out), f"{without:.3f}", f"{with_it:.3f}"
    if is_better:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was used: on {count} of them that were held out, "
                "Dice is {with_it} with it and {without} without.",
                concept=name,
                count=count,
                with_it=after,
                without=before,
            )
        )
    else:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was not used: on {count} of them that were held "
                "out, Dice is {with_it} with it and {without} without.",
                concept=name,
                count=count,
                with_it=after,
                without=before,
            )
        )
    return is_better


def as_detected(part: SegmentRequest, concepts: Mapping[str, object]) -> SegmentRequest:
    """The request with concepts that are looked for as well as drawn."""
    from MedSAM3SegmentLib.request import Mode

    prompts = {
        name: replace(drawn, is_phrase=True) if name in concepts else drawn for name, drawn in part.prompts.items()
    }
    return replace(part, mode=Mode.PROPAGATE, prompts=prompts)
