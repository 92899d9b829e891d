"""What a user did beside the panel since its last run: edits that a run or threshold would replace, another volume."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.request import Mode
from support.nodes import misplaced, segments, snapshot
from support.panel import (
    VALUES,
    draw,
    fill_by_effect,
    held_after,
    move_threshold,
    open_panel,
    phantom,
    run,
    segmentations,
)


def opened_after_a_run(bench):
    """The panel, the volume and its voxels, and the segmentation with liver and left kidney at a score of 0.6."""
    volume, array = phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    return widget, volume, array, node


def test_edits_are_kept_until_the_user_lets_a_threshold_replace_them(bench):
    widget, volume, array, node = opened_after_a_run(bench)
    drawn = array == 1
    drawn[5] = False
    draw(node, volume, "liver", drawn)
    edited = snapshot(node)

    bench.dialogs.confirm = False
    move_threshold(bench, widget, 0.4)

    (question,) = bench.dialogs.texts("question")
    assert "liver" in question
    assert "kidney" not in question
    assert snapshot(node) == edited
    assert widget.ui.thresholdSlider.value == pytest.approx(0.5)
    assert "left as it was" in widget.ui.resultLabel.text
    assert bench.dialogs.texts("error") == []

    bench.dialogs.confirm = True
    move_threshold(bench, widget, 0.4)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    # What the program wrote itself is nothing to ask about.
    move_threshold(bench, widget, 0.3)
    assert len(bench.dialogs.texts("question")) == 2
    widget.ui.undoButton.click()
    widget.ui.undoButton.click()
    assert snapshot(node) == edited


@pytest.mark.parametrize("change", ["nothing", "undo", "another segment", "another name"])
def test_nobody_is_asked_where_no_edit_would_be_lost(bench, change):
    widget, volume, array, node = opened_after_a_run(bench)
    match change:
        case "undo":
            widget.ui.undoButton.click()
        case "another segment":
            node.GetSegmentation().AddEmptySegment("", "mine")
            draw(node, volume, "mine", array == 0)
        case "another name":
            node.GetSegmentation().GetSegment(segments(node)["liver"]).SetName("Hepar")

    move_threshold(bench, widget, 0.4)

    assert bench.dialogs.texts("question") == []
    assert widget.logic.result.provenance.threshold == pytest.approx(0.4)


def test_a_segment_that_the_effect_changed_is_asked_about_too(bench):
    widget, volume, _, node = opened_after_a_run(bench)
    fill_by_effect(bench, volume, node)
    changed = snapshot(node)

    bench.dialogs.confirm = False
    move_threshold(bench, widget, 0.4)

    assert len(bench.dialogs.texts("question")) == 1
    assert snapshot(node) == changed


def test_another_run_asks_before_it_takes_the_place_of_edits(bench):
    """Who adds a concept to the list and presses Apply wants the corrected ones to stay."""
    widget, volume, array, node = opened_after_a_run(bench)
    drawn = array == 1
    drawn[5] = False
    draw(node, volume, "liver", drawn)
    edited, asked = snapshot(node), len(widget.logic.segmenter.requests)

    bench.dialogs.confirm = False
    run(bench, widget, "liver; left kidney; spleen")

    (question,) = bench.dialogs.texts("question")
    assert "liver" in question
    assert "kidney" not in question
    assert (snapshot(node), len(widget.logic.segmenter.requests)) == (edited, asked)
    assert widget.ui.resultLabel.text == "Nothing was segmented, and what was edited is as it was."
    assert bench.dialogs.texts("error") == []
    # The others can be looked for without a question, and the corrected one too once the user agrees.
    run(bench, widget, "left kidney; spleen")
    assert misplaced(node, segments(node)["liver"], volume, drawn) == 0
    bench.dialogs.confirm = True
    run(bench, widget, "liver")
    assert len(bench.dialogs.texts("question")) == 2
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0


def test_a_run_of_one_slice_asks_before_it_removes_other_slices_of_a_run(bench):
    widget, volume, array, node = opened_after_a_run(bench)
    done, ui = snapshot(node), widget.ui
    ui.rangeCheckBox.click()
    ui.firstSliceBox.value = ui.lastSliceBox.value = 5

    bench.dialogs.confirm = False
    run(bench, widget, "liver")

    assert len(bench.dialogs.texts("question")) == 1
    assert snapshot(node) == done
    bench.dialogs.confirm = True
    run(bench, widget, "liver")
    only = array == 1
    only[:5] = only[6:] = False
    assert misplaced(node, segments(node)["liver"], volume, only) == 0
    # What lies within what is looked at comes back, or is not there.
    ui.firstSliceBox.value = 4
    run(bench, widget, "liver")
    assert len(bench.dialogs.texts("question")) == 2


def test_a_run_from_what_was_drawn_does_not_ask_about_it(bench):
    widget, volume, array, node = opened_after_a_run(bench)
    drawn = array == 1
    drawn[5] = False
    draw(node, volume, "liver", drawn)
    widget.ui.modeSelector.setCurrentIndex(widget.ui.modeSelector.findText("From prompts"))

    run(bench, widget, "liver")

    assert bench.dialogs.texts("question") == []
    (request,) = widget.logic.segmenter.requests[1:]
    assert request.mode is Mode.FROM_PROMPTS


@pytest.mark.parametrize("begins", ["run", "threshold"])
def test_a_scene_that_is_closed_over_the_question_ends_what_asked_it(bench, begins):
    widget, volume, array, node = opened_after_a_run(bench)
    draw(node, volume, "liver", array == 2)
    asked = len(widget.logic.segmenter.requests)

    def close_scene(names):
        bench.slicer.mrmlScene.Clear(False)
        return bool(names)

    ended = []
    if begins == "run":
        job = widget.logic.start(volume, "liver", node, onFailed=ended.append, onEdited=close_scene)
    else:
        job = widget.logic.writeThreshold(0.4, onFailed=ended.append, onEdited=close_scene)
    bench.wait(lambda: job.ended)
    bench.spin(0.1)

    (error,) = ended
    assert isinstance(error, Cancelled)
    assert len(widget.logic.segmenter.requests) == asked
    assert segmentations(bench.slicer.mrmlScene) == []


def test_the_console_replaces_edits_without_a_question_or_asks_its_own(bench):
    widget, volume, array, node = opened_after_a_run(bench)
    drawn = array == 1
    drawn[5] = False
    draw(node, volume, "liver", drawn)
    edited, asked = snapshot(node), []

    job = widget.logic.writeThreshold(0.4, onEdited=lambda names: asked.extend(names))
    bench.wait(lambda: job.ended)
    assert (asked, snapshot(node)) == (["liver"], edited)
    job = widget.logic.writeThreshold(0.4)
    bench.wait(lambda: job.ended)

    assert bench.dialogs.texts("question") == []
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0


def test_another_volume_begins_with_a_segmentation_of_its_own(bench):
    """Or the segments of one patient would be among those of another."""
    first, _ = phantom("first patient")
    second, array = phantom("second patient")
    widget = open_panel(bench)
    ui = widget.ui
    ui.volumeSelector.setCurrentNode(first)
    run(bench, widget)
    (of_first,) = segmentations(bench.slicer.mrmlScene)
    assert ui.segmentationSelector.currentNode() is of_first
    done = snapshot(of_first)

    ui.volumeSelector.setCurrentNode(second)
    assert ui.segmentationSelector.currentNode() is None
    run(bench, widget)

    of_second = ui.segmentationSelector.currentNode()
    assert snapshot(of_first) == done
    assert of_second is not of_first
    assert misplaced(of_second, segments(of_second)["liver"], second, array == 1) == 0
    # Who wants both in one chooses it, and a volume that is gone leaves nobody in doubt.
    ui.segmentationSelector.setCurrentNode(of_first)
    run(bench, widget)
    assert of_first.GetSegmentation().GetNumberOfSegments() == 4
    bench.slicer.mrmlScene.RemoveNode(second)
    assert ui.volumeSelector.currentNode() is first
    assert ui.segmentationSelector.currentNode() is of_first


def test_who_goes_back_to_a_volume_gets_its_segmentation_back(bench):
    first, _ = phantom("first")
    second, _ = phantom("second")
    widget = open_panel(bench)
    ui, scene = widget.ui, bench.slicer.mrmlScene
    ui.volumeSelector.setCurrentNode(first)
    run(bench, widget)
    (of_first,) = segmentations(scene)
    ui.volumeSelector.setCurrentNode(second)
    assert ui.segmentationSelector.currentNode() is None

    ui.volumeSelector.setCurrentNode(first)
    assert ui.segmentationSelector.currentNode() is of_first
    ui.volumeSelector.setCurrentNode(second)
    run(bench, widget)
    of_second = ui.segmentationSelector.currentNode()
    bench.leave(widget)  # as who corrects the result in the Segment Editor
    bench.enter(widget)
    for volume, segmentation in ((first, of_first), (second, of_second), (first, of_first)):
        ui.volumeSelector.setCurrentNode(volume)
        assert ui.segmentationSelector.currentNode() is segmentation

    # Who wanted a new one for a volume still wants it, and one that was deleted is not chosen.
    ui.segmentationSelector.setCurrentNode(None)
    ui.volumeSelector.setCurrentNode(second)
    ui.volumeSelector.setCurrentNode(first)
    assert ui.segmentationSelector.currentNode() is None
    scene.RemoveNode(of_second)
    ui.volumeSelector.setCurrentNode(second)
    assert ui.segmentationSelector.currentNode() is None


def test_a_segmentation_that_was_made_over_no_volume_stays_chosen(bench):
    first, _ = phantom("first")
    second, _ = phantom("second")
    widget = open_panel(bench)
    own = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    widget.ui.volumeSelector.setCurrentNode(first)
    widget.ui.segmentationSelector.setCurrentNode(own)

    widget.ui.volumeSelector.setCurrentNode(second)

    assert widget.ui.segmentationSelector.currentNode() is own


def test_a_volume_chosen_during_a_run_does_not_get_the_runs_segmentation(bench):
    first, array = phantom("first")
    second, _ = phantom("second")
    held = held_after(4)
    widget = open_panel(bench, held)
    widget.ui.volumeSelector.setCurrentNode(first)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(held.asked.is_set)

    widget.ui.volumeSelector.setCurrentNode(second)
    held.may.set()
    bench.wait(lambda: not widget.panel.is_busy)

    (node,) = segmentations(bench.slicer.mrmlScene)
    assert misplaced(node, segments(node)["liver"], first, array == 1) == 0
    assert widget.ui.volumeSelector.currentNode() is second
    assert widget.ui.segmentationSelector.currentNode() is None
    assert widget.ui.thresholdSlider.enabled
    widget.ui.volumeSelector.setCurrentNode(first)
    assert widget.ui.segmentationSelector.currentNode() is node
