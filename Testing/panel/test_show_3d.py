"""The panel's Show 3D: surfaces of the segmentation that is written into, and what runs and undo make of them."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.nodes import add_segmentation, snapshot
from support.panel import VALUES, open_panel, phantom, run

SURFACE = "Closed surface"


def surfaces(node):
    """The bounds of each segment's surface, by its name; segments without one are left out."""
    segmentation = node.GetSegmentation()
    found = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        surface = segment.GetRepresentation(SURFACE)
        if surface is not None and surface.GetNumberOfPoints():
            found[segment.GetName()] = surface.GetBounds()
    return found


@pytest.fixture
def opened(bench):
    phantom()
    return open_panel(bench, FakeSegmenter(VALUES, score=0.6))


def test_show_3d_is_disabled_until_a_segmentation_has_a_segment(bench, opened):
    button = opened.ui.show3DButton
    assert button.text == "Show 3D"
    assert not button.enabled
    empty = bench.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")

    opened.ui.segmentationSelector.setCurrentNode(empty)
    assert button.segmentationNode() is empty
    assert not button.enabled
    empty.GetSegmentation().AddEmptySegment("liver")
    assert button.enabled
    opened.ui.segmentationSelector.setCurrentNode(None)
    assert not button.enabled


def test_the_surfaces_of_a_result_are_shown_and_taken_away(bench, opened):
    run(bench, opened)
    node, button = opened.panel.form.parameters.segmentation, opened.ui.show3DButton
    before = snapshot(node)
    assert button.enabled
    assert surfaces(node) == {}

    button.toggle()
    assert set(surfaces(node)) == {"liver", "left kidney"}
    display = node.GetDisplayNode()
    assert display.GetDisplayRepresentationName3D() == SURFACE
    assert display.GetDisplayRepresentationName2D() == "Binary labelmap"
    assert snapshot(node) == before

    button.toggle()
    assert surfaces(node) == {}
    assert snapshot(node) == before


def test_it_follows_the_segmentation_that_is_chosen(bench, opened):
    run(bench, opened)
    first, button = opened.panel.form.parameters.segmentation, opened.ui.show3DButton
    button.toggle()
    volume = opened.panel.form.parameters.volume
    other = add_segmentation(volume, {"spleen": bench.slicer.util.arrayFromVolume(volume) == 1})

    opened.ui.segmentationSelector.setCurrentNode(other)
    assert not button.checked
    button.toggle()
    assert set(surfaces(other)) == {"spleen"}
    button.toggle()
    assert surfaces(other) == {}
    assert set(surfaces(first)) == {"liver", "left kidney"}
    opened.ui.segmentationSelector.setCurrentNode(first)
    assert button.checked
    bench.slicer.mrmlScene.RemoveNode(first)
    assert not button.enabled


def test_surfaces_follow_a_run_and_its_undo(bench, opened):
    run(bench, opened, "left kidney")
    node, button = opened.panel.form.parameters.segmentation, opened.ui.show3DButton
    button.toggle()
    kidney = surfaces(node)
    voxels = snapshot(node)

    run(bench, opened, "liver; left kidney")
    assert button.checked
    assert set(surfaces(node)) == {"liver", "left kidney"}
    opened.ui.undoButton.click()

    assert snapshot(node) == voxels
    assert surfaces(node) == kidney
    assert button.checked
    opened.ui.redoButton.click()
    assert set(surfaces(node)) == {"liver", "left kidney"}


def test_a_closed_scene_leaves_nothing_to_show(bench, opened):
    run(bench, opened)
    opened.ui.show3DButton.toggle()

    bench.slicer.mrmlScene.Clear(False)

    assert opened.ui.show3DButton.segmentationNode() is None
    assert not opened.ui.show3DButton.enabled


def test_the_stand_in_takes_segmentations_alone_and_may_be_locked(bench, opened):
    run(bench, opened)
    button = opened.ui.show3DButton
    with pytest.raises(TypeError):
        button.setSegmentationNode(opened.panel.form.parameters.volume)
    button.setLocked(True)
    assert not button.enabled
    button.locked = False
    assert button.enabled
