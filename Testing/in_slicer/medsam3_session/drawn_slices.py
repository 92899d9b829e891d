"""Slices between and beyond drawn ones, with and without learning from them, and a place known from a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .abdomen import Abdomen, add_abdomen, add_segment, add_segmentation, are_equal, contents, overlap, segment_ids
from .session import Session, Stopwatch
from .steps import Steps, Until, pause
from .views import shown_views
from .window_gaps import Meter

_VOLUME = "sample 48x128x128"

#: What is drawn, and every how many slices.
_ORGANS = ("liver", "left kidney")
_EVERY = 3

#: Milliseconds from *Cancel* until nothing is on its way any more.
_PROMPTLY = 3000

#: Of what stands between the drawn slices and the organ.
_ALIKE = 0.9


def check_panel(session: Session) -> Steps:
    """*From prompts* in the panel."""
    abdomen, node, drawn = yield from _drawn(session)
    ui, checks = session.ui, session.checks
    # What is imported at first use is not measured.
    yield from session.run(ui.applyButton)
    ui.undoButton.click()
    meter = Meter(session, _VOLUME)
    try:
        for words, learns in (("drawn slices", False), ("drawn slices, learnt from", True)):
            ui.adaptCheckBox.checked = learns
            with meter.measured(f"panel: {words}"):
                yield from session.run(ui.applyButton)
                yield pause(0.7)
            _check_between(session, abdomen, node, f"panel: {words}")
            _check_next_slice(session, ui.nextSliceButton, f"panel: {words}")
            ui.undoButton.click()
            yield pause(0.5)
            checks.check(
                f"panel: one Undo takes back all of {words}",
                are_equal(drawn, contents(node, abdomen)),
                ui.resultLabel.text,
            )
        for words, learns in (("drawn slices", False), ("learning from drawn slices", True)):
            ui.adaptCheckBox.checked = learns
            session.press(ui.applyButton)
            yield from _cancelled(session, f"panel: {words}", ui.cancelButton, lambda: session.panel.is_busy)
            checks.check(
                f"panel: cancelled, {words} changes nothing",
                are_equal(drawn, contents(node, abdomen)),
                ui.resultLabel.text,
            )
    finally:
        meter.close()
    ui.adaptCheckBox.checked = False
    session.choose_mode("SLICES")


def check_effect(session: Session) -> Steps:
    """*Propagate from edited slices* in the Segment Editor."""
    abdomen, node, drawn = yield from _drawn(session)
    editor, effect = session.open_effect(node, abdomen.node, segment_ids(node)["liver"])
    options = effect.options
    yield pause(0.7)
    meter = Meter(session, _VOLUME)
    try:
        for words, learns in (("drawn slices", False), ("drawn slices, learnt from", True)):
            options.learning.box.checked = learns
            with meter.measured(f"effect: {words}"):
                yield from session.act(effect, options.propagateButton)
                yield pause(0.7)
            _check_between(session, abdomen, node, f"effect: {words}", ("liver",))
            _check_next_slice(session, options.nextSliceButton, f"effect: {words}")
            editor.undo()
            yield pause(0.5)
            session.checks.check(
                f"effect: one Undo takes back all of {words}", are_equal(drawn, contents(node, abdomen)), ""
            )
        session.press(options.propagateButton)
        yield from _cancelled(
            session, "effect: learning from drawn slices", options.cancelButton, lambda: effect.session.is_running
        )
    finally:
        meter.close()
    options.learning.box.checked = False
    editor.setActiveEffect(None)
    session.open_panel()


def check_template(session: Session) -> Steps:
    """Another volume, whose segments say where to look."""
    session.close_scene()
    session.open_panel()
    template = add_abdomen()
    segmentation = add_segmentation(template, "template")
    _add_segments(template, segmentation, every=1)
    abdomen = add_abdomen()
    session.choose(abdomen, "; ".join(_ORGANS))
    session.choose_mode("SLICES")
    ui = session.ui
    ui.templateVolumeSelector.setCurrentNode(template.node)
    ui.templateSegmentationSelector.setCurrentNode(segmentation)
    yield pause(0.5)
    yield from session.run(ui.applyButton)
    meter = Meter(session, _VOLUME)
    try:
        with meter.measured("panel: Apply where a template says"):
            yield from session.run(ui.applyButton)
            yield pause(0.7)
        found = ui.segmentationSelector.currentNode()
        _check_between(session, abdomen, found, "panel: where a template says")
        session.press(ui.applyButton)
        yield from _cancelled(session, "panel: locating", ui.cancelButton, lambda: session.panel.is_busy)
    finally:
        meter.close()
    ui.templateVolumeSelector.setCurrentNode(None)
    ui.templateSegmentationSelector.setCurrentNode(None)


def _drawn(session: Session) -> Steps:
    """The sample with every third slice of some organs drawn, and what that is."""
    session.close_scene()
    session.open_panel()
    abdomen = add_abdomen()
    node = add_segmentation(abdomen, "drawn")
    _add_segments(abdomen, node, _EVERY)
    session.choose(abdomen, "; ".join(_ORGANS))
    session.choose_mode("FROM_PROMPTS")
    session.ui.segmentationSelector.setCurrentNode(node)
    yield pause(0.7)
    return abdomen, node, contents(node, abdomen)


def _add_segments(abdomen: Abdomen, node: Any, every: int) -> None:
    for organ in _ORGANS:
        mask = abdomen.mask(organ)
        drawn = np.zeros_like(mask)
        slices = np.flatnonzero(mask.any((1, 2)))[::every]
        drawn[slices] = mask[slices]
        add_segment(abdomen, node, organ, drawn)


def _check_between(
    session: Session, abdomen: Abdomen, node: Any, words: str, organs: tuple[str, ...] = _ORGANS
) -> None:
    content = contents(node, abdomen)
    for organ in organs:
        alike = overlap(content.get(organ, np.zeros(abdomen.labels.shape, bool)), abdomen.mask(organ))
        session.checks.check(f"{words}: {organ} is whole", alike >= _ALIKE, f"Dice {alike:.3f}")


def _check_next_slice(session: Session, button: Any, words: str) -> None:
    """The button of the slice to draw next moves the views, where there is one to suggest."""
    if not button.visible:
        session.checks.note(f"{words}: the slice to draw next", "none")
        return
    node = shown_views()["Red"].mrmlSliceNode()
    node.SetSliceOffset(node.GetSliceOffset() + 40.0)
    before = node.GetSliceOffset()
    button.click()
    session.checks.check(f"{words}: '{button.text}' shows it", node.GetSliceOffset() != before, node.GetSliceOffset())


def _cancelled(session: Session, words: str, button: Any, is_on_its_way: Callable[[], bool]) -> Steps:
    """Cancel what was begun, once it has come some way."""
    yield pause(4.0)
    if not is_on_its_way():
        session.checks.note(f"{words} is cancelled", "it was done before")
        return
    watch = Stopwatch()
    session.press(button)
    yield Until(lambda: not is_on_its_way(), f"an end of what was cancelled, {words}", 60)
    session.checks.at_most(f"{words} is cancelled", watch.milliseconds, _PROMPTLY, "ms")
    yield pause(0.5)
