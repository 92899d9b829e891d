"""Going through a cohort in the panel: by doubt, accepting, correcting, flagging, and going on the next day."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SegmentLib.cohort.review import read_cohort
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cohort_output import CASES, GRID, write_cohort
from support.nodes import segments
from support.panel import open_panel, segmentations


@pytest.fixture
def cohort(bench, tmp_path):
    """The panel with an open cohort, its output folder and its cases in their order."""
    output, images = write_cohort(tmp_path)
    widget = open_panel(bench)
    open_cohort(bench, widget, output, images)
    return widget, output, [case.record.case for case in read_cohort(output)]


def open_cohort(bench, widget, output, images=None):
    widget.ui.cohortFolderEdit.currentPath = str(output)
    widget.ui.cohortImagesEdit.currentPath = "" if images is None else str(images)
    press(bench, widget, widget.ui.openCohortButton)


def press(bench, widget, button):
    assert button.enabled
    button.click()
    bench.wait(lambda: not widget.panel.cohort.is_busy)


def current(widget):
    return widget.panel.cohort.opened.files.case.record.case


def rows(widget):
    table = widget.ui.cohortTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def reviews(output: Path) -> dict[str, tuple[str, str]]:
    with (output / "table.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: (row["review"], row["review_remark"]) for row in csv.DictReader(file)}


def edit(widget):
    """Draw a block as the liver; the mask."""
    opened = widget.panel.cohort.opened
    mask = np.zeros(GRID.shape, bool)
    mask[1:3, 2:6, 3:9] = True
    writer = SegmentWriter()
    writer.begin(opened.segmentation_node, opened.volume_node)
    run_steps_to_end(writer.write(segments(opened.segmentation_node)["liver"], mask, GRID.ijk_to_ras))
    return mask


def test_the_most_doubtful_case_is_shown_first_with_its_image(cohort):
    widget, output, order = cohort
    assert [row[0] for row in rows(widget)] == order
    assert rows(widget)[-1][2] == "failed"
    assert current(widget) == order[0]
    opened = widget.panel.cohort.opened
    assert opened.volume_node.GetName() == order[0]
    assert sorted(segments(opened.segmentation_node)) == ["liver", "spleen"]
    assert "near the threshold" in widget.ui.cohortLabel.text
    assert reviews(output)[order[0]] == ("", "")


def test_cases_are_accepted_and_flagged_one_after_another(bench, cohort):
    widget, output, order = cohort
    press(bench, widget, widget.ui.acceptCaseButton)
    assert current(widget) == order[1]
    press(bench, widget, widget.ui.flagCaseButton)
    assert "Type a remark" in widget.ui.cohortLabel.text
    widget.ui.caseRemarkEdit.text = "motion"
    press(bench, widget, widget.ui.flagCaseButton)
    assert current(widget) == order[2]
    assert widget.ui.caseRemarkEdit.text == ""
    assert reviews(output) == {
        order[0]: ("accepted", ""), order[1]: ("flagged", "motion"), order[2]: ("", ""), order[3]: ("", "")
    }  # fmt: skip
    assert [row[2] for row in rows(widget)] == ["accepted", "flagged", "", "failed"]
    press(bench, widget, widget.ui.acceptCaseButton)
    assert widget.ui.cohortLabel.text == "Every case was looked at."
    assert widget.panel.cohort.opened is None
    assert not widget.ui.acceptCaseButton.enabled
    assert segmentations(bench.slicer.mrmlScene) == []


def test_a_correction_is_saved_beside_the_original(bench, cohort):
    widget, output, order = cohort
    press(bench, widget, widget.ui.correctCaseButton)
    assert "Nothing was edited" in widget.ui.cohortLabel.text
    mask = edit(widget)
    press(bench, widget, widget.ui.acceptCaseButton)
    assert "click Correct" in widget.ui.cohortLabel.text
    assert reviews(output)[order[0]] == ("", "")
    press(bench, widget, widget.ui.correctCaseButton)
    assert current(widget) == order[1]
    assert reviews(output)[order[0]] == ("corrected", "")
    stored = {
        one.name: one.mask for one in read_segmentation(output / f"segmentations/{order[0]}.corrected.seg.nrrd")[0]
    }
    assert np.array_equal(stored["liver"], mask)
    original = {one.name: one.mask for one in read_segmentation(output / f"segmentations/{order[0]}.seg.nrrd")[0]}
    assert not np.array_equal(original["liver"], mask)


def test_an_earlier_correction_is_replaced_only_after_a_question(bench, cohort):
    widget, output, order = cohort
    edit(widget)
    press(bench, widget, widget.ui.correctCaseButton)
    path = output / f"segmentations/{order[0]}.corrected.seg.nrrd"
    before = path.read_bytes()
    widget.ui.cohortTable.selectRow(0)
    bench.wait(lambda: not widget.panel.cohort.is_busy)
    assert current(widget) == order[0]
    assert "This is the corrected segmentation" in widget.ui.cohortLabel.text
    opened = widget.panel.cohort.opened
    opened.segmentation_node.GetSegmentation().RemoveSegment(segments(opened.segmentation_node)["spleen"])
    bench.dialogs.confirm = False
    press(bench, widget, widget.ui.correctCaseButton)
    assert path.read_bytes() == before
    assert current(widget) == order[0]
    bench.dialogs.confirm = True
    press(bench, widget, widget.ui.correctCaseButton)
    assert [one.name for one in read_segmentation(path)[0]] == ["liver"]


def test_edits_that_were_not_saved_are_asked_for(bench, cohort):
    widget, _, order = cohort
    edit(widget)
    bench.dialogs.confirm = False
    press(bench, widget, widget.ui.nextCaseButton)
    assert current(widget) == order[0]
    assert widget.panel.cohort.opened.is_edited
    bench.dialogs.confirm = True
    press(bench, widget, widget.ui.nextCaseButton)
    assert current(widget) == order[1]


def test_what_was_decided_is_there_after_closing_and_opening_again(bench, cohort):
    widget, output, order = cohort
    press(bench, widget, widget.ui.acceptCaseButton)
    bench.slicer.mrmlScene.Clear(0)
    assert widget.panel.cohort.opened is None
    open_cohort(bench, widget, output)
    assert current(widget) == order[1]
    assert widget.panel.cohort.opened.volume_node is None
    assert "The image is not shown" in widget.ui.cohortLabel.text
    assert [row[2] for row in rows(widget)] == ["accepted", "", "", "failed"]


def test_a_failed_case_says_why_and_a_missing_file_does_too(bench, cohort):
    widget, output, order = cohort
    widget.ui.cohortTable.selectRow(CASES)
    bench.wait(lambda: not widget.panel.cohort.is_busy)
    assert widget.ui.cohortLabel.text == "The image cannot be read; export it again."
    assert widget.panel.cohort.opened is None
    (output / f"segmentations/{order[0]}.seg.nrrd").unlink()
    press(bench, widget, widget.ui.nextCaseButton)
    assert "is not in" in widget.ui.cohortLabel.text


def test_a_folder_that_is_no_cohort_is_refused_in_a_sentence(bench, tmp_path):
    widget = open_panel(bench)
    open_cohort(bench, widget, tmp_path)
    assert "holds no results of 'medsam3 cohort'" in widget.ui.cohortLabel.text
    assert not widget.ui.nextCaseButton.enabled
