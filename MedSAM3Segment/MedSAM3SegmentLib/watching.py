"""Who is told how a run goes, and who may end it: progress, slices as they are known, sentences, cancel."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import Cancelled
from .request import CancelCheck, PartialCallback, PartialMask, Progress, ProgressCallback, Stage

#: The pace of this many last reports says how long the rest takes: slices whose features are kept go much faster.
_RECENT = 16


@dataclass(frozen=True)
class Watch:
    """The callbacks of one run; each may be None.

    Attributes:
        progress: told how far the run has come.
        cancel: asked between batches of slices.
        partial: given each slice's mask as soon as it is known.
        say: given sentences for the user.
        whole: a stage that others of its kind are parts of, or None where each counts from 0.
    """

    progress: ProgressCallback | None = None
    cancel: CancelCheck | None = None
    partial: PartialCallback | None = None
    say: Callable[[str], None] | None = None
    whole: StageWatch | None = None

    def tell(self, sentence: str) -> None:
        """Give the user a sentence."""
        if self.say is not None:
            self.say(sentence)

    def show(self, concept: str, slice_index: int, score: float, mask: Callable[[], NDArray[np.bool_]]) -> None:
        """Show a slice; ``mask`` makes its mask ``[row, column]`` and is called only if someone looks."""
        if self.partial is not None:
            self.partial(PartialMask(concept, slice_index, score, mask()))

    def begin(self, stage: Stage, total: int) -> StageWatch:
        """Say that a stage of ``total`` steps begins, or a part of the whole one."""
        return StageWatch(self, stage, total, self.whole if self.whole and self.whole.stage is stage else None)

    def over(self, stage: Stage, total: int) -> Watch:
        """The same, but all that begins as ``stage`` from now on counts as one of ``total`` steps."""
        return replace(self, whole=StageWatch(self, stage, total))

    def only_of(self, concepts: Collection[str]) -> Watch:
        """The same, but slices of other concepts than these are not shown."""
        partial = self.partial
        if partial is None:
            return self

        def show(piece: PartialMask) -> None:
            if piece.concept in concepts:
                partial(piece)

        return replace(self, partial=show)

    def skip(self, steps: int) -> None:
        """Say that so many steps of the whole stage turned out not to be needed."""
        if self.whole is not None:
            self.whole.skip(steps)


class StageWatch:
    """One stage of a run.

    Args:
        total: slices (or concepts) in it.
        whole: the stage that it is a part of, which alone reports then, or None.

    Attributes:
        stage: what is being done.
    """

    def __init__(self, watch: Watch, stage: Stage, total: int, whole: StageWatch | None = None) -> None:
        self.stage = stage
        self._watch, self._total, self._whole = watch, total, whole
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
        elif self._watch.cancel is not None and self._watch.cancel():
            raise Cancelled(f"Stopped after {self._done} of {self._total} slices; nothing was written.")

    def advance(self, steps: int = 1) -> None:
        """Say that so many more are done."""
        self._done = min(self._done + steps, self._total)
        if self._whole is not None:
            self._whole.advance(steps)
            return
        now, worked = time.monotonic(), self._done - self._skipped
        self._recent.append((now, worked))
        before, worked_before = self._recent[0]
        self._report((now - before) / max(worked - worked_before, 1) * (self._total - self._done))

    def skip(self, steps: int) -> None:
        """Say that so many turned out not to be needed; they took no time."""
        if steps > 0:
            self._skipped += steps
            self.advance(steps)

    def finish(self) -> None:
        """Say that all is done, also where it ended early."""
        if self._done < self._total:
            self.advance(self._total - self._done)

    def _report(self, seconds_left: float | None) -> None:
        if self._watch.progress is not None and self._whole is None:
            self._watch.progress(Progress(self.stage, self._done, self._total, seconds_left))
