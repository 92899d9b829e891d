"""Segments that a person marked as completed: nothing is written into them without a yes, by any door."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.segments.completed import COMPLETED, STATUS_TAG
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled, InputError
from support.nodes import misplaced, segments, snapshot
from support.panel import VALUES, draw, move_threshold, open_panel, phantom, run, segmentations
from support.segment_writing import edit_settings


def complete(node, name, status=COMPLETED):
    node.GetSegmentation().GetSegment(segments(node)[name]).SetTag(STATUS_TAG, status)


@pytest.fixture
def completed(bench):
    """The panel, the volume, its voxels, and a segmentation whose liver is completed and was begun again since."""
    volume, array = phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    complete(node, "liver")
    return widget, volume, array, node


@pytest.mark.parametrize("status", ["notstarted", "inprogress", "flagged"])
def test_only_completed_segments_are_asked_about(bench, completed, status):
    widget, _, _, node = completed
    complete(node, "liver", status)
    run(bench, widget)
    assert bench.dialogs.texts("question") == []


def test_a_run_asks_first_and_a_no_leaves_everything(bench, completed):
    widget, volume, array, node = completed
    before, asked = snapshot(node), len(widget.logic.segmenter.requests)
    bench.dialogs.confirm = False
    run(bench, widget)
    (question,) = bench.dialogs.texts("question")
    assert "completed" in question
    assert "liver" in question
    assert "kidney" not in question
    assert (snapshot(node), len(widget.logic.segmenter.requests)) == (before, asked)
    assert widget.ui.resultLabel.text == "Nothing was written, and what is completed is as it was."
    # Others are looked for without a question, and the completed one after a yes.
    run(bench, widget, "left kidney")
    assert len(bench.dialogs.texts("question")) == 1
    bench.dialogs.confirm = True
    run(bench, widget)
    assert len(bench.dialogs.texts("question")) == 2
    assert len(widget.logic.segmenter.requests) == asked + 2
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0


def test_a_moved_threshold_asks_too(bench, completed):
    widget, _, _, node = completed
    before = snapshot(node)
    bench.dialogs.confirm = False
    move_threshold(bench, widget, 0.4)
    assert len(bench.dialogs.texts("question")) == 1
    assert snapshot(node) == before
    assert widget.ui.thresholdSlider.value == pytest.approx(0.5)


def test_the_console_refuses_and_says_what_to_pass(completed):
    widget, volume, array, node = completed
    before = snapshot(node)
    for mode in ("slices", "propagate", "from prompts"):
        with pytest.raises(InputError, match=r"'liver' is marked as completed.*replaceCompleted=True"):
            widget.logic.segment(volume, ["liver"], node, mode=mode)
    with pytest.raises(InputError, match="replaceCompleted=True"):
        widget.logic.segment(volume, ["Liver"], node, grouping="one segment per concept")
    assert snapshot(node) == before
    widget.logic.segment(volume, ["left kidney"], node)
    widget.logic.segment(volume, ["liver"], node, replaceCompleted=True)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0


def test_who_is_asked_decides_for_runs_that_go_on_by_themselves(bench, completed):
    widget, volume, _, node = completed
    before, failed, asked = snapshot(node), [], []
    job = widget.logic.start(volume, ["liver"], node, onFailed=failed.append)
    bench.wait(lambda: job.ended)
    assert isinstance(failed[0], InputError)
    job = widget.logic.start(
        volume, ["liver"], node, onFailed=failed.append, onEdited=lambda names: asked.extend(names)
    )
    bench.wait(lambda: job.ended)
    assert isinstance(failed[1], Cancelled)
    assert asked == ["liver"]
    assert snapshot(node) == before
    job = widget.logic.start(volume, ["liver"], node, onFailed=failed.append, replaceCompleted=True)
    bench.wait(lambda: job.ended)
    assert len(failed) == 2
    job = widget.logic.writeThreshold(0.4, onFailed=failed.append)
    bench.wait(lambda: job.ended)
    assert isinstance(failed[2], InputError)
    job = widget.logic.writeThreshold(0.4, onFailed=failed.append, replaceCompleted=True)
    bench.wait(lambda: job.ended)
    assert len(failed) == 3


def test_edits_and_completed_ones_are_one_question(bench, completed):
    widget, volume, array, node = completed
    drawn = array == 2
    drawn[5] = False
    draw(node, volume, "left kidney", drawn)
    bench.dialogs.confirm = False
    run(bench, widget)
    (question,) = bench.dialogs.texts("question")
    assert "left kidney" in question
    assert "liver" in question


def test_a_completed_neighbour_loses_nothing_to_another_segment(bench, completed):
    """Also where the Segment Editor has the segmentation open and overwrites all other segments."""
    widget, volume, array, node = completed
    editor = edit_settings(node, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    widget.logic.segmenter = FakeSegmenter({"tumor": 1})
    run(bench, widget, "tumor")
    assert misplaced(node, segments(node)["tumor"], volume, array == 1) == 0
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    complete(node, "liver", "inprogress")
    complete(node, "tumor", "inprogress")
    run(bench, widget, "tumor")
    held = bench.slicer.util.arrayFromSegmentBinaryLabelmap(node, segments(node)["liver"], volume)
    assert not np.any(held)
