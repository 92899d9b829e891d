"""Who is told how a run goes, and who may end it: progress, slices as they are known, sentences, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import Cancelled
from .request import CancelCheck, PartialCallback, PartialMask, Progress, ProgressCallback, Stage


@dataclass(frozen=True)
class Watch:
    """The callbacks of one run; each may be None.

    Attributes:
        progress: told how far the run has come.
        cancel: asked between batches of slices.
        partial: given each slice's mask as soon as it is known.
        say: given sentences for the user.
    """

    progress: ProgressCallback | None = None
    cancel: CancelCheck | None = None
    partial: PartialCallback | None = None
    say: Callable[[str], None] | None = None

    def tell(self, sentence: str) -> None:
        """Give the user a sentence."""
        if self.say is not None:
            self.say(sentence)

    def show(self, concept: str, slice_index: int, score: float, mask: Callable[[], NDArray[np.bool_]]) -> None:
        """Show a slice; ``mask`` makes its mask ``[row, column]`` and is called only if someone looks."""
        if self.partial is not None:
            self.partial(PartialMask(concept, slice_index, score, mask()))

    def begin(self, stage: Stage, total: int) -> StageWatch:
        """Say that a stage of ``total`` steps begins."""
        return StageWatch(self, stage, total)


class StageWatch:
    """One stage of a run.

    Args:
        total: slices (or concepts) in it.
    """

    def __init__(self, watch: Watch, stage: Stage, total: int) -> None:
        self._watch, self._stage, self._total = watch, stage, total
        self._done, self._started = 0, time.monotonic()
        self._report(None)

    def check(self) -> None:
        """End the run if that is wanted.

        Raises:
            Cancelled: the cancel check says so.
        """
        if self._watch.cancel is not None and self._watch.cancel():
            raise Cancelled(f"Stopped after {self._done} of {self._total} slices; nothing was written.")

    def advance(self, steps: int = 1) -> None:
        """Say that so many more are done."""
        self._done = min(self._done + steps, self._total)
        left = (time.monotonic() - self._started) / max(self._done, 1) * (self._total - self._done)
        self._report(left)

    def finish(self) -> None:
        """Say that all is done, also where it ended early."""
        if self._done < self._total:
            self.advance(self._total - self._done)

    def _report(self, seconds_left: float | None) -> None:
        if self._watch.progress is not None:
            self._watch.progress(Progress(self._stage, self._done, self._total, seconds_left))
