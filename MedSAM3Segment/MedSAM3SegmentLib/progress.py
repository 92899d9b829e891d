"""How far a run has come: its stages, and who is told of progress, of slices and in sentences, and may cancel it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from MedSAM3SegmentLib.messages.message import Message

from .array_types import BoolMask
from .errors import Cancelled

#: The pace of this many last reports says how long the rest takes: slices whose features are kept go much faster.
_RECENT = 16


class Stage(StrEnum):
    """The stages of a run, in order."""

    LOADING = "loading the model"
    LOCATING = "finding places"
    LEARNING = "learning from drawn slices"
    SEGMENTING = "segmenting slices"
    PROPAGATING = "propagating through slices"
    ASSEMBLING = "assembling the volume"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        stage: what is being done.
        done: slices (or concepts, when assembling) finished; it never falls until the last slice is.
        total: slices (or concepts) in all; one that is looked at several times, as along another plane or when
            objects are followed, counts each time. It is an upper bound until it is known how far objects reach.
        seconds_left: estimate for all of these, None until something was measured.
    """

    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class PartialMask:
    """One concept on one slice, as soon as it is known; the assembled volume may differ.

    Attributes:
        concept: as in the request.
        slice_index: along the stack.
        score: of the concept on this slice, 0 to 1.
        mask: bool ``[row, column]``, upright, at the volume's resolution.
    """

    concept: str
    slice_index: int
    score: float
    mask: BoolMask


PartialCallback = Callable[[PartialMask], None]


#: Asked between batches of slices; returning True ends the run with ``errors.Cancelled``.
CancelCheck = Callable[[], bool]


@dataclass(frozen=True)
class RunCallbacks:
    """Who is told how a run goes, and who may end it; each may be None.

    Attributes:
        progress: told how far the run has come.
        partial: given each slice of each concept as soon as it is known.
        cancel: asked between batches of slices.
    """

    progress: ProgressCallback | None = None
    partial: PartialCallback | None = None
    cancel: CancelCheck | None = None

    def check(self) -> None:
        """End the run if that is wanted; between two concepts, where no slices are counted.

        Raises:
            Cancelled: the cancel check says so.
        """
        if self.cancel is not None and self.cancel():
            raise Cancelled()


#: Nobody is told.
NO_CALLBACKS = RunCallbacks()


@dataclass(frozen=True)
class RunReporter:
    """Passes on how a run goes.

    Attributes:
        callbacks: of the run.
        say: given sentences for the user.
        counter: of all that is done with slices, or None where each stage counts by itself.
    """

    callbacks: RunCallbacks = NO_CALLBACKS
    say: Callable[[Message], None] | None = None
    counter: StepCounter | None = None

    def add_message(self, sentence: Message) -> None:
        """Give the user a sentence."""
        if self.say is not None:
            self.say(sentence)

    def report_partial(self, concept: str, slice_index: int, score: float, mask: Callable[[], BoolMask]) -> None:
        """Show a slice; ``mask`` makes its mask ``[row, column]`` and is called only if someone looks."""
        if self.callbacks.partial is not None:
            self.callbacks.partial(PartialMask(concept, slice_index, score, mask()))

    def counting(self, stage: Stage, most: int) -> RunReporter:
        """The same, but all slices from now on are counted together, ``most`` of them at most; ``stage`` is first."""
        return replace(self, counter=StepCounter(self.callbacks, stage, most))

    def begin(self, stage: Stage, total: int) -> StageProgress:
        """Say that a stage of ``total`` steps begins. Assembling counts concepts, so always by itself."""
        if self.counter is None or stage is Stage.ASSEMBLING:
            return StageProgress(StepCounter(self.callbacks, stage, total), stage, total)
        self.counter.claim(total)
        return StageProgress(self.counter, stage, total)

    @contextmanager
    def reserved(self, most: int) -> Iterator[None]:
        """Within, stages begin for which ``most`` of the counted steps are reserved; what they do not need is none."""
        if self.counter is None:
            yield
            return
        self.counter.reserve(most)
        yield
        self.counter.release()

    def expect(self, steps: int) -> None:
        """Say that the stages still to begin within ``reserved`` have so many steps."""
        if self.counter is not None:
            self.counter.expect(steps)

    def only_of(self, concepts: Collection[str]) -> RunReporter:
        """The same, but slices of other concepts than these are not shown."""
        partial = self.callbacks.partial
        if partial is None:
            return self

        def show(piece: PartialMask) -> None:
            if piece.concept in concepts:
                partial(piece)

        return replace(self, callbacks=replace(self.callbacks, partial=show))


