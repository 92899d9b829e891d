"""What the panel keeps and shows of a result until there is another one: undo, previews, a moved threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end as finish_steps
from MedSAM3SceneLib.editing.preview_node import PreviewNode
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml.volumes import read_volume_node
from MedSAM3SceneLib.segments.edited_slices import read_written
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.results.tracks import SliceSource, SuggestedSlice
from support.effect import HeldSegmenter, finish, open_effect, options
from support.nodes import misplaced, segment_in_world, snapshot
from support.panel import LATTICE, SEEN, VALUES, cells, move_threshold, open_panel, phantom, run, segmentations


def opened(bench, segmenter=None):
    return open_panel(bench, segmenter or FakeSegmenter(VALUES, score=0.6))


def shown_voxels(scene):
    """How many voxels the preview shows, None where there is none."""
    found = segmentations(scene, previews=True)
    if not found:
        return None
    return sum(len(segment_in_world(found[0], i)) for i in found[0].GetSegmentation().GetSegmentIDs())


def break_off(bench, widget):
    """Begin a second run and cancel it."""
    held = HeldSegmenter(VALUES, after=3)
    widget.logic.segmenter = held
    widget.ui.applyButton.click()
    bench.wait(held.asked.is_set)
    assert not widget.ui.undoButton.enabled
    assert not widget.ui.thresholdSlider.enabled
    widget.ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert "cancelled" in widget.ui.resultLabel.text


def fail(bench, widget):
    """Begin a second run, which fails."""

    class Broken(FakeSegmenter):
        def segment(self, *_):
            raise ModelError("The model file is damaged; install it again.")

    widget.logic.segmenter = Broken(VALUES)
    widget.ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert bench.dialogs.texts("error")


@pytest.mark.parametrize("ends", [break_off, fail])
def test_a_result_and_its_undo_are_there_until_there_is_another_result(bench, ends):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench)
    run(bench, widget)
    (node,) = segmentations(scene)
    shown, done = cells(widget.ui.resultsTable), snapshot(node)

    ends(bench, widget)

    assert cells(widget.ui.resultsTable) == shown
    assert widget.ui.thresholdSlider.enabled
    assert widget.ui.thresholdSlider.value == pytest.approx(0.5)
    widget.ui.thresholdSlider.bench_drag_to(0.95)
    bench.wait(lambda: shown_voxels(scene) == 0)
    widget.ui.thresholdSlider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)
    assert [row[1] for row in cells(widget.ui.resultsTable)] == ["not found", "not found"]
    widget.ui.undoButton.click()
    assert snapshot(node) == done
    assert widget.ui.undoButton.enabled
    widget.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (False, True)
    widget.ui.redoButton.click()
    assert snapshot(node) == done


def test_a_drag_that_a_run_overtakes_shows_nothing_of_the_old_result(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench)
    run(bench, widget)
    held = HeldSegmenter(VALUES)
    widget.logic.segmenter = held
    widget.ui.thresholdSlider.bench_drag_to(0.4)

    widget.ui.applyButton.click()
    bench.wait(held.asked.is_set)
    bench.spin(0.3)

    assert shown_voxels(scene) is None
    held.may.set()
    bench.wait(lambda: not widget.panel.is_busy)


def test_a_threshold_that_cannot_be_shown_is_told_once_and_the_next_shows(bench, monkeypatch):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench)
    run(bench, widget)
    from MedSAM3PanelLib import threshold_slider

    with_threshold, asked = threshold_slider.with_threshold, []

    def failing(result, threshold):
        asked.append(threshold)
        if threshold > 0.8:
            raise MemoryError("no room")
        return with_threshold(result, threshold)

    monkeypatch.setattr(threshold_slider, "with_threshold", failing)
    widget.ui.thresholdSlider.bench_drag_to(0.9)
    bench.wait(lambda: "no room" in widget.ui.resultLabel.text)
    bench.spin(0.2)

    assert asked == [pytest.approx(0.9)]
    assert shown_voxels(scene) is None
    widget.ui.thresholdSlider.bench_drag_to(0.3)
    bench.wait(lambda: shown_voxels(scene))
    assert not bench.slot_errors


def remove_views(bench):
    scene = bench.slicer.mrmlScene
    removed = [scene.GetNthNodeByClass(n, "vtkMRMLSliceNode") for n in range(3)]
    for node in removed:
        scene.RemoveNode(node)
    return removed


def test_this_slice_is_refused_without_a_view_and_offered_again_with_one(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    segmenter = FakeSegmenter(VALUES)
    widget = opened(bench, segmenter)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    removed = remove_views(bench)
    widget.ui.modeSelector.setCurrentIndex(0)
    assert widget.panel.form.parameters.mode.name == "THIS_SLICE"

    assert not widget.ui.applyButton.enabled
    assert "slice view" in widget.ui.applyButton.toolTip
    widget.panel.apply()
    bench.spin(0.2)
    assert segmenter.requests == []

    for node in removed:
        scene.AddNode(node)
    widget.ui.conceptsEdit.plainText = "left kidney"
    assert widget.ui.applyButton.enabled
    assert widget.ui.viewSelector.count == 3


class Gated(FakeSegmenter):
    """Finds one concept at once, and lets the others wait for a word."""

    def __init__(self):
        super().__init__(VALUES)
        self.held = HeldSegmenter(VALUES)

    def segment(self, volume, request, *told):
        if request.concepts == ("liver",):
            return super().segment(volume, request, *told)
        return self.held.segment(volume, request, *told)


def test_the_console_is_given_its_own_segmentation_whoever_ends_meanwhile(bench, monkeypatch):
    (one, array), (two, _) = phantom("one"), phantom("two")
    segmenter = Gated()
    logic = opened(bench, segmenter).logic
    other = logic.start(two, "left kidney")
    bench.wait(segmenter.held.asked.is_set)
    from MedSAM3WidgetsLib import run_manager

    to_end = run_manager.run_to_end

    def with_the_other_ending_last(run, pump, cancel=None):
        def let_the_other_end():
            pump()
            if run.ended and not other.ended:
                segmenter.held.may.set()
                bench.wait(lambda: other.ended)

        to_end(run, let_the_other_end, cancel)

    monkeypatch.setattr(run_manager, "run_to_end", with_the_other_ending_last)
    node = logic.segment(one, "liver")

    assert other.ended
    assert logic.written.segmentation_node is not node
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert misplaced(node, segmentation.GetNthSegmentID(0), one, array == 1) == 0


def test_selecting_a_segment_while_the_effect_writes_keeps_its_message(bench):
    effect = open_effect(bench)
    segmentation = effect.segmentation.GetSegmentation()
    tag = segmentation.AddObserver(
        segmentation.SourceRepresentationModified, lambda *_: effect.editor.widget.setCurrentSegmentID("spleen")
    )

    options(effect).volumeButton.click()
    finish(effect)
    segmentation.RemoveObserver(tag)

    assert effect.editor.node.GetSelectedSegmentID() == "spleen"
    assert len(segment_in_world(effect.segmentation, "liver")) > 0
    assert read_written(segmentation.GetSegment("liver")) is not None
    assert "nothing was written" not in options(effect).messageLabel.text
    assert "found" in options(effect).messageLabel.text


def test_more_concepts_than_a_byte_counts_are_shown_each_at_its_place(bench):
    volume, _ = phantom()
    concepts = [f"thing {number}" for number in range(300)]
    placed = read_volume_node(volume)
    stack = SliceStack.along(placed.volume.grid)
    preview = PreviewNode(volume, placed, concepts, lambda _: (0.5, 0.5, 0.5))
    for number, index in ((43, 2), (299, 5)):
        preview.show_slice(concepts[number], stack, index, np.ones(stack.slice_shape, bool))
    preview.repaint()

    for number, index in ((43, 2), (299, 5)):
        only = np.zeros(placed.volume.grid.shape, bool)
        stack.extract(only)[index] = True
        segment_id = preview.node.GetSegmentation().GetNthSegmentID(number)
        assert misplaced(preview.node, segment_id, volume, only) == 0
    empty = preview.node.GetSegmentation().GetNthSegmentID(298)
    assert len(segment_in_world(preview.node, empty)) == 0
    assert bench is not None


def test_a_preview_leaves_nothing_behind(bench):
    volume, _ = phantom()
    scene = bench.slicer.mrmlScene
    before = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode")
    preview = PreviewNode(volume, read_volume_node(volume), ["liver"], lambda _: (0.5, 0.5, 0.5))
    PreviewNode(volume, read_volume_node(volume), ["liver"], lambda _: (0.5, 0.5, 0.5)).remove()

    assert not preview.is_there
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == before


@pytest.mark.parametrize("where", ["panel", "effect"])
def test_a_preview_that_fails_does_not_end_the_run(bench, monkeypatch, caplog, where):
    calls = []

    def failing(*_):
        calls.append(1)
        raise OverflowError("too many")

    monkeypatch.setattr(PreviewNode, "show_slice", failing)
    if where == "panel":
        volume, array = phantom()
        widget = opened(bench)
        run(bench, widget, "liver")
        (node,) = segmentations(bench.slicer.mrmlScene)
        assert misplaced(node, node.GetSegmentation().GetNthSegmentID(0), volume, array == 1) == 0
    else:
        effect = open_effect(bench)
        effect.effect.engine = lambda: LocalEngine(effect.segmenter)
        options(effect).volumeButton.click()
        finish(effect)
        assert len(segment_in_world(effect.segmentation, "liver")) > 0

    assert len(calls) == 1, "it is not tried again for each slice"
    assert "cannot be shown" in caplog.text
    assert segmentations(bench.slicer.mrmlScene, previews=True) == []


def test_a_deleted_segment_does_not_come_back_with_a_moved_threshold(bench):
    volume, array = phantom()
    widget = opened(bench)
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    segmentation = node.GetSegmentation()
    segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName("liver"))

    widget.ui.thresholdSlider.bench_drag_to(0.3)
    bench.wait(lambda: shown_voxels(bench.slicer.mrmlScene) == (array == 2).sum())
    move_threshold(bench, widget, 0.4)

    assert segmentation.GetNumberOfSegments() == 1
    kidney = segmentation.GetSegmentIdBySegmentName("left kidney")
    assert misplaced(node, kidney, volume, array == 2) == 0
    assert [row[0] for row in cells(widget.ui.resultsTable)] == ["left kidney"]
    assert "'liver' was left out" in widget.ui.resultLabel.text


def test_all_segments_come_back_with_a_moved_threshold_after_undo(bench):
    phantom()
    widget = opened(bench)
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    done = snapshot(node)
    widget.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert widget.ui.resultLabel.text == "Undone. The results below are still those of what was undone."
    widget.ui.redoButton.click()
    assert snapshot(node) == done
    assert widget.ui.resultLabel.text == ""
    widget.ui.undoButton.click()

    move_threshold(bench, widget, 0.4)

    names = [node.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["liver", "left kidney"]


def test_undoing_a_moved_threshold_restores_what_was_drawn_in_the_result(bench):
    volume, array = phantom()
    widget = opened(bench)
    run(bench, widget, "liver")
    (node,) = segmentations(bench.slicer.mrmlScene)
    liver = node.GetSegmentation().GetNthSegmentID(0)
    drawn = array == 1
    drawn[5] = False
    writer = SegmentWriter()
    writer.begin(node, volume)
    finish_steps(writer.write(liver, drawn, LATTICE))
    edited = snapshot(node)

    move_threshold(bench, widget, 0.4)
    assert misplaced(node, liver, volume, array == 1) == 0
    widget.ui.undoButton.click()

    assert snapshot(node) == edited
    assert misplaced(node, liver, volume, drawn) == 0


@pytest.mark.parametrize("what", ["volume", "segmentation"])
def test_the_threshold_of_a_result_whose_nodes_are_gone_cannot_be_moved(bench, what):
    volume, _ = phantom()
    widget = opened(bench)
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    assert widget.ui.thresholdSlider.enabled

    bench.slicer.mrmlScene.RemoveNode(volume if what == "volume" else node)

    assert not widget.ui.thresholdSlider.enabled
    with pytest.raises(InputError, match="not in the scene any more"):
        widget.logic.writeThreshold(0.3)
    widget.panel.results.go_to_slice(3)
    assert widget.ui.resultsTable.rowCount == 2


def test_a_result_of_fewer_concepts_shows_its_own_rows_and_scores(bench):
    phantom()
    widget = opened(bench)
    run(bench, widget, "liver; left kidney; a very long phrase that is looked for; aorta")
    widget.ui.resultsTable.selectRow(2)
    assert "very long" in widget.ui.conceptMessageLabel.text

    run(bench, widget, "left kidney")

    assert [row[:3] for row in cells(widget.ui.resultsTable)] == [["left kidney", "found", "0.60"]]
    assert widget.ui.conceptMessageLabel.text == f"'left kidney' was found on 5 slices. {SEEN}"
    assert widget.panel.results.plot._concept == "left kidney"


class SuggestingSegmenter(FakeSegmenter):
    """Suggests slice 7 of the liver and none of anything else."""

    def segment(self, *arguments, **options):
        result = super().segment(*arguments, **options)
        suggested = SuggestedSlice(7, SliceSource.DETECTED, 12.0, None)
        concepts = tuple(
            replace(one, next_slice=suggested) if one.concept == "liver" else one for one in result.concepts
        )
        return replace(result, concepts=concepts)


def test_the_button_goes_to_the_slice_of_the_selected_concept_to_draw_next(bench):
    phantom()
    widget = opened(bench, SuggestingSegmenter(VALUES, score=0.6))
    assert not widget.ui.nextSliceButton.visible
    run(bench, widget)
    assert widget.ui.nextSliceButton.visible
    assert "Correcting slice 7 would help most: it is detected" in widget.ui.conceptMessageLabel.text
    widget.ui.nextSliceButton.click()
    red = bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceToRAS().GetElement(2, 3) / 3 == pytest.approx(7)
    widget.ui.resultsTable.selectRow(1)
    assert not widget.ui.nextSliceButton.visible
    bench.slicer.mrmlScene.Clear(False)
    assert not widget.ui.nextSliceButton.visible
