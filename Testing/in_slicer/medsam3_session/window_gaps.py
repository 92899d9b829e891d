"""How long the window stands still in each action, and how much of that is the extension's own code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer

from MedSAM3WidgetsLib.window_timer import WindowTimer
from SegmentEditorMedSAM3Lib.SegmentEditorEffect import SegmentEditorEffect

from .abdomen import Abdomen, add_abdomen, add_large_abdomen, segment_ids
from .drawing import drag_slider, inner_slider
from .session import Session
from .steps import Steps, Until, pause
from .stretches import Measured, OwnCode, Stretch
from .views import drag, pixel_of, press_key, show_place, shown_views

#: Milliseconds between two ticks of the timer that measures.
_TICK = 2

#: Milliseconds that the extension's own code may take at a stretch.
_LIMIT = 50

_CONCEPTS = ("liver", "left kidney", "spleen", "aorta")


class Meter:
    """Measures one action after the other.

    Args:
        session: whose checks are told.
        volume: in words.
    """

    def __init__(self, session: Session, volume: str) -> None:
        self._session, self._volume = session, volume
        self._own = OwnCode(
            (WindowTimer, "_fire"), (Session, "press"), (SegmentEditorEffect, "processInteractionEvents")
        )
        self._gaps: list[Stretch] = []
        self._drawn: list[Stretch] = []
        self._drawn_work: list[Stretch] = []
        self._last = self._begun = self._drawing = self._drawing_work = 0.0
        self._timer = qt.QTimer(slicer.app)
        self._timer.setTimerType(qt.Qt.PreciseTimer)
        self._timer.setInterval(_TICK)
        self._timer.connect("timeout()", self._tick)
        self._observed: list[tuple[Any, int]] = []
        for window in _render_windows():
            self._observe(window, "StartEvent", self._begin_drawing)
            self._observe(window, "EndEvent", self._end_drawing)

    def close(self) -> None:
        """Measure no more."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._tick)
        self._timer.deleteLater()
        for window, tag in self._observed:
            window.RemoveObserver(tag)

    @contextmanager
    def measured(self, action: str, is_asked: bool = True) -> Iterator[None]:
        """Measure what is done inside.

        Args:
            is_asked: whether there is a limit; not where Slicer does most of it.
        """
        self._gaps.clear()
        self._drawn.clear()
        self._drawn_work.clear()
        self._begun = self._last = time.perf_counter()
        self._timer.start()
        self._own.start()
        try:
            yield
        finally:
            self._own.stop()
            self._timer.stop()
        seconds, own = time.perf_counter() - self._begun, self._own
        took = Measured(seconds, self._gaps, self._drawn, own.stretches, self._drawn_work, own.work)
        name, checks = f"{self._volume}: {action}", self._session.checks
        if is_asked:
            checks.at_most(name, took.own_alone, _LIMIT, "ms of the extension's code", f"; {took.in_words()}")
        else:
            checks.note(name, f"{took.own_alone:.0f} ms of the extension's code; {took.in_words()}")

    def _tick(self) -> None:
        now = time.perf_counter()
        self._gaps.append((self._last + _TICK / 1000, now))
        self._last = now

    def _begin_drawing(self, _window: Any, _event: str) -> None:
        self._drawing, self._drawing_work = time.perf_counter(), time.thread_time()

    def _end_drawing(self, _window: Any, _event: str) -> None:
        self._drawn.append((self._drawing, time.perf_counter()))
        self._drawn_work.append((self._drawing_work, time.thread_time()))

    def _observe(self, window: Any, event: str, call: Callable[[Any, str], None]) -> None:
        self._observed.append((window, window.AddObserver(event, call)))


def check_phantom_gaps(session: Session) -> Steps:
    """All actions on the sample."""
    yield from _check(session, add_abdomen, "sample 48x128x128")


def check_large_gaps(session: Session) -> Steps:
    """All actions on a large CT."""
    yield from _check(session, add_large_abdomen, "CT 300x512x512")


