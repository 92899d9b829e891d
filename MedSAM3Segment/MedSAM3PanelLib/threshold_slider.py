"""The threshold as a slider on the last result: moving it shows, letting it go writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.runs.segmentation_run import ResultRun
from MedSAM3SceneLib.runs.threshold_run import standing_result
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.preview_display import PreviewDisplay


class ThresholdSlider:
    """Follows the slider while it is dragged.

    What another threshold gives is worked out on a thread, one value at a time: while one is being worked out only the
    newest of the others is kept.

    Args:
        slider: a ctkSliderWidget without tracking, so that it tells dragging from letting go.
        previews: shows what is dragged.
        released: called with the threshold that the user let go at.
        said: called with what went wrong, in a sentence.
    """

    def __init__(
        self, slider: Any, previews: PreviewDisplay, released: Callable[[float], None], said: Callable[[str], None]
    ) -> None:
        self._slider = slider
        self._previews = previews
        self._released = released
        self._said = said
        self._run: ResultRun | None = None
        self._wanted: float | None = None
        self._setting = False
        self._had_focus: Any = None
        self._background = BackgroundTask()
        for number_box in slider.findChildren(qt.QDoubleSpinBox):
            # Or the first digit of a number that is typed would be taken for all of it.
            number_box.keyboardTracking = False
        slider.connect("valueIsChanging(double)", self._drag)
        slider.connect("valueChanged(double)", self._release)

    def follow(self, run: ResultRun | None) -> None:
        """Move the threshold of ``run`` from now on; None for no run, when there is nothing to move."""
        self._stop()
        self._run = run
        self._slider.enabled = run is not None
        if run is not None and run.result is not None:
            self._setting = True
            self._slider.value = run.result.provenance.threshold
            self._setting = False
            # A slider that cannot be moved loses the keyboard, and whoever steps with arrow keys wants to go on.
            if self._had_focus is not None and qt.QApplication.focusWidget() is None:
                self._had_focus.setFocus()
            self._had_focus = None

    def _drag(self, value: float) -> None:
        if self._run is not None and not self._setting:
            self._wanted = value
            self._work_out()

    def _release(self, value: float) -> None:
        if self._run is None or self._setting:
            return
        self._stop()
        focused = qt.QApplication.focusWidget()
        self._had_focus = focused if focused is not None and self._slider.isAncestorOf(focused) else None
        self._released(value)

    def _work_out(self) -> None:
        """Begin on the newest value, unless another one is being worked out."""
        if self._wanted is None or self._run is None or self._run.result is None or self._background.is_busy:
            return
        result, threshold, self._wanted = standing_result(self._run), self._wanted, None

        def show(labels: Any) -> None:
            self._show([concept.concept for concept in result.concepts], labels)

        self._background.start(lambda: with_threshold(result, threshold).label_map(), show, self._fail)

    def _show(self, concepts: Sequence[str], labels: Any) -> None:
        run = self._run
        if run is not None and run.volume_node.GetScene() is not None:
            self._previews.show_labels(run.volume_node, run.placed, concepts, labels)
        self._work_out()

    def _fail(self, error: Exception) -> None:
        log_failure("a moved threshold could not be shown.", error)
        self._said(_("This threshold cannot be shown: {error}").format(error=translated(str(error))))
        self._work_out()

    def _stop(self) -> None:
        self._background.stop()
        self._wanted = None
