"""The effect beside its drawing: views that do not show the segmentation, the list of marks, what it says and when."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from support.effect import finish, lines_in, marks_of, open_effect, options, pixel_of

PLACES = [(12, 12, 6), (20, 20, 6), (28, 28, 6)]


@pytest.fixture
def opened(bench):
    return open_effect(bench)


def slice_node(opened, view):
    return opened.bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()


def click_row(opened, row):
    opened.editor.widget.resize(400, 600)
    opened.editor.widget.show()
    opened.bench.app.processEvents()
    rows = options(opened).promptList
    QTest.mouseClick(rows.viewport(), Qt.LeftButton, Qt.NoModifier, rows.visualItemRect(rows.item(row)).center())


def test_marks_are_only_in_views_that_show_the_segmentation(opened):
    """Of another view Slicer tells an effect nothing, so its marks would stay where they were when it is scrolled."""
    opened.editor.click("Red", pixel_of(opened, "Red", (20, 20, 6)))
    assert lines_in(opened, "Red") != (0, 0) != lines_in(opened, "Green")

    opened.segmentation.GetDisplayNode().AddViewNodeID(slice_node(opened, "Green").GetID())

    assert lines_in(opened, "Red") == (0, 0)
    assert lines_in(opened, "Green") != (0, 0)
    assert options(opened).sliceButton.text == "This slice (Green)"
    assert not opened.editor.click("Red", pixel_of(opened, "Red", (10, 10, 6)))
    assert len(marks_of(opened)) == 1

    opened.segmentation.GetDisplayNode().RemoveAllViewNodeIDs()
    assert lines_in(opened, "Red") != (0, 0)
    slice_node(opened, "Red").JumpSliceByCentering(20.0, 20.0, 12.0)
    assert lines_in(opened, "Red") == (0, 0)


def test_the_effect_begins_in_a_view_that_shows_the_segmentation(opened):
    opened.editor.leave()
    opened.segmentation.GetDisplayNode().AddViewNodeID(slice_node(opened, "Yellow").GetID())

    opened.effect = opened.editor.choose(opened.effect.scriptedEffect.name)

    assert options(opened).sliceButton.text == "This slice (Yellow)"


@pytest.mark.parametrize(
    ("shown", "meant"), [(("Yellow", "Green", "Red"), "Red"), (("Yellow", "Green"), "Green"), (("Yellow",), "Yellow")]
)
def test_the_effect_begins_in_red_or_else_in_another_view_of_the_layout(opened, shown, meant):
    layout = opened.bench.app.layoutManager()
    assert layout.sliceViewNames()[0] != "Red"  # Slicer names the views in no order
    opened.editor.leave()
    layout.bench_show(*shown)

    opened.effect = opened.editor.choose(opened.effect.scriptedEffect.name)

    assert options(opened).sliceButton.text == f"This slice ({meant})"


def test_the_effect_begins_in_the_view_that_the_pointer_is_in(opened):
    crosshair = opened.bench.slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    opened.editor.leave()
    crosshair.SetCursorPositionXYZ([30, 30, 0], slice_node(opened, "Yellow"))

    opened.effect = opened.editor.choose(opened.effect.scriptedEffect.name)
    assert options(opened).sliceButton.text == "This slice (Yellow)"

    opened.editor.leave()
    crosshair.SetCursorPositionInvalid()  # it left the views
    opened.effect = opened.editor.choose(opened.effect.scriptedEffect.name)
    assert options(opened).sliceButton.text == "This slice (Red)"


def test_this_slice_never_means_a_view_that_is_not_shown_any_more(opened):
    opened.editor.click("Green", pixel_of(opened, "Green", (20, 20, 6)))
    assert options(opened).sliceButton.text == "This slice (Green)"

    opened.bench.app.layoutManager().bench_show("Yellow", "Red")

    assert options(opened).sliceButton.text == "This slice (Red)"


def test_a_mark_is_shown_each_time_it_is_clicked_in_the_list(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", PLACES[0]))
    red = slice_node(opened, "Red")
    for _ in range(2):
        red.JumpSliceByCentering(20.0, 20.0, 12.0)
        click_row(opened, 0)
        assert red.GetSliceOffset() == pytest.approx(6.0)


def test_marks_are_removed_one_after_the_other_from_the_list(opened):
    for place in PLACES:
        opened.editor.click("Red", pixel_of(opened, "Red", place))
    click_row(opened, 1)
    assert options(opened).removeButton.enabled

    options(opened).removeButton.click()
    assert [mark.position for mark in marks_of(opened)] == [pytest.approx(PLACES[n], abs=0.2) for n in (0, 2)]
    options(opened).removeButton.click()
    options(opened).removeButton.click()

    assert marks_of(opened) == ()
    assert not options(opened).removeButton.enabled


def test_the_row_that_was_chosen_is_not_another_segments(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", PLACES[0]))
    opened.editor.widget.setCurrentSegmentID("spleen")
    opened.editor.click("Red", pixel_of(opened, "Red", PLACES[1]))
    click_row(opened, 0)

    opened.editor.widget.setCurrentSegmentID("liver")

    assert options(opened).promptList.count == 1
    assert not options(opened).removeButton.enabled


@pytest.mark.parametrize("act", ["Return", "click"])
@pytest.mark.parametrize("missing", ["segment", "volume"])
def test_who_draws_or_presses_a_key_too_early_is_told_why_nothing_happens(opened, act, missing):
    if missing == "segment":
        opened.editor.widget.setCurrentSegmentID("")
    else:
        opened.editor.widget.setSourceVolumeNode(None)

    if act == "click":
        # The mouse does what it does without an effect.
        assert not opened.editor.click("Red", pixel_of(opened, "Red", PLACES[0]))
    else:
        assert opened.editor.press("Red", act)

    assert missing in options(opened).messageLabel.text
    assert opened.segmenter.requests == []
    if missing == "segment":
        opened.editor.widget.setCurrentSegmentID("liver")
        assert options(opened).messageLabel.text == ""


def test_what_was_said_of_one_segment_is_not_said_of_the_next(opened):
    options(opened).volumeButton.click()
    finish(opened)
    assert "was found" in options(opened).messageLabel.text

    opened.editor.widget.setCurrentSegmentID("spleen")

    assert options(opened).messageLabel.text == ""
