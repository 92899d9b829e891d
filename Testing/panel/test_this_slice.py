"""The mode "This slice" over segments of an earlier run: that slice is written anew, all others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.editing import masking
from MedSAM3SceneLib.editing.overwrite import replace_content
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice
from MedSAM3SceneLib.mrml.segment_masks import segment_mask
from MedSAM3SceneLib.segments.edited_slices import edited_slices
from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.nodes import misplaced, segment_in_world, segments, snapshot
from support.panel import (
    LATTICE,
    VALUES,
    draw,
    fill_by_effect,
    move_threshold,
    open_panel,
    phantom,
    run,
    segmentations,
    show_slice,
)
from support.segment_writing import edit_settings


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


def test_a_one_slice_segment_is_not_joined_to_itself_by_a_moved_threshold(bench):
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


def voxels_by_slice(node, name):
    """How many voxels a segment has at which slice of the phantom."""
    heights, counts = np.unique(segment_in_world(node, segments(node)[name])[:, 2] / LATTICE[2, 2], return_counts=True)
    return dict(zip(np.round(heights, 3).tolist(), counts.tolist(), strict=True))


def run_over_all(bench, widget):
    """Segment the liver in all of the volume, and answer that edits shall stay."""
    widget.ui.modeSelector.setCurrentIndex(widget.ui.modeSelector.findText("Slices"))
    bench.dialogs.confirm = False
    run(bench, widget, "liver")


def test_a_new_run_of_all_slices_asks_about_edits_beside_the_slice(bench, opened):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[3] = False
    draw(node, volume, "liver", drawn)
    show_slice(bench, volume, 5)
    run(bench, widget, "liver")
    assert bench.dialogs.texts("question") == []

    run_over_all(bench, widget)

    assert len(bench.dialogs.texts("question")) == 1
    assert misplaced(node, segments(node)["liver"], volume, drawn) == 0


def test_a_new_run_asks_about_what_the_effect_made_beside_the_slice(bench, opened):
    widget, volume, array, node = opened
    fill_by_effect(bench, volume, node)
    show_slice(bench, volume, 5)
    run(bench, widget, "liver")
    # What the effect made of the slice itself would be lost.
    assert len(bench.dialogs.texts("question")) == 1
    move_threshold(bench, widget, 0.4)
    assert len(bench.dialogs.texts("question")) == 1

    run_over_all(bench, widget)

    assert len(bench.dialogs.texts("question")) == 2
    expected = array == 2
    expected[5] = array[5] == 1
    assert misplaced(node, segments(node)["liver"], volume, expected) == 0


def test_what_masking_kept_of_an_edited_slice_stays_known_as_edited(bench, opened):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[5, :5] = False
    drawn[5, 0, 0] = True
    draw(node, volume, "liver", drawn)
    settings = edit_settings(node, volume)
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(0, 0)
    show_slice(bench, volume, 5)

    run(bench, widget, "liver")

    expected = drawn.copy()
    expected[5, 0, 0] = False
    assert misplaced(node, segments(node)["liver"], volume, expected) == 0
    assert edited(node, array) == (5,)


@pytest.mark.parametrize("apart", [False, True], ids=["one lattice", "a lattice of its own"])
def test_neighbours_lose_nothing_on_the_other_slices(bench, opened, apart):
    """Where they overlap already, as a tumour and its liver do."""
    widget, volume, array, node = opened
    tumour = np.zeros(array.shape, bool)
    tumour[3:7, 3:6, 3:6] = True
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    draw(node, volume, "tumour", tumour)
    if apart:
        finer = LATTICE @ np.diag([1, 1, 0.5, 1])
        finer[2, 3] -= 0.25 * LATTICE[2, 2]
        labelmap = labelmap_on_lattice(np.repeat(tumour, 2, axis=0), finer, finer)
        writer = SegmentWriter()
        writer.begin(node, volume)
        writer.replace("tumour", labelmap, None)
    before = voxels_by_slice(node, "tumour")
    settings = edit_settings(node, volume)
    settings.SetOverwriteMode(settings.OverwriteAllSegments)
    show_slice(bench, volume, 5)

    run(bench, widget, "liver")

    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    lost = (4.75, 5.25) if apart else (5.0,)
    assert before.keys() >= {*lost}
    assert voxels_by_slice(node, "tumour") == {at: count for at, count in before.items() if at not in lost}


@pytest.mark.parametrize("overwrites", [False, True])
def test_a_slice_in_a_shared_labelmap_is_written_and_undone_to_the_bit(bench, opened, overwrites):
    widget, volume, array, node = opened
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    settings = edit_settings(node, volume)
    settings.SetOverwriteMode(settings.OverwriteAllSegments if overwrites else settings.OverwriteNone)
    before = snapshot(node)
    widget.logic.segmenter = FakeSegmenter({"liver": 2})
    show_slice(bench, volume, 5)

    run(bench, widget, "liver")

    liver, kidney = array == 1, array == 2
    liver[5] = kidney[5]
    if overwrites:
        kidney[5] = False
    for _ in range(2):
        assert misplaced(node, segments(node)["liver"], volume, liver) == 0
        assert misplaced(node, segments(node)["left kidney"], volume, kidney) == 0
        widget.ui.undoButton.click()
        assert snapshot(node) == before
        widget.ui.redoButton.click()


def test_a_segment_edited_while_its_slice_is_masked_keeps_that_edit(bench, opened, monkeypatch):
    widget, volume, array, node = opened
    drawn = array == 1
    drawn[3] = False
    settings = edit_settings(node, volume)
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(-1, 5)
    asked, protected = [], masking._protected

    def edited_meanwhile(*given):
        asked.append(given)
        if len(asked) == 1:
            replace_content(settings, segments(node)["liver"], labelmap_on_lattice(drawn, LATTICE, LATTICE), None, tool)
        return protected(*given)

    tool = SegmentWriter()
    tool.begin(node, volume)
    monkeypatch.setattr(masking, "_protected", edited_meanwhile)
    show_slice(bench, volume, 5)

    run(bench, widget, "liver")

    assert misplaced(node, segments(node)["liver"], volume, drawn) == 0
    assert edited(node, array) == (3,)
