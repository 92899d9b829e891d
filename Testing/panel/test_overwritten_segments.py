"""An open Segment Editor and results of the panel: what the table says is what segments hold, and losses are said."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.nodes import misplaced, segments
from support.panel import LATTICE, VALUES, cells, open_panel, phantom, run, segmentations
from support.segment_writing import edit_settings

#: Millilitres of a voxel.
VOXEL_ML = abs(np.linalg.det(LATTICE[:3, :3])) / 1000


@pytest.fixture
def opened(bench):
    """The panel after a run on a liver and a tumor that is all over it, which the Segment Editor has opened since."""
    widget = open_panel(bench, FakeSegmenter({"liver": 1, "tumor": 1, "left kidney": 2}))
    volume, array = phantom()
    widget.panel.connect_scene()
    run(bench, widget, "liver; tumor")
    (node,) = segmentations(bench.slicer.mrmlScene)
    editor = edit_settings(node, volume)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    return widget, volume, array, node, editor


def in_table(widget):
    return {row[0]: row[3] for row in cells(widget.ui.resultsTable)}


def test_concepts_of_one_run_do_not_overwrite_each_other(bench, opened):
    widget, volume, array, node, _ = opened
    first = in_table(widget)
    run(bench, widget, "liver; tumor")

    for name in ("liver", "tumor"):
        assert misplaced(node, segments(node)[name], volume, array == 1) == 0
        assert float(in_table(widget)[name]) == pytest.approx((array == 1).sum() * VOXEL_ML, abs=0.051)
    assert in_table(widget) == first


def test_what_another_segment_loses_is_said_with_how_much(bench, opened):
    widget, volume, array, node, _ = opened
    widget.logic.segmenter = FakeSegmenter({"left kidney": 1})
    run(bench, widget, "left kidney")

    lost = f"{(array == 1).sum() * VOXEL_ML:.3g} mL"
    for name in ("liver", "tumor"):
        assert f"The segment '{name}' lost {lost} to it" in widget.ui.conceptMessageLabel.text
    assert misplaced(node, segments(node)["left kidney"], volume, array == 1) == 0
    assert any(message.startswith("left kidney: ") or "'left kidney'" in message for message in widget.logic.messages)


def test_the_table_says_what_masking_left_of_a_segment(bench, opened):
    widget, volume, array, node, editor = opened
    editor.SetMaskMode(bench.slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    half = np.zeros(array.shape, np.uint8)
    half[:5] = array[:5] == 2
    node.GetSegmentation().AddEmptySegment("half", "half")
    bench.slicer.util.updateSegmentBinaryLabelmapFromArray(half, node, "half", volume)
    editor.SetMaskSegmentID("half")
    run(bench, widget, "left kidney")

    assert float(in_table(widget)["left kidney"]) == pytest.approx(half.sum() * VOXEL_ML, abs=0.051)


def test_without_overwriting_nothing_is_lost_and_nothing_said(bench, opened):
    widget, _, _, _, editor = opened
    editor.SetOverwriteMode(editor.OverwriteNone)
    widget.logic.segmenter = FakeSegmenter(VALUES)
    run(bench, widget, "left kidney")
    assert "lost" not in widget.ui.conceptMessageLabel.text
