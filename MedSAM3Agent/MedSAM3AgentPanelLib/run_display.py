"""How far a request is: progress of the segmenter, rounds and questions of the budget, and the time."""

from __future__ import annotations

import time
from typing import Any

from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3SegmentLib.progress import Progress
from MedSAM3WidgetsLib.progress_bar import ProgressBar
from MedSAM3WidgetsLib.window_timer import WindowTimer

#: Milliseconds between two looks at the clock.
_INTERVAL_MS = 1000


class RunDisplay:
    """Shows one request at a time.

    Args:
        bar: a QProgressBar.
        label: a QLabel for what is being done.
        budget_label: a QLabel for what is used of the budget.
    """

    def __init__(self, bar: Any, label: Any, budget_label: Any) -> None:
        self._progress = ProgressBar(bar, label)
        self._label, self._budget_label = label, budget_label
        self._timer = WindowTimer(self._show_budget)
        self._began = 0.0
        self._most = (0, 0)
        self._rounds = self._calls = 0
        budget_label.visible = False

    def begin(self, rounds: int, calls: int) -> None:
        """A request begins, with so many rounds and questions at most."""
        self._most, self._began = (rounds, calls), time.monotonic()
        self._rounds = self._calls = 0
        self._progress.begin()
        self._budget_label.visible = True
        self._show_budget()
        self._timer.start(_INTERVAL_MS)

    def show(self, progress: Progress) -> None:
        """The segmenter is so far."""
        self._progress.show(progress)

    def count_round(self, done: SceneRound) -> None:
        """A round is done."""
        self._rounds += 1
        self._calls += done.calls
        self._progress.begin()
        self._label.text = _("Looking at the round...")
        self._show_budget()

    def show_stopping(self) -> None:
        """Show that the request will end."""
        self._progress.show_cancelling()

    def end(self) -> None:
        """No request is on its way."""
        self._timer.stop()
        self._progress.end()
        self._budget_label.visible = False

    def _show_budget(self) -> None:
        rounds, calls = self._most
        words = _("Round {round} of {rounds} at most; {calls} of {most_calls} questions asked; {seconds} s").format(
            round=min(self._rounds + 1, rounds),
            rounds=rounds,
            calls=self._calls,
            most_calls=calls,
            seconds=round(time.monotonic() - self._began),
        )
        self._budget_label.text = words
