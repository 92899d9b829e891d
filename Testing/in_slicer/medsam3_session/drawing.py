"""Previews, partial slices and a dragged threshold are drawn in the slice views as they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import slicer

from .abdomen import add_abdomen, segmentations
from .session import Session, Stopwatch
from .steps import Steps, Until, pause
from .views import colored, show_place, shown_views

#: Milliseconds from an answer to the pixels of it.
PROMPTLY = 100

#: Seconds after which nothing is waited for any more.
_TIMEOUT_S = 1.0

_CONCEPTS = ("liver", "left kidney")


def check_previews(session: Session) -> Steps:
    """*Preview slice* in each slice view, and *Clear*."""
    yield from _prepared(session)
    ui, colors = session.ui, session.colors(_CONCEPTS)
    for name, widget in shown_views().items():
        session.choose_view(name)
        before = colored(widget, colors)
        yield from session.run(ui.previewButton)
        pixels, milliseconds = yield from _seen(widget, colors, more_than=before)
        session.checks.check(
            f"a preview is drawn in {name} at most {PROMPTLY} ms after its answer",
            pixels > before and milliseconds <= PROMPTLY,
            f"{pixels} coloured pixels after {milliseconds:.0f} ms, {before} before",
        )
        session.press(ui.clearPreviewButton)
        yield pause(0.3)
        session.checks.equal(f"a cleared preview is gone from {name}", colored(widget, colors), before)


def check_partials(session: Session) -> Steps:
    """Slices of a run while it goes on, in each slice view."""
    yield from _prepared(session, seconds_a_slice=0.06)
    ui, colors = session.ui, session.colors(_CONCEPTS)
    views = shown_views()
    before = {name: colored(widget, colors) for name, widget in views.items()}
    most = dict.fromkeys(views, 0)
    changes = dict.fromkeys(views, 0)
    session.press(ui.applyButton)
    last = dict(before)
    while session.panel.is_busy:
        yield pause(0.05)
        for name, widget in views.items():
            if session.panel.is_busy:
                pixels = colored(widget, colors)
                most[name] = max(most[name], pixels)
                changes[name] += pixels != last[name]
                last[name] = pixels
    for name in views:
        session.checks.check(
            f"slices of a run that goes on are drawn in {name}",
            most[name] > before[name],
            f"{most[name]} coloured pixels at most, {before[name]} before",
        )
    session.checks.check(
        "slices of a run that goes on are drawn one after the other",
        max(changes.values()) > 2,
        ", ".join(f"{name} changes {count} times" for name, count in changes.items()),
    )


def check_dragged_threshold(session: Session) -> Steps:
    """The threshold of the last run while it is dragged: no score is above what it is dragged to."""
    ui, colors = session.ui, session.colors(_CONCEPTS)
    widget = shown_views()["Red"]
    # Only the preview's fill, as a segment's lies below it.
    for node in segmentations(slicer.mrmlScene):
        node.GetDisplayNode().SetVisibility(False)
    yield pause(0.5)
    before = colored(widget, colors)
    slider = inner_slider(ui.thresholdSlider)
    let_go = drag_slider(slider, 0.6)
    most = 0
    for _ in range(20):
        yield pause(0.1)
        most = max(most, colored(widget, colors))
    session.checks.check(
        "a dragged threshold is drawn in Red", most > before, f"{most} coloured pixels at most, {before} before"
    )
    let_go()
    yield Until(lambda: not session.panel.is_busy, "an end of the threshold's writing")
    for node in segmentations(slicer.mrmlScene):
        node.GetDisplayNode().SetVisibility(True)


def inner_slider(slider_widget: Any) -> Any:
    """The QSlider in a ctkSliderWidget."""
    return next(child for child in slicer.util.findChildren(slider_widget) if hasattr(child, "sliderDown"))


def drag_slider(slider: Any, part: float) -> Callable[[], None]:
    """Take a slider by its handle and move it to a part of its range.

    Returns:
        What lets go of it.
    """
    slider.sliderDown = True
    slider.sliderPosition = round(slider.minimum + part * (slider.maximum - slider.minimum))

    def let_go() -> None:
        slider.sliderDown = False

    return let_go


def _prepared(session: Session, seconds_a_slice: float = 0.02) -> Steps:
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    session.choose(abdomen, "; ".join(_CONCEPTS), seconds_a_slice)
    session.choose_mode("SLICES")
    show_place(abdomen.middle(*_CONCEPTS))
    yield pause(1.0)


def _seen(widget: Any, colors: Sequence[Any], more_than: int) -> Steps:
    """Wait for color in a view; how many pixels there are, and after how many milliseconds."""
    watch = Stopwatch()
    end = time.monotonic() + _TIMEOUT_S
    while True:
        # What a picture shows was drawn before it was taken.
        milliseconds, pixels = watch.milliseconds, colored(widget, colors)
        if pixels > more_than or time.monotonic() > end:
            return pixels, milliseconds
        yield pause(0.0)
