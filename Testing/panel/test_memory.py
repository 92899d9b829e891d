"""What the panel, the console and the effect keep of a run is freed: with the scene, the panel, or the last holder."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.effect import finish, open_effect, options
from support.nodes import misplaced
from support.panel import VALUES, open_panel, phantom, run
from support.slicer_modules import load_module


@pytest.mark.usefixtures("scene")
def test_what_a_run_left_in_memory_goes_with_the_scene(scene):
    volume, _ = phantom()
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter(VALUES))
    logic.segment(volume, "liver; spleen")
    held = [weakref.ref(thing) for thing in (logic.result, logic.result.concepts[0], logic.last.placed)]
    assert logic.canUndo()

    scene.Clear(False)

    assert (logic.last, logic.result, logic.written, logic.messages) == (None, None, None, [])
    assert not logic.canUndo()
    assert logic.writeThreshold(0.3) is None
    until_gone(held)
    again, array = phantom("again")
    node = logic.segment(again, "liver")
    assert misplaced(node, node.GetSegmentation().GetNthSegmentID(0), again, array == 1) == 0


@pytest.mark.usefixtures("scene")
def test_a_logic_that_nobody_holds_is_not_kept_for_the_end_of_the_scene(scene):
    volume, _ = phantom()
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter(VALUES))
    logic.segment(volume, "liver")
    held = [weakref.ref(logic), weakref.ref(logic.result)]

    del logic

    until_gone(held)
    scene.Clear(False)


@pytest.mark.usefixtures("scene")
def test_what_can_be_undone_goes_with_the_scene_whoever_wrote_it(scene):
    volume, _ = phantom()
    logics = [load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter(VALUES)) for _ in range(2)]
    for logic in logics:
        logic.segment(volume, "liver")
    writer = weakref.ref(SegmentWriter.shared())
    logics[0].close()
    assert writer() is SegmentWriter.shared_if_held()
    assert logics[0].canUndo()

    scene.Clear(False)

    until_gone([writer])
    assert not any(logic.canUndo() or logic.undo() for logic in logics)


def until_gone(held):
    """Memory is given back on a thread."""
    for _ in range(200):
        gc.collect()
        if all(reference() is None for reference in held):
            return
        time.sleep(0.01)
    raise AssertionError([reference() for reference in held])


class Waits:
    """Has something done beside the window."""

    def __init__(self):
        from MedSAM3WidgetsLib.background_task import BackgroundTask

        self.background, self.outcome = BackgroundTask(), None
        self.background.start(lambda: 5, self.take, self.take)

    def take(self, outcome):
        self.outcome = outcome


def test_who_had_something_done_beside_the_window_is_freed_when_it_is_done(bench):
    waits = Waits()
    bench.wait(lambda: waits.outcome == 5)
    kept = weakref.ref(waits)

    waits = None

    until_gone([kept])


def test_the_effect_gives_its_volume_back_with_the_scene(bench):
    effect = open_effect(bench)
    options(effect).volumeButton.click()
    finish(effect)
    kept = weakref.ref(effect.effect.session._jobs._volume._placed)
    assert kept() is not None

    bench.slicer.mrmlScene.Clear(False)

    until_gone([kept])


def test_a_closed_panel_lets_go_of_its_last_result(bench):
    """Volume, evidence and masks would stay in memory with each reload otherwise."""
    until_gone(closed_after_a_run(bench))


def closed_after_a_run(bench):
    """References to a panel that was closed and to its last result."""
    phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    run(bench, widget)
    widget.ui.thresholdSlider.bench_drag_to(0.95)
    bench.wait(lambda: widget.panel.previews.is_shown)
    left = weakref.ref(widget.panel), weakref.ref(widget.logic.last.result)
    bench.close_panel(widget)
    return left
