"""Runs that advance by themselves: a timer takes a step of them between two repaints of the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import Run

from .window_timer import WindowTimer

#: Milliseconds between two looks at a run; steps take less.
_INTERVAL_MS = 20


class RunTimer:
    """A run and the timer that advances it.

    Attributes:
        run: what is on its way; its ``state`` says how far it is.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._timer = WindowTimer(self._advance)
        self._timer.start(_INTERVAL_MS)

    @property
    def ended(self) -> bool:
        return self.run.ended

    def cancel(self) -> None:
        """Ask the run to end; whoever listens hears of it as soon as the engine has stopped."""
        self.run.cancel()

    def abandon(self, why: str) -> None:
        """End the run at once; what the engine still says of it is not heard."""
        self._timer.stop()
        self.run.abandon(why)

    def _advance(self) -> None:
        if not self.run.advance():
            self._timer.stop()


def make_listener(
    progress: Callable[[Any], None] | None,
    partial: Callable[[Any], None] | None,
    ended: Callable[[Any], None],
    waiting: Callable[[int], None] | None,
) -> RunListener:
    """A listener of those that are given."""
    given = {"progress": progress, "partial": partial, "waiting": waiting}
    return RunListener(ended=ended, **{name: call for name, call in given.items() if call is not None})
