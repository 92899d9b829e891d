"""Learning from the drawn slices of a run, and using what was learnt only where it does better.

Some of the slices that were drawn are held out, between others and at the ends. A copy of the detector is trained on
the rest. Where what it sees makes the held-out slices better than they are without it, it is used: between drawn slices
and beyond them, each as its own slices say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from MedSAM3SegmentLib.detection.detect_slices import detect_slices
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.progress import Progress, RunReporter, Stage
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.run_context import RunContext
from MedSAM3SegmentLib.search_region import SearchRegion

from .drawn_lessons import FEWEST, FEWEST_FOR_ENDS, DrawnLesson, drawn_lesson, learnt_stacks
from .held_out import HeldOutScore, score_between, score_beyond
from .save_adapted import Lesson, save_adapted


@dataclass(frozen=True, eq=False)
class AdaptedDetections:
    """What a detector that learnt from the drawn slices sees of the concepts that it makes better.

    Attributes:
        evidence: by concept.
        only_beyond: concepts of which it is used beyond the drawn slices alone.
    """

    evidence: Mapping[str, tuple[SliceDetections, ...]] = field(default_factory=dict)
    only_beyond: frozenset[str] = frozenset()

    def of(self, concepts: Sequence[ConceptResult]) -> list[ConceptResult]:
        """The concepts with what it sees in place of what the detector as it is does."""
        return [
            replace(one, evidence=self.evidence[one.concept]) if one.concept in self.evidence else one
            for one in concepts
        ]

    def as_detected(self, part: SegmentRequest) -> SegmentRequest:
        """The request with concepts that are looked for as well as drawn."""
        if not self.evidence:
            return part
        prompts = {
            name: replace(drawn, is_phrase=True) if name in self.evidence else drawn
            for name, drawn in part.prompts.items()
        }
        return replace(part, mode=Mode.PROPAGATE, prompts=prompts)


def detect_adapted(
    run: RunContext, part: SegmentRequest, region: SearchRegion, concepts: Sequence[ConceptResult]
) -> AdaptedDetections:
    """Learn from the drawn slices of a part of the request, and see what that makes better; says so either way.

    Args:
        concepts: of the part, with what the detector as it is sees.

    Raises:
        Cancelled: between two steps.
    """
    stack = region.stack
    lessons = [
        lesson
        for name in part.concepts
        if (lesson := drawn_lesson(run.queries[name], part.prompts.get(name), stack)) is not None
    ]
    if not lessons:
        run.reporter.add_message(
            message("There is too little to learn from: draw at least {count} slices of an object.", count=FEWEST)
        )
        _say_not_saved(run)
        return AdaptedDetections()
    from MedSAM3SegmentLib.training.fine_tuning.adapt_to_slices import adapt_to_slices

    own = {concept.concept: concept.evidence for concept in concepts}
    with run.timed("learning"):
        stacks = learnt_stacks(lessons, stack.extract(run.volume.array), stack.slice_shape)
        adapted = adapt_to_slices(run.features.model, stacks, advance=_Advance(run.reporter))
        silent = RunReporter(replace(run.reporter.callbacks, progress=None, partial=None))
        queries = [one.query for one in lessons]
        evidence = detect_slices(run.features.of_model(adapted), queries, region, run.threshold, silent)
        used, only_beyond, figures = {}, set(), {}
        for one, items in zip(lessons, evidence, strict=True):
            name = one.query.concept
            between = score_between(run, one, items)
            beyond = score_beyond(run, one, part, region, own.get(name, ()), items)
            _say_between(run, name, between)
            _say_beyond(run, name, beyond)
            is_better = between.is_better, beyond is not None and beyond.is_better
            if is_better[0]:
                used[name] = tuple(items) if is_better[1] else _inside(one, items, own.get(name, ()))
            elif is_better[1]:
                used[name] = tuple(items)
                only_beyond.add(name)
            if name in used:
                figures[name] = between, beyond
    if used and run.request.adapt_name:
        slices = len({index for one in lessons for index in one.learnt})
        # A run that is cancelled leaves nothing.
        run.at_end.append(partial(save_adapted, run, adapted, Lesson(slices, figures)))
    else:
        _say_not_saved(run)
    return AdaptedDetections(used, frozenset(only_beyond))


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


def _inside(
    one: DrawnLesson, items: Sequence[SliceDetections], own: Sequence[SliceDetections]
) -> tuple[SliceDetections, ...]:
    """What the adapted detector sees between the outermost drawn slices, and beyond them what it saw as it was."""
    first, last = min(one.masks), max(one.masks)
    kept = [item for item in items if first <= item.slice_index <= last]
    kept += [item for item in own if not first <= item.slice_index <= last]
    return tuple(sorted(kept, key=lambda item: item.slice_index))


def _say_between(run: RunContext, name: str, score: HeldOutScore) -> None:
    with_it, without = f"{score.with_it:.3f}", f"{score.without:.3f}"
    if score.is_better:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was used between them: on {count} that were held "
                "out, Dice is {with_it} with it and {without} without.",
                concept=name,
                count=score.slices,
                with_it=with_it,
                without=without,
            )
        )
    else:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was not used between them: on {count} that were "
                "held out, Dice is {with_it} with it and {without} without.",
                concept=name,
                count=score.slices,
                with_it=with_it,
                without=without,
            )
        )


def _say_beyond(run: RunContext, name: str, score: HeldOutScore | None) -> None:
    if score is None:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was not used beyond them, since too few were "
                "drawn to hold out the outermost; draw at least {count}.",
                concept=name,
                count=FEWEST_FOR_ENDS,
            )
        )
        return
    with_it, without = f"{score.with_it:.3f}", f"{score.without:.3f}"
    if score.is_better:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was used beyond them: on the outermost two, "
                "which were held out, Dice is {with_it} with it and {without} without.",
                concept=name,
                with_it=with_it,
                without=without,
            )
        )
    else:
        run.reporter.add_message(
            message(
                "What was learnt from the drawn slices of '{concept}' was not used beyond them: on the outermost two, "
                "which were held out, Dice is {with_it} with it and {without} without.",
                concept=name,
                with_it=with_it,
                without=without,
            )
        )


def _say_not_saved(run: RunContext) -> None:
    if run.request.adapt_name:
        run.reporter.add_message(message("Nothing was saved, since what was learnt was used nowhere."))
