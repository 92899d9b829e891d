"""The threshold as a slider on the last result: moving it shows, letting it go writes."""

from __future__ import annotations

from typing import Any

import qt

from MedSAM3SceneLib.preview_segmentation import labels_of
from MedSAM3SceneLib.segmentation_run import SegmentationRun
from MedSAM3SceneLib.steps import Steps, in_thread

from .previews import Previews

_INTERVAL = 30


class ThresholdSlider:
    """Follows the slider while it is dragged.

    What another threshold gives is worked out on a thread, one value at a time: while one is being worked out only the
    newest of the others is kept.

    Args:
        slider: a ctkSliderWidget without tracking, so that it tells dragging from letting go.
        previews: shows what is dragged.
        released: called with the threshold that the user let go at.
    """

    def __init__(self, slider: Any, previews: Previews, released: Any) -> None:
        self._slider = slider
        self._previews = previews
        self._released = released
        self._run: SegmentationRun | None = None
        self._wanted: float | None = None
        self._steps: Steps[Any] | None = None
        self._setting = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_INTERVAL)
        self._timer.connect("timeout()", self._advance)
        slider.connect("valueIsChanging(double)", self._drag)
        slider.connect("valueChanged(double)", self._release)

    def follow(self, run: SegmentationRun | None) -> None:
        """Move the threshold of ``run`` from now on; None for no run, when there is nothing to move."""
        self._stop()
        self._run = run
        self._slider.enabled = run is not None
        if run is not None and run.result is not None:
            self._setting = True
            self._slider.value = run.result.provenance.threshold
            self._setting = False

    def _drag(self, value: float) -> None:
        if self._run is not None and not self._setting:
            self._wanted = value
            self._timer.start()

    def _release(self, value: float) -> None:
        if self._run is None or self._setting:
            return
        self._stop()
        self._released(value)

    def _advance(self) -> None:
        if self._steps is None:
            if self._wanted is None or self._run is None:
                self._timer.stop()
                return
            run, threshold, self._wanted = self._run, self._wanted, None
            self._steps = in_thread(lambda: labels_of(run.result.with_threshold(threshold)))
        try:
            next(self._steps)
        except StopIteration as end:
            self._steps = None
            self._show(end.value)

    def _show(self, labels: Any) -> None:
        run = self._run
        scene = run.order.volume_node.GetScene() if run is not None else None
        if scene is not None:
            concepts = [concept.concept for concept in run.result.concepts]
            self._previews.show_labels(run.order.volume_node, run.placed, concepts, labels)

    def _stop(self) -> None:
        self._timer.stop()
        self._wanted, self._steps = None, None
