"""The effect in a Segment Editor: drawing, keys, actions, and that nothing of it is left where it has no business."""

from __future__ import annotations

import re

import numpy as np
import pytest

from MedSAM3SceneLib.local_jobs import LocalJobs
from MedSAM3SceneLib.marks import read_marks
from MedSAM3SceneLib.segment_phrases import phrase_of
from MedSAM3SegmentLib.prompts import BoxMark, BoxReading, PointMark
from opened_effect import (
    LIVER,
    SPLEEN,
    HeldSegmenter,
    finish,
    is_running,
    open_effect,
    options,
    pixel_of,
    segment_of,
)
from scene_nodes import add_transform, add_volume, add_warp, rigid, snapshot
from slicer_scene import quiet
from slicer_stand_ins import load_module
from test_effect_actions import held


@pytest.fixture
def opened(bench):
    return open_effect(bench)


def marks_of(opened, name="liver"):
    return read_marks(segment_of(opened, name))


def lines_in(opened, view):
    """How many lines of marks a slice view shows, positive and negative ones."""
    from SegmentEditorMedSAM3Lib.prompt_shapes import NEGATIVE_COLOUR, POSITIVE_COLOUR

    renderer = opened.effect.scriptedEffect.renderer(opened.bench.app.layoutManager().sliceWidget(view))
    count = {POSITIVE_COLOUR: 0, NEGATIVE_COLOUR: 0}
    for number in range(renderer.GetViewProps().GetNumberOfItems()):
        prop = renderer.GetViewProps().GetItemAsObject(number)
        colour = prop.GetProperty().GetColor() if prop.IsA("vtkActor2D") else None
        if colour in count:
            count[colour] += prop.GetMapper().GetInput().GetNumberOfLines()
    return count[POSITIVE_COLOUR], count[NEGATIVE_COLOUR]


def test_a_click_is_a_point_and_a_drag_a_box_where_they_were_made(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))

    point, box = marks_of(opened)
    assert point.position == pytest.approx((15, 12, 6), abs=0.2)
    assert isinstance(box, BoxMark)
    corners = np.array(box.corners)
    assert corners.min(axis=0) == pytest.approx((11, 9, 6), abs=0.2)
    assert corners.max(axis=0) == pytest.approx((25, 23, 6), abs=0.2)
    assert options(opened).markList.count == 2
    assert options(opened).sliceButton.text == "This slice (Red)"


def test_two_quick_clicks_are_two_points_and_leave_the_layout_alone(opened):
    """Slicer lets a slice view fill the window on a double click that nobody takes."""
    places = [(15, 12, 6), (17, 14, 6)]

    taken = opened.editor.double_click("Red", *(pixel_of(opened, "Red", place) for place in places))

    assert taken
    assert [mark.position for mark in read_marks(segment_of(opened))] == [pytest.approx(p, abs=0.3) for p in places]


def test_a_view_that_is_destroyed_takes_its_marks_along_and_nothing_else(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.click("Green", pixel_of(opened, "Green", (15, 20, 6)))
    assert options(opened).sliceButton.text == "This slice (Green)"

    opened.bench.app.layoutManager().bench_remove("Green")
    opened.editor.click("Red", pixel_of(opened, "Red", (20, 14, 6)))
    assert len(marks_of(opened)) == options(opened).markList.count == 3
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


def test_what_is_not_meant_differs_in_colour_and_shape(opened):
    from SegmentEditorMedSAM3Lib.prompt_shapes import NEGATIVE_COLOUR, POSITIVE_COLOUR

    place = pixel_of(opened, "Red", (15, 12, 6))
    opened.editor.click("Red", place)
    positive = lines_in(opened, "Red")
    opened.editor.press("Red", "x", place)
    assert lines_in(opened, "Red") == (0, 0)
    opened.editor.press("Red", "n")
    opened.editor.click("Red", place)
    negative = lines_in(opened, "Red")

    assert marks_of(opened) == (PointMark(marks_of(opened)[0].position, positive=False),)
    assert (positive[1], negative[0]) == (0, 0)
    assert positive[0] != negative[1]
    assert abs(np.dot(POSITIVE_COLOUR, (0.3, 0.6, 0.1)) - np.dot(NEGATIVE_COLOUR, (0.3, 0.6, 0.1))) > 0.3
    assert options(opened).negativeButton.checked
    assert options(opened).markList.item(0).text().startswith("\N{MULTIPLICATION SIGN} negative point")


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

    options(opened).markList.setCurrentRow(0)
    options(opened).removeButton.click()
    assert [round(mark.position[0]) for mark in marks_of(opened)] == [20]
    options(opened).removeAllButton.click()
    assert marks_of(opened) == ()
    assert not options(opened).removeAllButton.enabled


def test_a_mark_that_is_chosen_in_the_list_is_shown_in_the_views(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (12, 30, 6)))
    node = opened.bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    node.JumpSliceByOffsetting(20, 20, 14)

    options(opened).markList.setCurrentRow(0)

    assert node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(6, abs=0.2)


