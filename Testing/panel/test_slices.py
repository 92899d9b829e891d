"""One slice and a range of slices in the panel: which view is meant, what its preview shows, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.messages.message import message
from support.nodes import add_segmentation, misplaced, segment_in_world, segments
from support.panel import held_after, open_panel, phantom, segmentations, show_slice, shown_voxels


def test_preview_slice_shows_the_slice_of_the_view_and_writes_nothing(bench):
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
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
    segmenter = held_after(5)
    widget = open_panel(bench, segmenter)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    getattr(widget.ui, button).click()
    bench.wait(lambda: segmentations(scene, previews=True))

    bench.leave(widget)

    assert scene.GetFirstNode(None, "vtkMRMLSegmentationNode") is None
    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)


@pytest.mark.parametrize(("button", "slices"), [("applyButton", 0), ("applyButton", 5), ("previewButton", 0)])
def test_what_is_found_while_another_module_is_shown_is_not_previewed(bench, button, slices):
    scene = bench.slicer.mrmlScene
    volume, _ = phantom()
    segmenter = held_after(slices)
    widget = open_panel(bench, segmenter)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    getattr(widget.ui, button).click()
    bench.wait(segmenter.asked.is_set)

    bench.leave(widget)
    shown = []
    tag = scene.AddObserver(scene.NodeAddedEvent, lambda *_: shown.extend(segmentations(scene, previews=True)))
    segmenter.may.set()
    bench.wait(lambda: not widget.panel.is_busy)
    scene.RemoveObserver(tag)

    assert shown == segmentations(scene, previews=True) == []
    bench.enter(widget)
    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert len(segmentations(scene, previews=True)) == 1


def test_preview_slice_answers_what_apply_gives_on_that_slice(bench):
    """Region, segment to look inside of and clean-up hold for both; what was drawn needs its neighbors."""
    scene = bench.slicer.mrmlScene
    volume, array = phantom()
    segmenter = FakeSegmenter({"liver": 1})
    widget = open_panel(bench, segmenter)
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
    widget = open_panel(bench, segmenter)
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

    # What the message tells a user to do.
    assert "'Rotate to volume plane'" in bench.dialogs.texts("error")[0]
    green.RotateToVolumePlane(volume)
    show_slice(bench, volume, 5, "Green", axis=1)
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert len(bench.dialogs.texts("error")) == 1
    assert misplaced(node, segments(node)["liver"], volume, only) == 0


def test_the_preview_of_an_oblique_slice_speaks_of_no_slice_of_the_volume(bench):
    class Telling(FakeSegmenter):
        """Gives the reasons that the engine gives."""

        def segment(self, *asked):
            result = super().segment(*asked)
            at = result.concepts[0].evidence[0].slice_index
            said = (
                f"Found on slice {at}; the best score is 0.90 on slice {at}.",
                message(
                    "Not found: the best score is {score:.2f} on slice {best}, below the threshold {threshold:g}.",
                    score=0.31,
                    best=at,
                    threshold=0.5,
                ),
            )
            concepts = zip(result.concepts, said, strict=True)
            return replace(result, concepts=tuple(replace(concept, reason=reason) for concept, reason in concepts))

    volume, _ = phantom()
    widget = open_panel(bench, Telling({"liver": 1}))
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver; pancreas"
    red = show_slice(bench, volume, 5)

    def preview():
        ui.previewButton.click()
        bench.wait(lambda: not widget.panel.is_busy)
        return ui.resultLabel.text

    assert preview().splitlines() == [
        "liver: Found on slice 5; the best score is 0.90 on slice 5.",
        "pancreas: Not found: the best score is 0.31 on slice 5, below the threshold 0.5.",
    ]
    turn = red.GetSliceToRAS()
    for (row, column), value in {(1, 1): 0.8, (1, 2): -0.6, (2, 1): 0.6, (2, 2): 0.8}.items():
        turn.SetElement(row, column, value)
    red.UpdateMatrices()
    assert preview().splitlines() == [
        "liver: Found on this slice; the score is 0.90.",
        "pancreas: Not found: the best score is 0.31 on this slice, below the threshold 0.5.",
    ]


def test_views_are_offered_as_they_come_and_go_and_the_choice_is_kept(bench):
    scene = bench.slicer.mrmlScene
    phantom()
    selector = open_panel(bench).ui.viewSelector
    selector.setCurrentIndex(selector.findText("Yellow"))

    added = bench.slicer.vtkMRMLSliceNode()
    added.SetLayoutName("Slice4")
    added = scene.AddNode(added)
    assert [selector.itemText(row) for row in range(4)] == ["Red", "Green", "Yellow", "Slice4"]
    assert selector.currentText == "Yellow"
    scene.RemoveNode(added)

    assert selector.count == 3
    assert bench.slicer.modules.MedSAM3SegmentWidget.logic.getParameterNode().GetParameter("view") == "Yellow"


def test_only_views_that_the_layout_shows_are_offered_and_red_comes_first(bench):
    phantom()
    layout = bench.app.layoutManager()
    selector = open_panel(bench).ui.viewSelector
    assert [selector.itemText(row) for row in range(selector.count)] == ["Red", "Green", "Yellow"]
    assert selector.currentText == "Red"
    selector.setCurrentIndex(1)

    layout.bench_show("Yellow", "Red")
    assert [selector.itemText(row) for row in range(selector.count)] == ["Red", "Yellow"]
    assert selector.currentText == "Red"
    layout.bench_show("Green")
    assert [selector.itemText(row) for row in range(selector.count)] == ["Green"]

    bench.close_panel(bench.slicer.modules.MedSAM3SegmentWidget)
    layout.bench_show("Red")
    assert not bench.slot_errors


def test_the_slice_range_begins_with_all_and_too_many_are_refused(bench):
    phantom()
    widget = open_panel(bench)
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


def test_a_view_beside_the_volume_is_refused_in_words(bench):
    volume, _ = phantom()
    widget = open_panel(bench)
    bench.slicer.util.setSliceViewerLayers(background=volume, fit=True)
    bench.enter(widget)
    widget.ui.conceptsEdit.plainText = "liver"
    bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetSliceOffset(900.0)

    widget.ui.previewButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    (message,) = bench.dialogs.texts("error")
    assert "beside the volume" in message
