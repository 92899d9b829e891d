"""How far a learning job is: what it does, a bar, and the time that is left."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedSAM3SegmentLib.engine.learning.records import JobStage, LearningStatus
from MedSAM3WidgetsLib.progress_bar import time_words

_FULL = 1000


class JobProgress:
    """Takes no room while nothing is on its way.

    Args:
        bar: a QProgressBar.
        label: a QLabel for what is being done.
    """

    def __init__(self, bar: Any, label: Any) -> None:
        self._bar, self._label = bar, label
        self.hide()

    def show(self, status: LearningStatus) -> None:
        """Show how far a job is."""
        words = _stage_words(status)
        if status.stage in (JobStage.STARTING, JobStage.INSTALLING) or not status.total:
            self.show_busy(words)
            return
        self._bar.visible = self._label.visible = True
        self._bar.setRange(0, _FULL)
        self._bar.value = round(_FULL * status.done / status.total)
        self._label.text = f"{words}{time_words(status.seconds_left)}"

    def show_busy(self, words: str) -> None:
        """Show that something is done whose end is not known."""
        self._bar.visible = self._label.visible = True
        # Without a range the bar runs to and fro.
        self._bar.setRange(0, 0)
        self._label.text = words

    def hide(self) -> None:
        """Nothing is on its way."""
        self._bar.visible = self._label.visible = False


def _stage_words(status: LearningStatus) -> str:
    words = {
        JobStage.STARTING: _("Starting..."),
        JobStage.READING: _("Preparing volume {done} of {total}"),
        JobStage.BEFORE: _("Looking at held-out slices before learning"),
        JobStage.TRAINING: _("Learning: step {done} of {total}"),
        JobStage.AFTER: _("Looking at held-out slices after learning"),
        JobStage.INSTALLING: _("Installing the adapter..."),
    }[status.stage]
    return str(words.format(done=status.done, total=status.total))