class StepCounter:
    """Counts the steps of one stage, or of several that follow each other, and tells how long the rest takes.

    Args:
        stage: the first one.
        total: steps of all of them, or what is planned for at most.
    """

    def __init__(self, callbacks: RunCallbacks, stage: Stage, total: int) -> None:
        self._callbacks, self._stage, self._total = callbacks, stage, total
        self._done = self._skipped = 0
        self._reserved: int | None = None
        self._recent = deque([(time.monotonic(), 0)], maxlen=_RECENT + 1)
        self._report(None)

    def check(self) -> None:
        """End the run if that is wanted.

        Raises:
            Cancelled: the cancel check says so.
        """
        if self._callbacks.cancel is not None and self._callbacks.cancel():
            raise Cancelled(
                "Stopped after {done} of {total} slices; nothing was written.", done=self._done, total=self._total
            )

    def reserve(self, steps: int) -> None:
        """Say that of the total so many are for the stages that begin now."""
        self._reserved = steps

    def claim(self, steps: int) -> None:
        """A stage begins; what it needs beyond its reservation is new."""
        if self._reserved is not None:
            self._total += max(0, steps - self._reserved)
            self._reserved = max(0, self._reserved - steps)

    def expect(self, steps: int) -> None:
        """Say that of the reservation only so many are left to claim."""
        if self._reserved is not None and self._reserved != steps:
            self._total += steps - self._reserved
            self._reserved = steps
            self._report_pace()

    def release(self) -> None:
        """Say that the stages the reservation was for are over."""
        self.expect(0)
        self._reserved = None

    def advance(self, stage: Stage, steps: int, worked: bool) -> None:
        """So many more of a stage are done; if not ``worked``, they took no time, as they were not needed."""
        self._done = min(self._done + steps, self._total)
        if not worked:
            self._skipped += steps
        if stage is not self._stage:
            # What is done with slices now takes another time than before.
            self._stage = stage
            self._recent = deque([self._recent[-1]], maxlen=self._recent.maxlen)
        self._recent.append((time.monotonic(), self._done - self._skipped))
        self._report_pace()

    def _report_pace(self) -> None:
        (before, done_before), (now, done) = self._recent[0], self._recent[-1]
        self._report((now - before) / max(done - done_before, 1) * (self._total - self._done))

    def _report(self, seconds_left: float | None) -> None:
        if self._callbacks.progress is not None:
            self._callbacks.progress(Progress(self._stage, self._done, self._total, seconds_left))


class StageProgress:
    """One stage of a run.

    Args:
        total: slices (or concepts) in it.
    """

    def __init__(self, counter: StepCounter, stage: Stage, total: int) -> None:
        self._counter, self._stage, self._left = counter, stage, total

    def check(self) -> None:
        """End the run if that is wanted.

        Raises:
            Cancelled: the cancel check says so.
        """
        self._counter.check()

    def advance(self, steps: int = 1) -> None:
        """Say that so many more are done."""
        self._left -= steps
        self._counter.advance(self._stage, steps, worked=True)

    def finish(self) -> None:
        """Say that all is done, also where it ended early."""
        if self._left > 0:
            self._counter.advance(self._stage, self._left, worked=False)
            self._left = 0