def test_mouse_with_modifiers_and_other_keys_are_left_to_slicer(opened):
    for modifiers in ({"shift": True}, {"control": True}):
        assert not opened.editor.click("Red", (100, 100), **modifiers)
    assert not opened.editor.press("Red", "f")
    assert not opened.editor.press("Red", "n", shift=True)
    assert marks_of(opened) == ()


def test_one_undo_takes_an_action_back_bit_for_bit_and_its_marks_with_it(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    before, marks = snapshot(opened.segmentation), marks_of(opened)

    opened.editor.press("Red", "Return")
    finish(opened)
    opened.editor.click("Red", pixel_of(opened, "Red", (20, 20, 6)))
    after, later = snapshot(opened.segmentation), marks_of(opened)
    opened.editor.undo()

    assert after != before
    assert (held(opened.segmentation, "spleen", opened.volume) == SPLEEN).all()
    assert snapshot(opened.segmentation) == before
    assert marks_of(opened) == marks
    assert options(opened).markList.count == 1
    opened.editor.redo()
    assert snapshot(opened.segmentation) == after
    assert marks_of(opened) == later


def test_this_slice_then_propagate_fills_the_segment_and_keeps_the_slice(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.editor.press("Red", "Return")
    finish(opened)
    only = LIVER.copy()
    only[[0, 1, 2, 4, 5, 6, 7]] = False
    assert (held(opened.segmentation, "liver", opened.volume) == only).all()

    opened.editor.press("Red", "Return", shift=True)
    finish(opened)

    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()
    (mark,) = opened.segmenter.requests[-1].prompts["liver"].masks
    assert mark.slices == (3,)


def test_whole_volume_honours_masking_and_overwriting_of_the_editor(opened):
    opened.editor.widget.setCurrentSegmentID("spleen")
    opened.editor.node.SetOverwriteMode(opened.editor.node.OverwriteAllSegments)
    opened.editor.widget.setCurrentSegmentID("liver")
    array = opened.bench.slicer.util.arrayFromVolume(opened.volume)
    array[3, 28:36, 28:36] = 1
    options(opened).volumeButton.click()
    finish(opened)

    expected = SPLEEN.copy()
    expected[3, 28:36, 28:36] = False
    assert (held(opened.segmentation, "spleen", opened.volume) == expected).all()
    opened.editor.undo()
    opened.editor.node.SetMaskMode(opened.bench.slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    options(opened).volumeButton.click()
    finish(opened)
    assert (held(opened.segmentation, "spleen", opened.volume) == SPLEEN).all()
    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()


@pytest.mark.parametrize(
    ("leave", "why"),
    [
        (lambda o: o.editor.widget.setCurrentSegmentID("spleen"), "Another segment or volume was selected"),
        (
            lambda o: o.editor.widget.setSourceVolumeNode(add_volume(LIVER.astype(np.int16))),
            "Another segment or volume",
        ),
        (lambda o: o.segmentation.GetSegmentation().RemoveSegment("liver"), "removed"),
        (lambda o: o.bench.slicer.mrmlScene.RemoveNode(o.volume), "removed|Another segment or volume|effect was left"),
        (
            lambda o: o.bench.slicer.mrmlScene.RemoveNode(o.segmentation),
            "removed|Another segment or volume|effect was left",
        ),
        (lambda o: o.editor.leave(), "The effect was left"),
        (lambda o: options(o).cancelButton.click(), "cancelled"),
    ],
    ids=["segment", "volume", "segment removed", "volume removed", "segmentation removed", "deactivated", "cancel"],
)
def test_an_action_ends_with_what_it_was_begun_for_and_writes_nothing(opened, leave, why):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalJobs(segmenter)
    before = snapshot(opened.segmentation)
    options(opened).volumeButton.click()
    opened.bench.wait(segmenter.asked.is_set)

    leave(opened)
    opened.bench.wait(lambda: not is_running(opened))
    segmenter.may.set()
    opened.bench.spin(0.1)

    if opened.segmentation.GetScene() is not None and segment_of(opened) is not None:
        assert snapshot(opened.segmentation) == before
        with quiet():
            opened.editor.undo()
        assert snapshot(opened.segmentation) == before, "no undo state was saved"
    assert re.search(why, options(opened).messageLabel.text)
    assert not options(opened).cancelButton.enabled


def test_a_closed_scene_in_mid_action_is_harmless(opened):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalJobs(segmenter)
    options(opened).volumeButton.click()
    opened.bench.wait(segmenter.asked.is_set)

    opened.bench.slicer.mrmlScene.Clear(False)
    segmenter.may.set()
    opened.bench.spin(0.1)

    assert not is_running(opened)
    assert opened.bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_second_action_is_not_begun_before_the_first_one_ends(opened):
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalJobs(segmenter)
    options(opened).volumeButton.click()
    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        assert not button.enabled
        assert "on its way" in button.toolTip
    opened.editor.press("Red", "Return")
    assert "on its way already" in options(opened).messageLabel.text
    segmenter.may.set()
    finish(opened)

    assert len(segmenter.requests) == 1
    assert (held(opened.segmentation, "liver", opened.volume) == LIVER).all()
    assert options(opened).volumeButton.enabled


def test_leaving_the_effect_leaves_nothing_in_the_views(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    assert lines_in(opened, "Red")[0] > 0

    opened.editor.leave()

    assert lines_in(opened, "Red") == (0, 0)
    assert len(marks_of(opened)) == 1
    opened.editor.widget.setCurrentSegmentID("spleen")
    assert options(opened).markList.count == 1, "what is closed hears nothing"
    opened.editor.widget.setCurrentSegmentID("liver")
    opened.editor.choose("MedSAM3")
    assert lines_in(opened, "Red")[0] > 0


def test_each_segment_has_its_own_phrase_and_marks(opened):
    assert options(opened).phraseEdit.text == "liver"
    options(opened).phraseEdit.text = "right liver lobe"
    options(opened).phraseEdit.editingFinished.emit()
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    opened.editor.widget.setCurrentSegmentID("spleen")
    assert options(opened).phraseEdit.text == "spleen"
    assert options(opened).markList.count == 0
    assert lines_in(opened, "Red") == (0, 0)
    opened.editor.widget.setCurrentSegmentID("liver")
    assert options(opened).phraseEdit.text == "right liver lobe"
    assert options(opened).markList.count == 1


def test_typing_is_not_disturbed_by_what_happens_to_the_segment(opened):
    options(opened).phraseEdit.text = "right liv"
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    assert options(opened).phraseEdit.text == "right liv"


def test_the_closed_editor_hears_nothing_of_its_widgets_any_more(opened):
    widgets = options(opened)
    effect = opened.effect
    opened.editor.leave()
    effect.cleanup()

    widgets.volumeButton.click()
    widgets.phraseEdit.text = "pancreas"
    widgets.phraseEdit.editingFinished.emit()

    assert effect.options is None
    assert opened.segmenter.requests == []
    assert phrase_of(segment_of(opened)) == "liver"


@pytest.mark.parametrize(
    ("name", "entry", "phrase"),
    [
        ("kidney tumor", "", "kidney tumor"),
        ("Segment_1", "", ""),
        (
            "Segment_2",
            "Segmentation category and type~SCT^1^Organ~SCT^2^Kidney~SCT^3^Left~Anatomic~^^~^^",
            "left kidney",
        ),
        ("Segment_3", "Segmentation category and type~SCT^1^Tissue~SCT^2^Tissue~^^~Anatomic~^^~^^", ""),
        ("Segment", "no entry", ""),
    ],
)
def test_a_segment_is_asked_for_by_its_name_or_its_terminology(scene, name, entry, phrase):
    import slicer

    del scene
    segment = slicer.vtkSegment()
    segment.SetName(name)
    if entry:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)

    assert phrase_of(segment) == phrase


def test_the_reading_of_boxes_reaches_the_engine_and_stays_in_the_scene(opened):
    opened.editor.drag("Red", pixel_of(opened, "Red", (11, 9, 6)), pixel_of(opened, "Red", (25, 23, 6)))
    options(opened).readingSelector.setCurrentIndex(1)
    options(opened).volumeButton.click()
    finish(opened)

    assert opened.segmenter.requests[-1].prompts["liver"].reading is BoxReading.THINGS_LIKE_THIS
    assert opened.editor.node.GetAttribute("MedSAM3.Reading") == "things like this"


def test_a_warped_segmentation_is_refused_in_words_and_draws_nothing(opened):
    opened.segmentation.SetAndObserveTransformNodeID(add_warp().GetID())

    opened.editor.click("Red", (100, 100))
    assert "non-linear transform" in options(opened).messageLabel.text
    options(opened).volumeButton.click()
    assert "non-linear transform" in options(opened).messageLabel.text
    assert not is_running(opened)
    assert marks_of(opened) == ()


def test_a_warped_volume_is_refused_in_words_and_shown_without_fail(opened):
    opened.volume.SetAndObserveTransformNodeID(add_warp().GetID())

    opened.editor.click("Red", (100, 100))
    options(opened).volumeButton.click()

    assert "'ct' is under the non-linear transform 'warp'" in options(opened).messageLabel.text
    assert len(marks_of(opened)) == 1


def test_marks_move_with_the_transform_of_the_segmentation(opened):
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))
    opened.segmentation.SetAndObserveTransformNodeID(add_transform(rigid((0, 0, 0), (0, 0, 100))).GetID())

    assert lines_in(opened, "Red") == (0, 0)
    assert options(opened).markList.item(0).text() == "+ point, R 15 A 12 S 106"


def test_without_a_segment_actions_say_why_they_cannot_be_clicked(opened):
    opened.editor.widget.setCurrentSegmentID("")

    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        assert not button.enabled
        assert "segment" in button.toolTip
    assert not opened.editor.click("Red", (100, 100))


def test_an_engine_that_cannot_start_is_told_in_words(opened):
    from MedSAM3SegmentLib.errors import ModelError

    def no_engine():
        raise ModelError("PyTorch is not installed; install it in the panel.")

    opened.effect.engine = no_engine
    options(opened).volumeButton.click()

    assert options(opened).messageLabel.text == "PyTorch is not installed; install it in the panel."
    assert options(opened).volumeButton.enabled


def test_what_a_model_without_a_tracker_cannot_do_is_told_in_the_effects_own_words(opened, tiny_model_folder):
    from MedSAM3SegmentLib.segmenter import Segmenter

    opened.effect.engine = lambda: LocalJobs(Segmenter.load(str(tiny_model_folder), "cpu"))
    before = snapshot(opened.segmentation)
    opened.editor.click("Red", pixel_of(opened, "Red", (15, 12, 6)))

    for button in (options(opened).sliceButton, options(opened).propagateButton, options(opened).volumeButton):
        button.click()
        finish(opened)
        said = options(opened).messageLabel.text
        assert "cannot follow what was drawn" in said
        assert '"Things like this"' in said
        assert f'"{options(opened).sliceButton.text}" or "{options(opened).volumeButton.text}"' in said
        assert not re.search(r"\bmodes?\b", said)
    assert snapshot(opened.segmentation) == before

    options(opened).removeAllButton.click()
    options(opened).sliceButton.click()
    finish(opened)
    assert "cannot follow" not in options(opened).messageLabel.text, "what is advised can be done"


def test_the_cursor_is_a_cross_and_the_icon_is_there(opened):
    import qt

    assert opened.effect.createCursor(None).shape() == qt.Qt.CrossCursor
    assert not opened.effect.icon().isNull()


def test_no_key_of_the_effect_is_a_key_of_slicer():
    """Keys as VTK names them: Slicer's Segment Editor, slice views and markups, and peers that take window keys."""
    import ast
    from pathlib import Path

    source = Path(__file__).parents[1] / "MedSAM3Segment" / "SegmentEditorMedSAM3Lib" / "keyboard.py"
    (commands,) = [
        node.value
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_COMMANDS"
    ]
    keys = [key.elts[0].value for key in commands.keys]
    editor = {*"0123456789", "Escape", "space", *"zyqwi", "slash", "asterisk", "comma", "period", "less", "greater"}
    views = {*"fbgtvVr", "Left", "Right", "Up", "Down", "bracketleft", "bracketright", "braceleft", "braceright"}
    others = {"Delete", "BackSpace", *"pbsltervPBSLTERV"}

    assert len(keys) == 4
    assert not set(keys) & (editor | views | others)


def test_registering_twice_offers_the_effect_once(bench):
    from SegmentEditorMedSAM3Lib.registration import register_effect

    factory = bench.slicer.qSlicerSegmentEditorEffectFactory.instance()

    register_effect()
    register_effect()

    assert [effect.name for effect in factory.registeredEffects()].count("MedSAM3") == 1


def test_the_self_test_of_the_effect_passes(bench):
    load_module("MedSAM3Segment").MedSAM3SegmentTest().test_effect()
    assert not bench.slot_errors


def test_slicers_start_loads_nothing_heavy_for_the_effect():
    import ast
    from pathlib import Path

    library = Path(__file__).parents[1] / "MedSAM3Segment" / "SegmentEditorMedSAM3Lib"
    for name in ("__init__", "registration", "SegmentEditorEffect"):
        for node in ast.parse((library / f"{name}.py").read_text()).body:
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"os", "qt", "slicer"}
            elif isinstance(node, ast.ImportFrom):
                light = {"__future__", "pathlib", "SegmentEditorEffects", "slicer.i18n"}
                assert node.level == 1 or node.module in light
