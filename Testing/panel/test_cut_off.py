"""A structure that goes on beyond what was looked at, in the panel's row, in messages and on the segment."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from support.nodes import add_segmentation, segments
from support.panel import cells, open_panel, phantom, run, segmentations, show_slice


def test_the_row_and_the_segment_say_where_the_structure_goes_on(bench):
    volume, _ = phantom()
    widget = open_panel(bench)
    widget.logic.segment(volume, ["liver", "left kidney"], slices=(4, 10))
    assert [message for message in widget.logic.messages if "cut off" in message] == [
        "'liver' is cut off at the end of the slices that were looked at (inferior, slice 4), so its volume is not that"
        " of the whole structure.",
        "'left kidney' is cut off at the end of the slices that were looked at (inferior, slice 4), so its volume is "
        "not that of the whole structure.",
    ]
    node = widget.logic.written.segmentation_node
    provenance = read_provenance(node.GetSegmentation().GetSegment(segments(node)["liver"]))
    assert provenance["cut_off"] == [{"limit": "slices", "side": "inferior", "slice": 4}]
    widget.panel.results.table.show(widget.logic.result, widget.logic.written)
    rows = cells(widget.ui.resultsTable)
    assert [row[3][:2] for row in rows] == ["≥ ", "≥ "]
    assert "cut off" in widget.ui.resultsTable.item(0, 0).toolTip()
    assert "(inferior, slice 4)" in widget.ui.conceptMessageLabel.text


def test_a_whole_structure_is_not_marked_and_a_mark_goes_when_it_is_whole(bench):
    volume, _ = phantom()
    widget = open_panel(bench)
    node = widget.logic.segment(volume, ["liver"], slices=(4, 10))
    widget.logic.segment(volume, ["liver"], node)
    assert "cut_off" not in read_provenance(node.GetSegmentation().GetSegment(segments(node)["liver"]))
    run(bench, widget)
    assert all(float(row[3]) > 0 for row in cells(widget.ui.resultsTable))
    assert not any("cut off" in message for message in widget.logic.messages)


def test_one_slice_that_joins_a_segment_is_not_an_end_of_it(bench):
    volume, _ = phantom()
    widget = open_panel(bench)
    node = widget.logic.segment(volume, ["liver"])
    view = show_slice(bench, volume, 5)
    widget.logic.segment(volume, ["liver"], node, view=view)
    assert "cut_off" not in read_provenance(node.GetSegmentation().GetSegment(segments(node)["liver"]))
    assert not any("cut off" in message for message in widget.logic.messages)
    assert not widget.logic.result.concepts[0].cut_off


@pytest.mark.parametrize("plane", ["acquired", "axial"])
def test_a_slice_that_was_drawn_in_another_plane_is_followed_there_or_refused(bench, plane):
    from MedSAM3SegmentLib.errors import InputError

    volume, array = phantom()
    middle = array == 1
    middle[:, :, :6] = middle[:, :, 7:] = False
    node = add_segmentation(volume, {"liver": middle})
    widget = open_panel(bench)
    if plane == "axial":
        with pytest.raises(InputError, match=r"'liver' lies on sagittal slices \(6\)"):
            widget.logic.segment(volume, ["liver"], node, mode="from prompts", plane=plane)
        assert segmentations(bench.slicer.mrmlScene) == [node]
        return
    partials = []
    widget.logic.segment(volume, ["liver"], node, mode="from prompts", partial=partials.append)
    assert widget.logic.result.stack.plane is Plane.SAGITTAL
    assert any("lies on sagittal slices (6), so sagittal slices were looked at" in one for one in widget.logic.messages)
    # What is shown meanwhile lies where the engine looks.
    assert {piece.stack.plane for piece in partials} == {Plane.SAGITTAL}
