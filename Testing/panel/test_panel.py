"""The real panel on the bench: what a user clicks, sees and gets, with a segmenter without a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import ModelError
from support.nodes import add_segmentation, add_volume, misplaced, segment_in_world, segments, snapshot
from support.panel import SEEN, begin, cells, held_after, open_panel, phantom, run, segmentations
from support.slicer_modules import load_module


def test_apply_says_why_it_cannot_be_pressed(bench):
    widget = open_panel(bench)
    assert not widget.ui.applyButton.enabled
    assert "volume" in widget.ui.applyButton.toolTip

    phantom()
    assert not widget.ui.applyButton.enabled
    assert "concept" in widget.ui.applyButton.toolTip

    widget.ui.conceptsEdit.plainText = " ; "
    assert not widget.ui.applyButton.enabled
    widget.ui.conceptsEdit.plainText = "liver"
    assert widget.ui.applyButton.enabled


def test_a_run_from_the_click_to_the_segments(bench):
    volume, array = phantom()
    widget = open_panel(bench)

    run(bench, widget, "liver; left kidney; pancreas")

    (node,) = segmentations(bench.slicer.mrmlScene)
    found = segments(node)
    assert list(found) == ["liver", "left kidney"]
    assert misplaced(node, found["liver"], volume, array == 1) == 0
    assert misplaced(node, found["left kidney"], volume, array == 2) == 0
    assert widget.ui.segmentationSelector.currentNode() is node
    rows = cells(widget.ui.resultsTable)
    assert [row[:3] for row in rows] == [
        ["liver", "found", "0.90"],
        ["left kidney", "found", "0.90"],
        ["pancreas", "not found", "0.00"],
    ]
    assert float(rows[0][3]) == pytest.approx((array == 1).sum() * 12 / 1000, abs=0.05)
    assert rows[2][3] == ""
    assert widget.ui.conceptMessageLabel.text == f"'liver' was found on 7 slices. {SEEN}"
    widget.ui.resultsTable.selectRow(2)
    assert widget.ui.conceptMessageLabel.text == f"'pancreas' was not found on any slice. {SEEN}"
    assert widget.ui.resultsTable.item(0, 0).toolTip() == "liver: 'liver' was found on 7 slices."
    assert not widget.ui.progressBar.visible
    assert bench.dialogs.texts("error") == []


def test_cancel_leaves_the_scene_as_it_was(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(mine)
    widget = begin(bench, held_after(5), mine)
    bench.wait(lambda: segmentations(scene, previews=True))

    widget.ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    assert snapshot(mine) == before
    assert segmentations(scene) == [mine]
    assert segmentations(scene, previews=True) == []
    assert "cancelled" in widget.ui.resultLabel.text
    assert bench.dialogs.texts("error") == []
    assert widget.ui.applyButton.enabled


def test_a_failure_is_shown_in_words_and_the_next_run_works(bench):
    class Broken(FakeSegmenter):
        def segment(self, *_):
            raise ModelError("The model file is damaged; install it again.")

    phantom()
    widget = open_panel(bench, Broken({}))
    run(bench, widget, "liver; left kidney; pancreas")

    assert bench.dialogs.texts("error") == ["The model file is damaged; install it again."]
    assert segmentations(bench.slicer.mrmlScene) == []
    assert segmentations(bench.slicer.mrmlScene, previews=True) == []
    widget.logic.segmenter = FakeSegmenter({"liver": 1})
    run(bench, widget, "liver; left kidney; pancreas")
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


def test_a_second_click_does_nothing(bench):
    phantom()
    segmenter = held_after(5)
    widget = begin(bench, segmenter)
    widget.panel.apply()
    widget.panel.preview_slice()
    bench.wait(segmenter.asked.is_set)
    widget.panel.apply()
    widget.panel.preview_slice()

    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segmenter.requests) == 1
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


@pytest.mark.parametrize("what", ["scene", "volume", "segmentation"])
def test_what_disappears_during_a_run_does_no_harm(bench, what):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    segmenter = held_after(5)
    widget = begin(bench, segmenter, mine)
    bench.wait(lambda: segmentations(scene, previews=True))

    if what == "scene":
        scene.Clear(False)
    else:
        scene.RemoveNode(volume if what == "volume" else mine)
    bench.wait(lambda: not widget.panel.is_busy)
    bench.spin(0.5)

    assert segmentations(scene, previews=True) == []
    assert len(segmentations(scene)) == (1 if what == "volume" else 0)
    assert bench.dialogs.texts("error") == []
    again, array = phantom("again")
    widget.panel.form.parameters.volume = again
    segmenter.may.set()
    run(bench, widget, "liver")
    node = widget.logic.written.segmentation_node
    assert misplaced(node, segments(node)["liver"], again, array == 1) == 0


def test_a_run_goes_on_while_another_module_is_shown(bench):
    volume, array = phantom()
    segmenter = held_after(5)
    widget = begin(bench, segmenter)
    bench.wait(segmenter.asked.is_set)

    bench.leave(widget)
    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)
    bench.enter(widget)

    (node,) = segmentations(bench.slicer.mrmlScene)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    assert widget.ui.resultsTable.rowCount == 1
    assert widget.ui.conceptsEdit.plainText == "liver"


def test_a_module_that_is_loaded_again_during_a_run_drops_it(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    segmenter = held_after(5)
    widget = begin(bench, segmenter)
    bench.wait(lambda: segmentations(scene, previews=True))

    bench.close_panel(widget)
    segmenter.may.set()
    bench.spin(0.3)

    assert segmentations(scene) == []
    assert segmentations(scene, previews=True) == []
    run(bench, open_panel(bench), "liver")
    assert len(segmentations(scene)) == 1


def test_a_module_that_is_loaded_again_keeps_nothing_of_the_last_run(bench):
    phantom()
    widget = open_panel(bench)
    run(bench, widget, "liver")
    last = widget.logic.last
    assert last.result is not None

    bench.close_panel(widget)

    assert (last.result, last.placed) == (None, None), "they are as large as the volume"
    assert widget.logic.last is None


def test_undo_and_redo_restore_the_segmentation_bit_for_bit(bench):
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(mine)
    widget = open_panel(bench)
    widget.panel.form.parameters.segmentation = mine
    run(bench, widget, "liver; left kidney; pancreas")
    after = snapshot(mine)
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (True, False)

    widget.ui.undoButton.click()
    assert snapshot(mine) == before
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (False, True)
    widget.ui.redoButton.click()
    assert snapshot(mine) == after
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (True, False)


def test_a_parameter_node_that_is_gone_during_a_run_does_no_harm(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    segmenter = held_after(5)
    widget = begin(bench, segmenter)
    bench.wait(lambda: segmentations(scene, previews=True))

    scene.RemoveNode(widget.logic.getParameterNode())
    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segmentations(scene)) == 1
    bench.leave(widget)
    bench.enter(widget)
    run(bench, widget, "liver")
    assert bench.dialogs.texts("error") == []


def test_a_console_job_takes_the_place_of_an_older_one(bench):
    volume, _ = phantom()
    segmenter = held_after(5)
    logic = open_panel(bench, segmenter).logic
    done, failed = [], []

    first = logic.start(volume, "liver", onDone=done.append, onFailed=failed.append)
    bench.wait(segmenter.asked.is_set)
    second = logic.start(volume, "left kidney", onDone=done.append, onFailed=failed.append)
    segmenter.may.set()
    bench.wait(lambda: second.ended)

    assert first.ended
    assert [str(error) for error in failed] == ["A newer run took the place of this one; nothing was written."]
    assert done == [second.run]
    (node,) = segmentations(bench.slicer.mrmlScene)
    assert list(segments(node)) == ["left kidney"]


def test_the_console_waits_with_the_window_alive(bench):
    import qt

    volume, _ = phantom()
    segmenter = held_after(5)
    logic = open_panel(bench, segmenter).logic
    ticks, refused = [], []
    timer = qt.QTimer()
    timer.setInterval(10)

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            try:
                logic.segment(volume, "liver")
            except Exception as error:
                refused.append(str(error))
        if len(ticks) == 6:
            segmenter.may.set()

    timer.connect("timeout()", tick)
    timer.start()

    node = logic.segment(volume, ["liver"])
    timer.stop()

    assert list(segments(node)) == ["liver"]
    assert len(ticks) > 5
    assert len(refused) == 1
    assert "waited for already" in refused[0]


def test_a_color_picture_is_segmented_and_two_values_per_voxel_are_refused(bench):
    array = np.zeros((1, 20, 22, 3), np.uint8)
    array[0, 4:9, 5:12] = 1

    class ByRed(FakeSegmenter):
        def segment(self, volume, request, *told):
            return super().segment(replace(volume, array=volume.array[..., 0]), request, *told)

    add_volume(array, name="photo")
    odd = add_volume(np.zeros((2, 4, 5, 2), np.uint8), name="odd")
    widget = open_panel(bench, ByRed({"liver": 1}))

    run(bench, widget, "liver")
    (node,) = segmentations(bench.slicer.mrmlScene)
    assert len(segment_in_world(node, segments(node)["liver"])) == 5 * 7
    widget.ui.volumeSelector.setCurrentNode(odd)
    run(bench, widget, "liver")
    assert "2 values" in bench.dialogs.texts("error")[0]
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


def test_the_self_test_of_the_module_passes_with_widgets(bench):
    load_module("MedSAM3Segment").MedSAM3SegmentTest().runTest()

    # Nothing of it is left to whoever works on.
    scene = bench.slicer.mrmlScene
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert segmentations(scene) == segmentations(scene, previews=True) == []
