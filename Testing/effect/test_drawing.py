"""Marks drawn in the slice views with mouse and keys: where they lie, how they look, how they are moved and removed."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.segments.prompts import read_prompts
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS
from support.effect import finish, lines_in, marks_of, open_effect, options, pixel_of, segment_of
from support.nodes import add_transform, rigid


@pytest.fixture
def opened(bench):
    return open_effect(bench)


def test_a_click_is_a_point_and_a_drag_a_box_where_they_were_made(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))

    point, box = marks_of(opened)
    assert point.position == pytest.approx((15, 12, 6), abs=0.2)
    assert isinstance(box, BoxPromptRAS)
    corners = np.array(box.corners)
    assert corners.min(axis=0) == pytest.approx((11, 9, 6), abs=0.2)
    assert corners.max(axis=0) == pytest.approx((25, 23, 6), abs=0.2)
    assert options(opened).promptList.count == 2
    assert options(opened).sliceButton.text == "This slice (Red)"


def test_two_quick_clicks_are_two_points_and_leave_the_layout_alone(opened):
    """Slicer lets a slice view fill the window on a double click that nobody takes."""
    places = [(15, 12, 6), (17, 14, 6)]

    taken = opened.editor.double_click("Red", *(pixel_of(opened, "Red", place) for place in places))

    assert taken
    assert [mark.position for mark in read_prompts(segment_of(opened))] == [pytest.approx(p, abs=0.3) for p in places]


def test_a_view_that_is_destroyed_takes_its_marks_along_and_nothing_else(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.click("Green", pixel_of(opened, "Green", (15, 20, 6)))
    assert options(opened).sliceButton.text == "This slice (Green)"

    opened.bench.app.layoutManager().bench_remove("Green")
    opened.editor.click("Red", pixel_of(opened, "Red", (20, 14, 6)))
    assert len(marks_of(opened)) == options(opened).promptList.count == 3
    opened.bench.app.layoutManager().bench_remove("Red")
    options(opened).sliceButton.click()
    finish(opened)

    assert options(opened).sliceButton.text == "This slice (Yellow)"
    opened.effect.session.end("the effect is left")


def test_a_box_of_an_oblique_view_lies_in_its_plane(opened):
    node = opened.bench.app.layoutManager().sliceWidget("Green").mrmlSliceNode()
    turned = rigid((35, 20, 0), (20, 20, 7))
    for row in range(4):
        for column in range(4):
            node.GetSliceToRAS().SetElement(row, column, float(turned[row, column]))
    node.UpdateMatrices()

    opened.editor.drag("Green", (120, 130), (180, 200))
    opened.editor.press("Green", "Return")
    finish(opened)

    (box,) = marks_of(opened)
    heights = (np.array(box.corners) - turned[:3, 3]) @ turned[:3, 2]
    assert np.abs(heights).max() < 1e-3
    assert np.linalg.norm(np.subtract(box.corners[0], box.corners[1])) == pytest.approx(60 * 80 / 320, abs=1e-3)
    request = opened.segmenter.requests[-1]
    assert len(request.prompts["liver"].boxes) == 1
    assert "oblique" in options(opened).messageLabel.text


def test_what_is_not_meant_differs_in_color_and_shape(opened):
    from SegmentEditorMedSAM3Lib.prompt_glyphs import NEGATIVE_COLOR, POSITIVE_COLOR

    place = pixel_of(opened, "Red", (15, 12, 6))
    opened.editor.click("Red", place)
    positive = lines_in(opened, "Red")
    opened.editor.press("Red", "x", place)
    assert lines_in(opened, "Red") == (0, 0)
    opened.editor.press("Red", "n")
    opened.editor.click("Red", place)
    negative = lines_in(opened, "Red")

    assert marks_of(opened) == (PointPromptRAS(marks_of(opened)[0].position, positive=False),)
    assert (positive[1], negative[0]) == (0, 0)
    assert positive[0] != negative[1]
    assert abs(np.dot(POSITIVE_COLOR, (0.3, 0.6, 0.1)) - np.dot(NEGATIVE_COLOR, (0.3, 0.6, 0.1))) > 0.3
    assert options(opened).negativeButton.checked
    assert options(opened).promptList.item(0).text().startswith("\N{MULTIPLICATION SIGN} negative point")


def test_marks_are_seen_on_their_slice_in_the_picture(opened):
    before = opened.bench.render("Red")
    opened.editor.click("Red", pixel_of(opened, "Red", (30, 10, 6)))
    with_mark = opened.bench.render("Red")
    node = opened.bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    node.JumpSliceByOffsetting(20, 20, 10)

    x, y = pixel_of(opened, "Red", (30, 10, 6))
    changed = np.argwhere((with_mark != before).any(axis=2))
    rows, columns = changed[:, 0], changed[:, 1]
    assert columns.mean() == pytest.approx(x, abs=1.5)
    assert rows.mean() == pytest.approx(before.shape[0] - 1 - y, abs=1.5)
    assert lines_in(opened, "Red") == (0, 0)


def test_marks_follow_the_layout(opened):
    layout = opened.bench.app.layoutManager()
    place = (20, 20, 6)  # where all views are

    layout.bench_show("Red")
    opened.editor.click("Red", pixel_of(opened, "Red", place))
    assert sum(lines_in(opened, "Red")) > 0
    layout.bench_show("Green", "Yellow")

    assert options(opened).sliceButton.text == "This slice (Green)"
    for view in ("Green", "Yellow"):
        assert sum(lines_in(opened, view)) > 0
        opened.editor.click(view, (30, 30))
    assert len(marks_of(opened)) == 3
    layout.bench_show("Red", "Green", "Yellow")
    assert sum(lines_in(opened, "Red")) > 0


def test_points_and_corners_are_moved_by_dragging_them(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (30, 30, 6)))
    opened.editor.drag("Red", pixel_of(opened, "Red", (10, 10, 6)), pixel_of(opened, "Red", (20, 24, 6)))

    opened.editor.drag("Red", pixel_of(opened, "Red", (30, 30, 6)), pixel_of(opened, "Red", (33, 35, 6)))
    opened.editor.drag("Red", pixel_of(opened, "Red", (20, 24, 6)), pixel_of(opened, "Red", (25, 28, 6)))

    point, box = marks_of(opened)
    assert point.position == pytest.approx((33, 35, 6), abs=0.2)
    corners = np.array(box.corners)
    assert corners.min(axis=0) == pytest.approx((10, 10, 6), abs=0.3)
    assert corners.max(axis=0) == pytest.approx((25, 28, 6), abs=0.3)
    sides = np.roll(corners, -1, axis=0) - corners
    assert sides[0] @ sides[1] == pytest.approx(0, abs=1e-3)


def test_an_edge_is_moved_by_dragging_it_and_the_others_stay(opened):
    opened.editor.drag("Red", pixel_of(opened, "Red", (10, 10, 6)), pixel_of(opened, "Red", (20, 24, 6)))

    opened.editor.drag("Red", pixel_of(opened, "Red", (20, 15, 6)), pixel_of(opened, "Red", (27, 17, 6)))
    opened.editor.drag("Red", pixel_of(opened, "Red", (14, 10, 6)), pixel_of(opened, "Red", (14, 6, 6)))

    (box,) = marks_of(opened)
    corners = np.array(box.corners)
    assert corners.min(axis=0) == pytest.approx((10, 6, 6), abs=0.3)
    assert corners.max(axis=0) == pytest.approx((27, 24, 6), abs=0.3)
    # Inside of a box a click is a point of its own.
    opened.editor.click("Red", pixel_of(opened, "Red", (18, 15, 6)))
    assert len(marks_of(opened)) == 2


def test_the_key_removes_no_mark_that_the_view_does_not_show(opened):
    for height, x in ((6, 12), (6, 20), (10, 28)):
        for view in ("Red", "Green", "Yellow"):
            node = opened.bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
            node.JumpSliceByOffsetting(20, 20, height)
        opened.editor.click("Red", pixel_of(opened, "Red", (x, 12, height)))
    node = opened.bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    node.JumpSliceByOffsetting(20, 20, 6)

    opened.editor.press("Red", "x", pixel_of(opened, "Red", (36, 36, 6)))
    assert [round(mark.position[0]) for mark in marks_of(opened)] == [12, 28]
    node.JumpSliceByOffsetting(20, 20, 14)
    opened.editor.press("Red", "x", (5, 5))
    assert len(marks_of(opened)) == 2


def test_the_last_mark_is_removed_by_key_and_any_by_button(opened):
    for x in (12, 20, 28):
        opened.editor.click("Red", pixel_of(opened, "Red", (x, 12, 6)))
    opened.editor.press("Red", "x", pixel_of(opened, "Red", (36, 36, 6)))
    assert [round(mark.position[0]) for mark in marks_of(opened)] == [12, 20]

    options(opened).promptList.setCurrentRow(0)
    options(opened).removeButton.click()
    assert [round(mark.position[0]) for mark in marks_of(opened)] == [20]
    options(opened).removeAllButton.click()
    assert marks_of(opened) == ()
    assert not options(opened).removeAllButton.enabled


def test_a_mark_that_is_chosen_in_the_list_is_shown_in_the_views(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (12, 30, 6)))
    node = opened.bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    node.JumpSliceByOffsetting(20, 20, 14)

    options(opened).promptList.setCurrentRow(0)

    assert node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(6, abs=0.2)


def test_mouse_with_modifiers_and_other_keys_are_left_to_slicer(opened):
    for modifiers in ({"shift": True}, {"control": True}):
        assert not opened.editor.click("Red", (100, 100), **modifiers)
    assert not opened.editor.press("Red", "f")
    assert not opened.editor.press("Red", "n", shift=True)
    assert marks_of(opened) == ()


def test_marks_move_with_the_transform_of_the_segmentation(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 0, 0), (0, 0, 100))).GetID())

    assert lines_in(opened, "Red") == (0, 0)
    assert options(opened).promptList.item(0).text() == "+ point, R 15 A 12 S 106"