def _check(session: Session, add: Callable[[], Abdomen], volume: str) -> Steps:
    session.close_scene()
    session.open_panel()
    abdomen = add()
    session.choose(abdomen, "; ".join(_CONCEPTS), seconds_a_slice=0.01)
    session.choose_mode("SLICES")
    show_place(abdomen.middle("liver", "left kidney"))
    yield pause(2.0)
    # What is imported at first use is not measured.
    yield from session.run(session.ui.previewButton)
    session.press(session.ui.clearPreviewButton)
    yield pause(1.0)
    meter = Meter(session, volume)
    try:
        yield from _panel_actions(session, abdomen, meter)
        yield from _effect_actions(session, abdomen, meter)
        with meter.measured("close scene"):
            session.close_scene()
            yield pause(1.0)
    finally:
        meter.close()


def _panel_actions(session: Session, abdomen: Abdomen, meter: Meter) -> Steps:
    ui = session.ui

    def pressed(action: str, button: Any) -> Steps:
        with meter.measured(action):
            yield from session.run(button)
            yield pause(0.7)

    yield from pressed("Preview slice", ui.previewButton)
    yield from pressed("clear the preview", ui.clearPreviewButton)
    yield from pressed("Apply, new segmentation", ui.applyButton)
    yield from pressed("Apply again", ui.applyButton)
    slider = inner_slider(ui.thresholdSlider)
    with meter.measured("threshold dragged"):
        for part in (0.6, 0.7, 0.8):
            let_go = drag_slider(slider, part)
            yield pause(1.0)
        yield pause(3.0)
    with meter.measured("threshold released"):
        let_go()
        yield Until(lambda: not session.panel.is_busy, "an end of the threshold's writing", 300)
        yield pause(0.7)
    yield from pressed("Undo", ui.undoButton)
    yield from pressed("Redo", ui.redoButton)
    with meter.measured("go to a slice"):
        session.panel.results.go_to_slice(abdomen.labels.shape[0] // 2)
        yield pause(0.7)
    with meter.measured("choose a row"):
        ui.resultsTable.selectRow(1)
        yield pause(0.7)
    session.choose_mode("PROPAGATE")
    yield from pressed("Propagate", ui.applyButton)
    session.choose_mode("SLICES")
    with meter.measured("Show 3D (Slicer makes surfaces)", is_asked=False):
        ui.show3DButton.toggle()
        yield pause(3.0)
    with meter.measured("Apply with 3D shown (Slicer makes surfaces)", is_asked=False):
        yield from session.run(ui.applyButton)
        yield pause(1.0)
    ui.show3DButton.toggle()
    yield pause(0.5)


def _effect_actions(session: Session, abdomen: Abdomen, meter: Meter) -> Steps:
    node = session.ui.segmentationSelector.currentNode()
    segment_id = segment_ids(node)["liver"]
    place = abdomen.middle("liver")
    show_place(place)
    red = shown_views()["Red"]
    # Slicer builds its Segment Editor when it is first chosen.
    slicer.util.selectModule("SegmentEditor")
    yield pause(2.0)
    with meter.measured("effect: choose"):
        editor, effect = session.open_effect(node, abdomen.node, segment_id)
        yield pause(1.0)
    x, y = pixel_of(red, place)
    with meter.measured("effect: draw a box"):
        drag(red, (x - 30, y - 30), (x + 30, y + 30))
        yield pause(0.7)
    with meter.measured("effect: This slice"):
        press_key(red, "Return", (x, y))
        yield Until(lambda: not effect.session.is_running, "an end of This slice", 300)
        yield pause(0.7)
    for action, button in (
        ("Propagate", effect.options.propagateButton),
        ("Whole volume", effect.options.volumeButton),
    ):
        with meter.measured(f"effect: {action}"):
            yield from session.act(effect, button)
            yield pause(0.7)
    for action, act in (("undo", editor.undo), ("redo", editor.redo), ("leave", lambda: editor.setActiveEffect(None))):
        with meter.measured(f"effect: {action}"):
            act()
            yield pause(0.7)
    session.open_panel()
    yield pause(0.5)


def _render_windows() -> list[Any]:
    layout = slicer.app.layoutManager()
    views = [widget.sliceView() for widget in shown_views().values()]
    views += [layout.threeDWidget(number).threeDView() for number in range(layout.threeDViewCount)]
    return [view.renderWindow() for view in views]
