"""The real panel on the bench: what a user clicks, sees and gets, with a segmenter without a model."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SceneLib.preview_segmentation import PREVIEW_ATTRIBUTE
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.request import AssemblyOptions, Grouping, Mode, Progress, Stage
from scene_nodes import add_segmentation, add_volume, misplaced, segment_in_world, snapshot
from slicer_stand_ins import load_module

LATTICE = np.diag([-2.0, -2.0, 3.0, 1.0])


def phantom(name="ct"):
    array = np.zeros((12, 20, 22), np.int16)
    array[2:9, 2:10, 2:12] = 1
    array[3:8, 12:18, 14:20] = 2
    return add_volume(array, ijk_to_ras=LATTICE, name=name), array


def opened(bench, segmenter=None):
    """The panel with a fake segmenter; what it needs is installed."""
    widget = bench.open_panel("MedSAM3Segment")
    widget.logic.segmenter = segmenter or FakeSegmenter({"liver": 1, "left kidney": 2})
    return widget


def slow(seconds=0.03):
    return FakeSegmenter({"liver": 1, "left kidney": 2}, seconds_a_slice=seconds)


def run(bench, widget, concepts="liver; left kidney; pancreas"):
    widget.ui.conceptsEdit.plainText = concepts
    widget.ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)


def segments(node):
    segmentation = node.GetSegmentation()
    return {segmentation.GetSegment(i).GetName(): i for i in segmentation.GetSegmentIDs()}


def segmentations(scene, previews=False):
    nodes = [
        scene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    return [node for node in nodes if bool(node.GetAttribute(PREVIEW_ATTRIBUTE)) is previews]


def shown_voxels(scene, concept):
    """How many voxels of a concept the preview shows."""
    (preview,) = segmentations(scene, previews=True) or (None,)
    return 0 if preview is None else len(segment_in_world(preview, segments(preview)[concept]))


def cells(table):
    return [[table.item(row, column).text() for column in range(4)] for row in range(table.rowCount)]


def test_apply_says_why_it_cannot_be_pressed(bench):
    widget = opened(bench)
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
    widget = opened(bench)

    run(bench, widget)

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
    assert widget.ui.conceptMessageLabel.text == "'liver' was found on 7 slices."
    widget.ui.resultsTable.selectRow(2)
    assert widget.ui.conceptMessageLabel.text == "'pancreas' was not found on any slice."
    assert widget.ui.resultsTable.item(0, 0).toolTip() == "liver: 'liver' was found on 7 slices."
    assert not widget.ui.progressBar.visible
    assert bench.dialogs.texts("error") == []


def test_progress_and_partial_slices_show_while_it_runs_and_are_gone_after(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(mine)
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.panel.form.parameters.segmentation = mine

    widget.ui.applyButton.click()
    bench.wait(lambda: "of 12" in widget.ui.progressLabel.text and shown_voxels(scene, "liver"))

    assert 0 < shown_voxels(scene, "liver") <= (array == 1).sum()
    assert snapshot(mine) == before
    assert widget.ui.progressBar.visible
    assert 0 < widget.ui.progressBar.value < widget.ui.progressBar.maximum
    assert not widget.ui.applyButton.enabled
    assert widget.ui.cancelButton.enabled
    assert widget.ui.segmentationSelector.nodeCount() == 1, "a preview is not offered"

    bench.wait(lambda: not widget.panel.is_busy)
    assert segmentations(scene, previews=True) == []
    assert list(segments(mine)) == ["mine", "liver"]


def test_partial_slices_are_drawn_over_the_volume_and_taken_away(bench):
    volume, array = phantom()
    widget = opened(bench, slow(0.05))
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(12.0)
    empty = bench.render("Red")
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(lambda: "Slice 10" in widget.ui.progressLabel.text)
    widget.panel.previews._preview.repaint()

    drawn = bench.render("Red")
    widget.ui.cancelButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    share = (drawn != empty).any(axis=2).mean()
    whole = (empty > 0).any(axis=2).mean()
    assert share > 0.5 * (array[4] == 1).mean() * whole
    assert (bench.render("Red") == empty).all()


def test_cancel_leaves_the_scene_as_it_was(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(mine)
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.panel.form.parameters.segmentation = mine
    widget.ui.applyButton.click()
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
    widget = opened(bench, Broken({}))
    run(bench, widget)

    assert bench.dialogs.texts("error") == ["The model file is damaged; install it again."]
    assert segmentations(bench.slicer.mrmlScene) == []
    assert segmentations(bench.slicer.mrmlScene, previews=True) == []
    widget.logic.segmenter = FakeSegmenter({"liver": 1})
    run(bench, widget)
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


def test_a_second_click_does_nothing(bench):
    phantom()
    segmenter = slow()
    widget = opened(bench, segmenter)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    widget.panel.apply()
    widget.panel.preview_slice()

    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segmenter.requests) == 1
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


@pytest.mark.parametrize("what", ["scene", "volume", "segmentation"])
def test_what_disappears_during_a_run_does_no_harm(bench, what):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    mine = add_segmentation(volume, {"mine": array == 2})
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.panel.form.parameters.segmentation = mine
    widget.ui.applyButton.click()
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
    run(bench, widget, "liver")
    node = widget.logic.written.segmentation_node
    assert misplaced(node, segments(node)["liver"], again, array == 1) == 0


def test_a_run_goes_on_while_another_module_is_shown(bench):
    volume, array = phantom()
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()

    bench.leave(widget)
    bench.wait(lambda: not widget.panel.is_busy)
    bench.enter(widget)

    (node,) = segmentations(bench.slicer.mrmlScene)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    assert widget.ui.resultsTable.rowCount == 1
    assert widget.ui.conceptsEdit.plainText == "liver"


def test_a_module_that_is_loaded_again_during_a_run_drops_it(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(lambda: segmentations(scene, previews=True))

    bench.close_panel(widget)
    bench.spin(0.6)

    assert segmentations(scene) == []
    assert segmentations(scene, previews=True) == []
    run(bench, opened(bench), "liver")
    assert len(segmentations(scene)) == 1


def test_a_module_that_is_loaded_again_keeps_nothing_of_the_last_run(bench):
    phantom()
    widget = opened(bench)
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
    widget = opened(bench)
    widget.panel.form.parameters.segmentation = mine
    run(bench, widget)
    after = snapshot(mine)
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (True, False)

    widget.ui.undoButton.click()
    assert snapshot(mine) == before
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (False, True)
    widget.ui.redoButton.click()
    assert snapshot(mine) == after
    assert (widget.ui.undoButton.enabled, widget.ui.redoButton.enabled) == (True, False)


def test_a_dragged_threshold_shows_and_a_released_one_writes_once(bench):
    scene = bench.slicer.mrmlScene
    segmenter = FakeSegmenter({"liver": 1, "left kidney": 2}, score=0.6)
    phantom()
    widget = opened(bench, segmenter)
    run(bench, widget, "liver; left kidney")
    (node,) = segmentations(scene)
    at_first = snapshot(node)
    widget.ui.resultsTable.selectRow(1)
    slider = widget.ui.thresholdSlider
    assert slider.enabled

    slider.bench_drag_to(0.4)
    bench.wait(lambda: segmentations(scene, previews=True))
    assert shown_voxels(scene, "liver") > 0
    slider.bench_drag_to(0.95)
    bench.wait(lambda: shown_voxels(scene, "liver") == 0)
    assert snapshot(node) == at_first, "nothing is written while it is dragged"
    slider.bench_let_go()
    bench.wait(lambda: not widget.panel.is_busy)

    assert [row[1] for row in cells(widget.ui.resultsTable)] == ["not found", "not found"]
    assert widget.ui.resultsTable.currentRow() == 1
    assert "Not found" in widget.ui.conceptMessageLabel.text
    assert all(len(segment_in_world(node, segment)) == 0 for segment in segments(node).values())
    assert segmentations(scene, previews=True) == []
    assert len(segmenter.requests) == 1
    widget.ui.undoButton.click()
    assert snapshot(node) == at_first


def test_a_typed_threshold_is_written_when_it_is_typed_in_full(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QDoubleSpinBox

    phantom()
    widget = opened(bench, FakeSegmenter({"liver": 1}, score=0.6))
    run(bench, widget, "liver")
    (box,) = widget.ui.thresholdSlider.findChildren(QDoubleSpinBox)
    box.selectAll()
    for letter in "0.70":
        QTest.keyClick(box, letter)
        assert not widget.panel.is_busy, f"the run began at {letter}"
    QTest.keyClick(box, Qt.Key_Return)
    bench.wait(lambda: not widget.panel.is_busy)

    assert widget.logic.result.provenance.threshold == pytest.approx(0.7)
    assert cells(widget.ui.resultsTable)[0][1] == "not found"


def test_the_threshold_is_moved_step_by_step_with_arrow_keys(bench):
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication, QSlider

    phantom()
    widget = opened(bench, FakeSegmenter({"liver": 1}, score=0.6))
    run(bench, widget, "liver")
    before = widget.logic.result.provenance.threshold
    widget.parent.activateWindow()
    (knob,) = widget.ui.thresholdSlider.findChildren(QSlider)
    knob.setFocus()
    bench.app.processEvents()
    for _ in range(2):
        QTest.keyClick(QApplication.focusWidget(), Qt.Key_Right)
        bench.wait(lambda: not widget.panel.is_busy)

    assert widget.logic.result.provenance.threshold == pytest.approx(before + 0.02)


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_a_click_on_the_score_plot_goes_to_the_slice(bench):
    from PySide6.QtCore import QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent
    from PySide6.QtWidgets import QApplication

    volume, array = phantom()
    widget = opened(bench)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    run(bench, widget, "liver")
    plot = widget.panel.plot
    red = bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()

    label = widget.ui.scorePlot
    for share, index in ((0.0, 0), (1.0, len(array) - 1), (0.5, None)):
        place = QPointF(min(label.width * share, label.width - 1), 10)
        press = QMouseEvent(QEvent.MouseButtonPress, place, place, Qt.LeftButton, Qt.LeftButton, Qt.NoModifier)
        QApplication.sendEvent(label, press)
        shown = red.GetSliceToRAS().GetElement(2, 3) / 3
        assert shown == pytest.approx(plot.slice_at(int(place.x())), abs=1e-3)
        assert index is None or shown == pytest.approx(index, abs=1e-3)


def test_a_click_is_understood_from_the_mouse_events_of_qt_5_and_qt_6(bench):
    del bench
    from PySide6.QtCore import QPointF

    from MedSAM3PanelLib.score_plot import _column_of

    for name in ("localPos", "position"):
        assert _column_of(SimpleNamespace(**{name: lambda: QPointF(41.5, 7)})) == 41.5


def test_preview_slice_shows_the_slice_of_the_view_and_writes_nothing(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.viewSelector.setCurrentIndex(widget.ui.viewSelector.findText("Red"))
    red = bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetSliceOffset(12.0)

    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    (preview,) = segmentations(scene, previews=True)
    only = np.zeros(array.shape, bool)
    only[4] = array[4] == 1
    assert misplaced(preview, segments(preview)["liver"], volume, only) == 0
    assert segmentations(scene) == []
    assert segmenter.requests[0].slices == (4, 5)
    widget.ui.clearPreviewButton.click()
    assert segmentations(scene, previews=True) == []


@pytest.mark.parametrize("button", ["applyButton", "previewButton"])
def test_no_preview_is_there_for_the_segment_editor_to_take_as_its_own(bench, button):
    """When it is opened it takes the first segmentation of the scene, also a hidden one, or makes a new one."""
    scene = bench.slicer.mrmlScene
    volume, _ = phantom()
    widget = opened(bench, slow())
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    getattr(widget.ui, button).click()
    bench.wait(lambda: segmentations(scene, previews=True))

    bench.leave(widget)

    assert scene.GetFirstNode(None, "vtkMRMLSegmentationNode") is None
    bench.wait(lambda: not widget.panel.is_busy)


def test_preview_slice_answers_what_apply_gives_on_that_slice(bench):
    """Region, segment to look inside of and clean-up hold for both; what was drawn needs its neighbours."""
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    ui = widget.ui
    half = array == 1
    half[:, :, 7:] = False
    node = add_segmentation(volume, {"half": half})
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetSize(10, 10, 10)
    ui.conceptsEdit.plainText = "liver"
    ui.roiSelector.setCurrentNode(roi)
    ui.insideSelector.setCurrentNode(node)
    ui.insideSelector.setCurrentSegmentID("half")
    ui.linkCheckBox.click()
    show_slice(bench, volume, 4)
    ui.modeSelector.setCurrentIndex(0)

    ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    (preview,) = segmentations(scene, previews=True)
    previewed = segment_in_world(preview, segments(preview)["liver"])
    assert "liver: " in ui.resultLabel.text
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    first, second = segmenter.requests
    for name in ("plane", "slices", "region", "assembly", "concepts"):
        assert getattr(first, name) == getattr(second, name)
    assert not first.assembly.link
    assert (first.inside == half).all()
    assert (second.inside == half).all()
    written = widget.logic.written.segmentation_node
    assert len(previewed) == half[4].sum()
    assert np.array_equal(previewed, segment_in_world(written, segments(written)["liver"]))

    ui.modeSelector.setCurrentIndex(3)
    ui.segmentationSelector.setCurrentNode(node)
    assert ui.applyButton.enabled
    assert not ui.previewButton.enabled
    assert "from slice to slice" in ui.previewButton.toolTip


def test_this_slice_is_the_one_of_the_chosen_view_and_nothing_else_changes(bench):
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver"
    ui.rangeCheckBox.click()
    ui.firstSliceBox.value = 11
    ui.modeSelector.setCurrentIndex(0)
    assert not any(box.enabled for box in (ui.planeSelector, ui.rangeCheckBox, ui.lastSliceBox, ui.morePlanesCheckBox))
    green = show_slice(bench, volume, 5, "Green", axis=1)

    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    (request,) = segmenter.requests
    assert (request.plane.value, request.slices[1] - request.slices[0]) == ("coronal", 1)
    only = np.zeros(array.shape, bool)
    only[:, 5] = array[:, 5] == 1
    node = widget.logic.written.segmentation_node
    assert misplaced(node, segments(node)["liver"], volume, only) == 0

    turn = green.GetSliceToRAS()
    turn.SetElement(2, 2, 0.8)
    turn.SetElement(1, 2, 0.6)
    turn.SetElement(2, 1, -0.6)
    turn.SetElement(1, 1, 0.8)
    green.UpdateMatrices()
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert "oblique" in bench.dialogs.texts("error")[0]
    assert "Preview slice" in bench.dialogs.texts("error")[0]
    ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert len(bench.dialogs.texts("error")) == 1
    assert shown_voxels(bench.slicer.mrmlScene, "liver") > 0
    assert misplaced(node, segments(node)["liver"], volume, only) == 0


def show_slice(bench, volume, index, view="Red", axis=0):
    """Let a view show a slice of the phantom, and be the one that is meant; its node is returned."""
    widget = bench.slicer.modules.MedSAM3SegmentWidget
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    place = LATTICE @ [*np.roll([index, 0, 0], axis)[::-1], 1]
    node.SetSliceOffset(float(place[2 - axis]))
    widget.ui.viewSelector.setCurrentIndex(widget.ui.viewSelector.findText(view))
    return node


def test_views_are_offered_as_they_come_and_go_and_the_chosen_one_is_kept_in_the_scene(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    selector = opened(bench).ui.viewSelector
    selector.setCurrentIndex(selector.findText("Yellow"))

    added = bench.slicer.vtkMRMLSliceNode()
    added.SetLayoutName("Slice4")
    added = scene.AddNode(added)
    assert [selector.itemText(row) for row in range(4)] == ["Red", "Green", "Yellow", "Slice4"]
    assert selector.currentText == "Yellow"
    scene.RemoveNode(added)

    assert selector.count == 3
    assert bench.slicer.modules.MedSAM3SegmentWidget.logic.getParameterNode().GetParameter("view") == "Yellow"


def test_limiting_the_slices_begins_with_all_and_too_many_are_refused_before_a_run(bench):
    phantom()
    widget = opened(bench)
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver"

    ui.rangeCheckBox.click()
    assert (ui.firstSliceBox.value, ui.lastSliceBox.value) == (0, 11)
    assert ui.lastSliceBox.text == "11 of 11"
    assert ui.applyButton.enabled
    ui.planeSelector.setCurrentIndex(2)
    assert ui.lastSliceBox.text == "11 of 19"

    ui.lastSliceBox.value = 20
    assert ui.applyButton.toolTip == "The volume has the slices 0 to 19 only; choose others."
    ui.firstSliceBox.value = 30
    assert "after the last" in ui.applyButton.toolTip
    ui.modeSelector.setCurrentIndex(0)
    assert ui.applyButton.enabled, "the slice of a view is not limited"


def test_the_bar_never_falls_from_the_first_slice_to_the_last_concept(bench):
    class Stages(FakeSegmenter):
        def segment(self, volume, request, progress, *_):
            result = super().segment(volume, request)
            for stage, done, total in STAGES:
                progress(Progress(stage, done, total, 100.0))
            return result

    phantom()
    widget = opened(bench, Stages({"liver": 1}))
    seen, show = [], widget.panel.progress.show

    def noting(progress):
        show(progress)
        seen.append((widget.ui.progressBar.value / widget.ui.progressBar.maximum, widget.ui.progressLabel.text))

    widget.panel.progress.show = noting
    run(bench, widget, "liver")

    assert [share for share, _ in seen] == [0.25, 0.75, 1.0, 1.0]
    assert [words for _, words in seen] == [
        "Slice 10 of 40, 2 min left",
        "Following objects: slice 15 of 20, 2 min left",
        "Assembling concept 0 of 2, 2 min left",
        "Assembling concept 2 of 2, 2 min left",
    ]


STAGES = (
    (Stage.SEGMENTING, 10, 40),
    (Stage.PROPAGATING, 15, 20),
    (Stage.ASSEMBLING, 0, 2),
    (Stage.ASSEMBLING, 2, 2),
)


def test_one_job_that_comes_first_is_not_called_several(bench):
    widget = opened(bench)
    for count, words in ((1, "Waiting for another job..."), (3, "Waiting for 3 other jobs...")):
        widget.panel.progress.show_waiting(count)
        assert widget.ui.progressLabel.text == words


def test_a_view_beside_the_volume_is_refused_in_words(bench):
    volume, _ = phantom()
    widget = opened(bench)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(900.0)

    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    (message,) = bench.dialogs.texts("error")
    assert "beside the volume" in message


def test_what_is_chosen_reaches_the_segmenter(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    drawn = add_segmentation(volume, {"liver": array == 1})
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetSize(10, 10, 10)
    ui = widget.ui
    ui.planeSelector.setCurrentIndex(2)
    ui.rangeCheckBox.checked = True
    ui.firstSliceBox.value, ui.lastSliceBox.value = 3, 6
    ui.roiSelector.setCurrentNode(roi)
    ui.insideSelector.setCurrentNode(drawn)
    ui.insideSelector.setCurrentSegmentID("liver")
    ui.groupingSelector.setCurrentIndex(1)
    ui.morePlanesCheckBox.checked = True
    ui.modeSelector.setCurrentIndex(2)

    run(bench, widget, "liver")

    (request,) = segmenter.requests
    assert request.plane.value == "coronal"
    assert request.slices == (3, 7)
    assert request.mode is Mode.PROPAGATE
    assert request.grouping is Grouping.INSTANCE
    assert len(request.region.corners) == 8
    assert (request.inside == (array == 1)).all()
    assert [plane.value for plane in request.more_planes] == ["axial", "sagittal"]


def test_drawn_slices_are_asked_for_by_the_names_of_their_segments(bench):
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    only = np.zeros(array.shape, bool)
    only[5] = array[5] == 1
    node = add_segmentation(volume, {"liver": only})
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.modeSelector.setCurrentIndex(3)
    assert "drew" in widget.ui.applyButton.toolTip

    widget.ui.segmentationSelector.setCurrentNode(node)
    run(bench, widget, "liver")

    (request,) = segmenter.requests
    assert request.mode is Mode.FROM_PROMPTS
    (mark,) = request.prompts["liver"].masks
    assert mark.slices == (5,)
    assert (mark.mask == only).all()


def test_all_choices_are_shown_again_when_their_scene_is_loaded_into_the_open_panel(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    widget = opened(bench)
    ui = widget.ui
    nodes = {
        ui.volumeSelector: phantom("other")[0],
        ui.segmentationSelector: add_segmentation(volume, {"mine": array == 1}),
        ui.roiSelector: scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box"),
        ui.insideSelector: scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs"),
    }
    for selector, node in nodes.items():
        selector.setCurrentNode(node)
    for selector, row in ((ui.deviceSelector, 3), (ui.viewSelector, 2), (ui.modeSelector, 2), (ui.planeSelector, 3)):
        selector.setCurrentIndex(row)
    ui.rangeCheckBox.click()
    ui.firstSliceBox.value = 2
    widget.panel.form.parameters.model = "someone/model"
    names = {selector.objectName: node.GetName() for selector, node in nodes.items()}

    def shown():
        chosen = {name: getattr(ui, name).currentNode() for name in names}
        return (
            {name: node.GetName() if node is not None else None for name, node in chosen.items()},
            (ui.deviceSelector.currentData, ui.modelSelector.currentData, ui.viewSelector.currentText),
            (ui.modeSelector.currentIndex, ui.planeSelector.currentIndex),
            (ui.rangeCheckBox.checked, ui.firstSliceBox.value, ui.lastSliceBox.value),
        )

    expected = (names, ("cpu", "someone/model", "Yellow"), (2, 3), (True, 2, 21))
    assert shown() == expected
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(False)
    assert ui.modelSelector.currentData == "demo"
    assert ui.deviceSelector.currentData == "auto"

    scene.Import()
    bench.app.processEvents()

    assert shown() == expected


def test_each_of_two_parameter_nodes_keeps_its_own_choices(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench)
    ui, panel = widget.ui, widget.panel
    nodes = widget.logic.getParameterNode(), scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "second")
    for node, concept, row in zip(nodes, ("liver", "aorta"), (1, 2), strict=True):
        panel.form.connect(node)
        ui.conceptsEdit.plainText = concept
        ui.planeSelector.setCurrentIndex(row)
        ui.largestOnlyCheckBox.checked = concept == "liver"

    for node, concept, row in zip(nodes, ("liver", "aorta"), (1, 2), strict=True):
        panel.form.connect(node)
        assert ui.conceptsEdit.plainText == concept
        assert ui.planeSelector.currentIndex == row
        assert ui.largestOnlyCheckBox.checked == (concept == "liver")
        run(bench, widget, ui.conceptsEdit.plainText)
        assert widget.logic.segmenter.requests[-1].concepts == (concept,)


def test_a_parameter_node_that_is_gone_during_a_run_does_no_harm(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench, slow())
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.applyButton.click()
    bench.wait(lambda: segmentations(scene, previews=True))

    scene.RemoveNode(widget.logic.getParameterNode())
    bench.wait(lambda: not widget.panel.is_busy)

    assert len(segmentations(scene)) == 1
    bench.leave(widget)
    bench.enter(widget)
    run(bench, widget, "liver")
    assert bench.dialogs.texts("error") == []


def test_choices_are_kept_in_the_scene_and_nothing_secret_is(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    phantom()
    widget = opened(bench)
    widget.ui.conceptsEdit.plainText = "liver\nspleen"
    widget.ui.modeSelector.setCurrentIndex(2)
    widget.ui.remoteAddressEdit.text = "https://gpu.example.org:8765"
    widget.ui.remoteTokenEdit.text = "a-very-secret-token"
    widget.panel.setup.engine.keep_remote()
    assert bench.settings.value("MedSAM3/RemoteToken") == "a-very-secret-token"

    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    assert scene.Commit()
    written = path.read_text()
    assert "spleen" in written
    assert "secret" not in written
    assert "gpu.example.org" not in written
    scene.Clear(False)
    bench.wait(lambda: widget.ui.conceptsEdit.plainText == "")
    scene.Import()
    bench.enter(widget)

    assert widget.ui.conceptsEdit.plainText == "liver\nspleen"
    assert widget.ui.modeSelector.currentIndex == 2


#: The check boxes of the clean-up steps.
STEP_BOXES = {
    "link": "linkCheckBox",
    "hysteresis": "hysteresisCheckBox",
    "fill_gaps": "fillGapsCheckBox",
    "drop_isolated": "dropIsolatedCheckBox",
    "largest_only": "largestOnlyCheckBox",
}


def steps_shown(widget):
    return AssemblyOptions(**{step: getattr(widget.ui, box).checked for step, box in STEP_BOXES.items()})


def test_every_clean_up_step_has_a_box_that_reaches_the_request(bench):
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    usual = AssemblyOptions()
    assert steps_shown(widget) == usual
    run(bench, widget, "liver")

    for box in STEP_BOXES.values():
        getattr(widget.ui, box).click()
        run(bench, widget, "liver")
        getattr(widget.ui, box).click()

    assert list(STEP_BOXES) == [step.name for step in fields(AssemblyOptions)]
    expected = [usual, *(replace(usual, **{step: not getattr(usual, step)}) for step in STEP_BOXES)]
    assert [request.assembly for request in segmenter.requests] == expected


def test_clean_up_steps_are_kept_in_the_scene_and_a_scene_without_them_has_the_usual_ones(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = opened(bench, segmenter)
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.fillGapsCheckBox.click()
    widget.ui.largestOnlyCheckBox.click()
    path = tmp_path / "scene.mrml"
    scene.SetURL(str(path))
    assert scene.Commit()
    scene.Clear(False)
    bench.wait(lambda: steps_shown(widget) == AssemblyOptions())

    scene.Import()
    bench.enter(widget)
    assert steps_shown(widget) == AssemblyOptions(fill_gaps=False, largest_only=True)
    widget.panel.form.parameters.volume = phantom("again")[0]
    run(bench, widget, "liver")
    assert segmenter.requests[-1].assembly == AssemblyOptions(fill_gaps=False, largest_only=True)

    bench.leave(widget)
    node = widget.logic.getParameterNode()
    for step in STEP_BOXES:
        node.UnsetParameter(step)
    assert not any(node.HasParameter(step) for step in STEP_BOXES)
    assert scene.Commit()
    scene.Clear(False)
    scene.Import()
    bench.enter(widget)
    assert widget.ui.conceptsEdit.plainText == "liver"
    assert steps_shown(widget) == AssemblyOptions()


def test_typing_offers_the_vocabulary_and_what_was_asked_before(bench):
    phantom()
    widget = opened(bench)
    run(bench, widget, "liver; liver with a spot")
    completion = widget.panel.completion

    offered = completion.completions("liv")
    assert offered[:2] == ("liver", "liver with a spot")
    assert "spleen" in completion.completions("sple")
    widget.ui.conceptsEdit.plainText = "aorta; splee"
    cursor = widget.ui.conceptsEdit.textCursor()
    cursor.setPosition(len("aorta; splee"))
    widget.ui.conceptsEdit.setTextCursor(cursor)
    completion.insert("spleen")
    assert widget.ui.conceptsEdit.plainText == "aorta; spleen"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["Key_Down", "Key_Return"], "aorta;spleen"),
        (["Key_Down", "Key_Enter"], "aorta;spleen"),
        (["Key_Down", "Key_Tab"], "aorta;spleen"),
        (["Key_Return"], "aorta;spl\n"),
        (["Key_Escape"], "aorta;spl"),
    ],
)
def test_keys_take_the_completion_that_is_marked(bench, keys, text):
    from PySide6 import QtCore, QtWidgets
    from PySide6.QtTest import QTest

    phantom()
    edit = opened(bench).ui.conceptsEdit
    edit.window().activateWindow()
    edit.setFocus()
    bench.app.processEvents()
    for letter in "aorta;spl":
        QTest.keyClick(edit, letter)
    popup = edit.findChild(QtWidgets.QCompleter).popup()
    assert popup.visible
    for key in keys:
        # A popup has the keyboard while it is open.
        QTest.keyClick(popup, getattr(QtCore.Qt, key))

    assert edit.plainText == text
    assert not popup.visible


def test_a_console_job_takes_the_place_of_an_older_one(bench):
    volume, _ = phantom()
    logic = opened(bench, slow()).logic
    done, failed = [], []

    first = logic.start(volume, "liver", onDone=done.append, onFailed=failed.append)
    bench.spin(0.1)
    second = logic.start(volume, "left kidney", onDone=done.append, onFailed=failed.append)
    bench.wait(lambda: second.ended)

    assert first.ended
    assert [str(error) for error in failed] == ["A newer run took the place of this one; nothing was written."]
    assert done == [second.run]
    (node,) = segmentations(bench.slicer.mrmlScene)
    assert list(segments(node)) == ["left kidney"]


def test_the_console_waits_with_the_window_alive(bench):
    import qt

    volume, _ = phantom()
    logic = opened(bench, slow()).logic
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

    timer.connect("timeout()", tick)
    timer.start()

    node = logic.segment(volume, ["liver"])
    timer.stop()

    assert list(segments(node)) == ["liver"]
    assert len(ticks) > 5
    assert len(refused) == 1
    assert "waited for already" in refused[0]


def test_a_colour_picture_is_segmented_and_two_values_per_voxel_are_refused_in_words(bench):
    array = np.zeros((1, 20, 22, 3), np.uint8)
    array[0, 4:9, 5:12] = 1

    class ByRed(FakeSegmenter):
        def segment(self, volume, request, *told):
            return super().segment(replace(volume, array=volume.array[..., 0]), request, *told)

    add_volume(array, name="photo")
    odd = add_volume(np.zeros((2, 4, 5, 2), np.uint8), name="odd")
    widget = opened(bench, ByRed({"liver": 1}))

    run(bench, widget, "liver")
    (node,) = segmentations(bench.slicer.mrmlScene)
    assert len(segment_in_world(node, segments(node)["liver"])) == 5 * 7
    widget.ui.volumeSelector.setCurrentNode(odd)
    run(bench, widget, "liver")
    assert "2 values" in bench.dialogs.texts("error")[0]
    assert len(segmentations(bench.slicer.mrmlScene)) == 1


def test_sample_data_is_made_on_the_spot_and_offered_once(bench, monkeypatch):
    from MedSAM3SceneLib.sample_data import register_sample_data
    from MedSAM3SceneLib.volumes import read_volume_node
    from MedSAM3SegmentLib.training.phantom import Contrast, make_phantom

    offered = {}

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(category, **source):  # noqa: N802
            # Slicer counts what belongs to each address, which it cannot where one of these is None.
            assert len(source["uris"]) == len(source["fileNames"])
            offered.setdefault(category, []).append(SimpleNamespace(**source))

    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=SampleDataLogic))
    monkeypatch.setattr(bench.slicer.modules, "sampleDataSources", offered, raising=False)

    register_sample_data("icon.png")
    register_sample_data("icon.png")

    (sources,) = offered.values()
    assert [source.sampleName for source in sources] == ["MedSAM3SyntheticCT", "MedSAM3SyntheticMR"]
    (node,) = sources[0].customDownloader(sources[0])
    composites = bench.slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {composite.GetBackgroundVolumeID() for composite in composites} == {node.GetID()}
    volume = read_volume_node(node).volume
    expected = make_phantom(24, contrast=Contrast.CT, absence=0.0).volume
    assert volume.modality == "CT"
    assert volume.grid.same_as(expected.grid)
    assert (volume.array == expected.array).all()


def test_the_self_test_of_the_module_passes_with_widgets(bench):
    del bench
    load_module("MedSAM3Segment").MedSAM3SegmentTest().runTest()
