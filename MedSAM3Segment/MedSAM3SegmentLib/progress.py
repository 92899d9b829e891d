"""How far a run has come: its stages, and who is told of progress, of slices and in sentences, and may cancel it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
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
        whole: what all that is done with slices is a part of, or None where each stage counts from 0.
    """

    callbacks: RunCallbacks = NO_CALLBACKS
    say: Callable[[Message], None] | None = None
    whole: StageProgress | None = None

    def add_message(self, sentence: Message) -> None:
        """Give the user a sentence."""
        if self.say is not None:
            self.say(sentence)

    def report_partial(self, concept: str, slice_index: int, score: float, mask: Callable[[], BoolMask]) -> None:
        """Show a slice; ``mask`` makes its mask ``[row, column]`` and is called only if someone looks."""
        if self.callbacks.partial is not None:
            self.callbacks.partial(PartialMask(concept, slice_index, score, mask()))

    def begin(self, stage: Stage, total: int) -> StageProgress:
        """Say that a stage of ``total`` steps begins, or a part of the whole one."""
        return StageProgress(self, stage, total, None if stage is Stage.ASSEMBLING else self.whole)

    def over(self, stage: Stage, total: int) -> RunReporter:
        """The same, but all that begins from now on counts as some of ``total`` steps, of which ``stage`` is first.

        Only assembling does not: it counts concepts.
        """
        return replace(self, whole=StageProgress(self, stage, total, self.whole))

    def only_of(self, concepts: Collection[str]) -> RunReporter:
        """The same, but slices of other concepts than these are not shown."""
        partial = self.callbacks.partial
        if partial is None:
            return self

        def show(piece: PartialMask) -> None:
            if piece.concept in concepts:
                partial(piece)

        return replace(self, callbacks=replace(self.callbacks, partial=show))

    def skip(self, steps: int) -> None:
        """Say that so many steps of the whole stage turned out not to be needed."""
        if self.whole is not None:
            self.whole.skip(steps)

    def settle(self, kept: int, needed: int) -> None:
        """Say that of the whole stage's steps ``kept`` were for something that has only ``needed``."""
        if self.whole is not None:
            self.whole.settle(kept, needed)


class StageProgress:
    """One stage of a run.

    Args:
        total: slices (or concepts) in it.
        whole: what it is a part of, which alone reports then, or None.

    Attributes:
        stage: what is being done.
    """

    def __init__(self, reporter: RunReporter, stage: Stage, total: int, whole: StageProgress | None = None) -> None:
        self.stage = stage
        self._reporter, self._total, self._whole = reporter, total, whole
        self._done = self._skipped = 0
        self._recent = deque([(time.monotonic(), 0)], maxlen=_RECENT + 1)
        self._report(None)

    def check(self) -> None:
        """End the run if that is wanted.

        Raises:
            Cancelled: the cancel check says so.
        """
        if self._whole is not None:
            self._whole.check()
        elif self._reporter.callbacks.cancel is not None and self._reporter.callbacks.cancel():
            raise Cancelled(
                "Stopped after {done} of {total} slices; nothing was written.", done=self._done, total=self._total
            )

    def advance(self, steps: int = 1) -> None:
        """Say that so many more are done."""
        self._go_on(steps, self.stage, worked=True)

    def skip(self, steps: int) -> None:
        """Say that so many turned out not to be needed; they took no time."""
        if steps > 0:
            self._go_on(steps, self.stage, worked=False)

    def finish(self) -> None:
        """Say that all is done, also where it ended early."""
        self.skip(self._total - self._done)

    def settle(self, kept: int, needed: int) -> None:
        """See ``RunReporter.settle``."""
        self._total = max(self._done, self._total + needed - kept)
        if self._whole is not None:
            self._whole.settle(kept, needed)

    def _go_on(self, steps: int, stage: Stage, worked: bool) -> None:
        self._done = min(self._done + steps, self._total)
        if self._whole is not None:
            self._whole._go_on(steps, stage, worked)
            return
        if not worked:
            self._skipped += steps
        if stage is not self.stage:
            # What is done with slices now takes another time than before.
            self.stage = stage
            self._recent = deque([self._recent[-1]], maxlen=self._recent.maxlen)
        now, done = time.monotonic(), self._done - self._skipped
        self._recent.append((now, done))
        before, done_before = self._recent[0]
        self._report((now - before) / max(done - done_before, 1) * (self._total - self._done))

    def _report(self, seconds_left: float | None) -> None:
        if self._reporter.callbacks.progress is not None and self._whole is None:
            self._reporter.callbacks.progress(Progress(self.stage, self._done, self._total, seconds_left))
