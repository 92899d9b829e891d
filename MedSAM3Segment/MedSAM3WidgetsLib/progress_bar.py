"""The progress bar: what is being done, how far, and how long it will take."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MedSAM3SegmentLib.progress import Progress, Stage

_FULL = 1000


class ProgressBar:
    """Shows a run's progress.

    Args:
        bar: a QProgressBar.
        label: a QLabel for what is being done.
    """

    def __init__(self, bar: Any, label: Any) -> None:
        self._bar = bar
        self._label = label
        self.end()

    def begin(self) -> None:
        """A run begins: nothing is known yet."""
        self._bar.visible = self._label.visible = True
        self._busy(_("Starting..."))

    def show(self, progress: Progress) -> None:
        """Show how far a run has come."""
        if progress.stage is Stage.LOADING or progress.total <= 0:
            self._busy(_("Loading the model..."))
            return
        self._bar.setRange(0, _FULL)
        # What comes after the last slice is quick and counts something else.
        done = progress.total if progress.stage is Stage.ASSEMBLING else progress.done
        self._bar.value = round(_FULL * done / progress.total)
        self._label.text = f"{_stage_words(progress)}{time_words(progress.seconds_left)}"

    def show_waiting(self, position: int) -> None:
        """Show that other jobs of the engine come first."""
        words = _("Waiting for another job...") if position == 1 else _("Waiting for {count} other jobs...")
        self._busy(words.format(count=position))

    def show_cancelling(self) -> None:
        """Show that the run will end."""
        self._busy(_("Cancelling..."))

    def end(self) -> None:
        """No run is on its way."""
        self._bar.visible = self._label.visible = False
        self._label.text = ""

    def _busy(self, words: str) -> None:
        # Without a range the bar runs to and fro, and has no text.
        self._bar.setRange(0, 0)
        self._label.text = words


def _stage_words(progress: Progress) -> str:
    words = {
        Stage.LOCATING: _("Finding places by templates: step {done} of {total}"),
        Stage.LEARNING: _("Learning from drawn slices: step {done} of {total}"),
        Stage.SEGMENTING: _("Slice {done} of {total}"),
        Stage.PROPAGATING: _("Following objects: slice {done} of {total}"),
        Stage.ASSEMBLING: _("Assembling concept {done} of {total}"),
    }.get(progress.stage, _("{done} of {total}"))
    return str(words.format(done=progress.done, total=progress.total))


def time_words(seconds: float | None) -> str:
    """How much longer it takes, to go on a sentence with; empty where that is not known."""
    if seconds is None or seconds < 1:
        return ""
    if seconds < 90:
        return str(_(", {seconds} s left").format(seconds=round(seconds)))
    return str(_(", {minutes} min left").format(minutes=round(seconds / 60)))
