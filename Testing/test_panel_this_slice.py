"""The mode "This slice" over segments of an earlier run: that slice is written anew, all others stay as they are."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.edited_slices import edited_slices
from MedSAM3SceneLib.editing import SegmentWriter
from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SceneLib.provenance import read_provenance
from MedSAM3SceneLib.segment_voxels import segment_mask
from MedSAM3SceneLib.steps import finish as finish_steps
from MedSAM3SegmentLib.grid import SliceStack, VoxelGrid
from opened_panel import LATTICE, VALUES, move_threshold, open_panel, phantom, run, segmentations, show_slice
from scene_nodes import misplaced, segments, snapshot


def draw(node, volume, name, mask):
    """Let a person's tool make a segment hold ``mask``."""
    writer = SegmentWriter()
    writer.begin(node, volume)
    finish_steps(writer.write(segments(node)[name], mask, LATTICE))


@pytest.fixture
def opened(bench):
    """The panel in the mode "This slice" after a run over the whole volume; the volume, its voxels, the segments."""
    volume, array = phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    bench.enter(widget)
    run(bench, widget)
    (node,) = segmentations(bench.slicer.mrmlScene)
    widget.ui.modeSelector.setCurrentIndex(widget.ui.modeSelector.findText("This slice"))
    return widget, volume, array, node


def edited(node, array):
    """The slices of the liver that a person is known to have edited."""
    segment, grid = node.GetSegmentation().GetSegment(segments(node)["liver"]), VoxelGrid(array.shape, LATTICE)
    return edited_slices(segment, segment_mask(segment, grid, LATTICE), SliceStack.along(grid))


def test_only_the_slice_that_is_shown_is_written_anew(bench, opened):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[3, :5] = False
    drawn[5] = False
    drawn[11, :2, :2] = True
    draw(node, volume, "liver", drawn)
    before = snapshot(node)
    show_slice(bench, volume, 5)

    bench.dialogs.confirm = False
    run(bench, widget, "liver")
    (question,) = bench.dialogs.texts("question")
    assert "liver" in question
    assert snapshot(node) == before

    bench.dialogs.confirm = True
    run(bench, widget, "liver")
    expected = drawn.copy()
    expected[5] = array[5] == 1
    assert misplaced(node, segments(node)["liver"], volume, expected) == 0
    assert "other slices of its segment stay" in " ".join(widget.logic.messages)
    # What was corrected elsewhere is still known as that, and what the program wrote is not.
    assert edited(node, array) == (3, 11)
    widget.ui.undoButton.click()
    assert snapshot(node) == before


def test_nobody_is_asked_for_edits_of_other_slices(bench, opened):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[3] = False
    draw(node, volume, "liver", drawn)
    show_slice(bench, volume, 5)

    run(bench, widget, "liver")

    assert bench.dialogs.texts("question") == []
    assert misplaced(node, segments(node)["liver"], volume, drawn) == 0


def test_the_threshold_moves_only_the_slice(bench, opened):
    widget, volume, array, node = opened
    show_slice(bench, volume, 5)
    run(bench, widget, "liver")
    whole = array == 1

    move_threshold(bench, widget, 0.9)
    expected = whole.copy()
    expected[5] = False
    assert misplaced(node, segments(node)["liver"], volume, expected) == 0
    assert edited(node, array) == ()
    assert misplaced(node, segments(node)["left kidney"], volume, array == 2) == 0

    move_threshold(bench, widget, 0.4)
    assert misplaced(node, segments(node)["liver"], volume, whole) == 0
    assert bench.dialogs.texts("question") == []


@pytest.mark.parametrize(("view", "axis"), [("Green", 1), ("Yellow", 2)])
def test_a_slice_of_another_plane_is_joined_to_the_voxel(bench, opened, view, axis):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[3] = False
    cut = [slice(None)] * 3
    cut[axis] = 6
    drawn[tuple(cut)] = False
    draw(node, volume, "liver", drawn)
    show_slice(bench, volume, 6, view, axis)

    run(bench, widget, "liver")

    expected = drawn.copy()
    expected[tuple(cut)] = array[tuple(cut)] == 1
    assert misplaced(node, segments(node)["liver"], volume, expected) == 0


def test_where_it_came_from_is_kept_for_both_parts(bench, opened):
    widget, volume, _, node = opened
    segment = node.GetSegmentation().GetSegment(segments(node)["liver"])
    whole = read_provenance(segment)
    for index in (5, 6):
        show_slice(bench, volume, index)
        run(bench, widget, "liver")

    provenance = read_provenance(segment)
    assert provenance["slices"] == [6, 6]
    assert provenance["joined_to"] == whole


def test_a_segment_that_one_slice_made_is_not_joined_to_itself_when_its_threshold_moves(bench):
    volume, _ = phantom()
    widget = open_panel(bench, FakeSegmenter(VALUES, score=0.6))
    bench.enter(widget)
    widget.ui.modeSelector.setCurrentIndex(widget.ui.modeSelector.findText("This slice"))
    show_slice(bench, volume, 5)
    run(bench, widget, "liver")
    move_threshold(bench, widget, 0.4)

    (node,) = segmentations(bench.slicer.mrmlScene)
    segment = node.GetSegmentation().GetSegment(segments(node)["liver"])
    assert "joined_to" not in read_provenance(segment)
    assert "other slices" not in " ".join(widget.logic.messages)
