"""Answers at once: what is drawn in a slice view is answered there, by the newest change alone, and one undo each."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from support.effect import (
    LIVER,
    HeldSegmenter,
    finish,
    is_running,
    marks_of,
    open_effect,
    options,
    pixel_of,
    segment_of,
)
from support.effect_actions import held
from support.nodes import add_volume


class CutSegmenter(FakeSegmenter):
    """Finds no voxel to the side of a negative point where the first index is larger."""

    def _concept(self, volume, request, stack, concept, slices):
        marks = request.prompts.get(concept)
        negative = [point for point in marks.points if not point.positive] if marks is not None else []
        end = min((round(point.position[0]) for point in negative), default=volume.array.shape[2])
        allowed = np.zeros(volume.array.shape, bool)
        allowed[..., :end] = True
        array = np.where(allowed, volume.array, 0)
        return super()._concept(type(volume)(array, volume.grid), request, stack, concept, slices)


@pytest.fixture
def opened(bench):
    opened = open_effect(bench)
    options(opened).atOnceBox.click()
    return opened


def hold(opened):
    """Let runs wait until they may go on."""
    segmenter = HeldSegmenter({"liver": 1})
    opened.effect.engine = lambda: LocalEngine(segmenter)
    return segmenter


def click(opened, place, view="Red"):
    opened.editor.click(view, pixel_of(opened, view, place))


def liver(opened):
    return held(opened.segmentation, "liver", opened.volume)


def on_slices(*slices):
    """The liver on some axial slices alone."""
    mask = np.zeros_like(LIVER)
    mask[list(slices)] = LIVER[list(slices)]
    return mask


def jump(opened, k, view="Red"):
    node = opened.bench.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    node.JumpSliceByCentering(20.0, 20.0, 2.0 * k)


def asked(segmenter):
    """The slices that were asked for, in order."""
    return [request.slices for request in segmenter.requests]


def test_it_is_off_until_a_user_wants_it_and_stays_in_the_scene(bench):
    opened = open_effect(bench)
    assert not options(opened).atOnceBox.checked
    click(opened, (15, 12, 6))
    assert not is_running(opened)
    assert opened.segmenter.requests == []

    options(opened).atOnceBox.click()
    assert opened.editor.node.GetAttribute("MedSAM3.AnswerAtOnce") == "1"
    opened.editor.node.SetAttribute("MedSAM3.AnswerAtOnce", "0")
    opened.editor.leave()
    opened.editor.choose("MedSAM3")
    assert not options(opened).atOnceBox.checked


@pytest.mark.parametrize(
    "draw",
    [
        lambda o: click(o, (15, 12, 6)),
        lambda o: o.editor.drag("Red", pixel_of(o, "Red", (11, 9, 6)), pixel_of(o, "Red", (25, 23, 6))),
    ],
    ids=["point", "box"],
)
def test_what_is_drawn_is_answered_on_its_slice_as_the_button_does(opened, draw):
    draw(opened)
    finish(opened)
    by_itself = liver(opened)
    opened.editor.undo()
    options(opened).sliceButton.click()
    finish(opened)

    assert (by_itself == on_slices(3)).all()
    assert (liver(opened) == by_itself).all()
    first, second = opened.segmenter.requests
    assert repr(first) == repr(second)


def test_it_is_the_view_that_was_drawn_in(opened):
    click(opened, (15, 20, 6), "Green")
    finish(opened)

    assert opened.segmenter.requests[-1].plane is Plane.CORONAL
    expected = np.zeros_like(LIVER)
    expected[:, 20] = LIVER[:, 20]
    assert (liver(opened) == expected).all()


def test_a_mark_that_was_moved_is_answered_when_it_is_let_go(opened):
    click(opened, (15, 12, 6))
    finish(opened)
    start, end = pixel_of(opened, "Red", (15, 12, 6)), pixel_of(opened, "Red", (20, 18, 6))

    opened.editor.press_button("Red", start)
    opened.editor.move("Red", end)
    opened.bench.spin(0.1)
    assert len(opened.segmenter.requests) == 1
    opened.editor.release_button("Red", end)
    finish(opened)

    assert len(opened.segmenter.requests) == 2
    (point,) = opened.segmenter.requests[-1].prompts["liver"].points
    assert point.position == pytest.approx((20, 18, 6), abs=0.2)


@pytest.mark.parametrize(
    "touch",
    [
        lambda o: click(o, (15, 12, 6)),
        lambda o: o.editor.drag("Red", (100, 100), (140, 101)),
        lambda o: o.editor.press("Red", "n"),
        lambda o: o.editor.press("Red", "x", pixel_of(o, "Red", (15, 12, 6))),
        lambda o: o.editor.undo(),
    ],
    ids=["a point is clicked", "a line", "key n", "the last mark is removed", "undo"],
)
def test_what_draws_nothing_starts_nothing(opened, touch):
    click(opened, (15, 12, 6))
    finish(opened)

    touch(opened)
    opened.bench.spin(0.1)

    assert not is_running(opened)
    assert len(opened.segmenter.requests) == 1


def test_a_negative_point_and_its_removal_change_voxels_with_one_undo_each(opened):
    opened.effect.engine = lambda: LocalEngine(CutSegmenter({"liver": 1}))
    click(opened, (12, 12, 6))
    finish(opened)
    first = liver(opened)
    options(opened).negativeButton.click()
    click(opened, (20, 16, 6))
    finish(opened)
    smaller = liver(opened)
    opened.editor.press("Red", "x", pixel_of(opened, "Red", (20, 16, 6)))
    finish(opened)

    cut = on_slices(3)
    cut[..., 20:] = False
    assert (first == on_slices(3)).all()
    assert (smaller == cut).all()
    assert (liver(opened) == first).all()
    states = [first]
    for _ in range(3):
        opened.editor.undo()
        states.append(liver(opened))
    assert [int(state.sum()) for state in states] == [int(first.sum()), int(cut.sum()), int(first.sum()), 0]
    assert len(marks_of(opened)) == 1, "it was drawn before its answer"


def test_other_slices_of_the_segment_stay_as_they_are(opened):
    for k in (3, 5):
        jump(opened, k)
        click(opened, (15, 12, 2.0 * k))
        finish(opened)

    assert (liver(opened) == on_slices(3, 5)).all()
    assert len(opened.segmenter.requests[-1].prompts["liver"].points) == 1


def test_of_prompts_drawn_during_a_run_the_newest_is_answered_in_its_slice(opened):
    segmenter = hold(opened)
    click(opened, (15, 12, 6))
    opened.bench.wait(segmenter.asked.is_set)
    for k in (4, 5):
        jump(opened, k)
        click(opened, (15, 12, 2.0 * k))
    jump(opened, 6)
    assert is_running(opened)
    assert len(segmenter.requests) == 1

    segmenter.may.set()
    finish(opened)

    assert asked(segmenter) == [(3, 4), (5, 6)]
    assert (liver(opened) == on_slices(3, 5)).all()
    opened.editor.undo()
    assert (liver(opened) == on_slices(3)).all()


def test_a_view_scrolled_during_a_run_is_answered_where_it_was_pressed(opened):
    options(opened).atOnceBox.click()
    click(opened, (15, 12, 6))
    options(opened).sliceButton.click()
    jump(opened, 5)
    finish(opened)

    assert (liver(opened) == on_slices(3)).all()


@pytest.mark.parametrize(
    "end",
    [
        lambda o: options(o).cancelButton.click(),
        lambda o: o.editor.leave(),  # what Escape does
        lambda o: o.editor.widget.setCurrentSegmentID("spleen"),
        lambda o: o.editor.widget.setSourceVolumeNode(add_volume(LIVER.astype(np.int16))),
        lambda o: o.bench.slicer.mrmlScene.Clear(False),
    ],
    ids=["cancel", "the effect is left", "segment", "volume", "scene"],
)
def test_what_ends_a_run_drops_the_one_that_waits(opened, end):
    segmenter = hold(opened)
    click(opened, (15, 12, 6))
    opened.bench.wait(segmenter.asked.is_set)
    click(opened, (20, 20, 6))

    end(opened)
    segmenter.may.set()
    opened.bench.wait(lambda: not is_running(opened))
    opened.bench.spin(0.1)

    assert len(segmenter.requests) == 1
    if segment_of(opened) is not None:
        assert not liver(opened).any()


def test_what_is_drawn_after_a_cancel_is_answered(opened):
    segmenter = hold(opened)
    click(opened, (15, 12, 6))
    opened.bench.wait(segmenter.asked.is_set)
    options(opened).cancelButton.click()
    click(opened, (20, 20, 6))
    segmenter.may.set()
    finish(opened)

    assert len(segmenter.requests[-1].prompts["liver"].points) == 2
    assert (liver(opened) == on_slices(3)).all()


@pytest.mark.parametrize("how", ["switched off", "marks removed"])
def test_a_run_that_waits_is_not_begun_when_nobody_wants_it_any_more(opened, how):
    segmenter = hold(opened)
    click(opened, (15, 12, 6))
    opened.bench.wait(segmenter.asked.is_set)
    click(opened, (20, 20, 6))
    if how == "switched off":
        options(opened).atOnceBox.click()
    else:
        options(opened).removeAllButton.click()
    segmenter.may.set()
    finish(opened)

    assert len(segmenter.requests) == 1
    assert (liver(opened) == on_slices(3)).all()


def test_a_run_that_failed_does_not_hold_up_the_next(opened):
    segmenter = hold(opened)
    click(opened, (15, 12, 6))
    opened.bench.wait(segmenter.asked.is_set)
    click(opened, (20, 20, 6))

    def no_engine():
        raise ModelError("The model broke; add it again.")

    opened.effect.engine = no_engine
    segmenter.may.set()
    finish(opened)
    assert options(opened).messageLabel.text == "The model broke; add it again."

    opened.effect.engine = lambda: LocalEngine(segmenter)
    click(opened, (22, 10, 6))
    finish(opened)
    assert len(segmenter.requests) == 2


def test_nothing_to_look_for_is_said_and_nothing_is_begun(opened):
    options(opened).phraseEdit.text = ""
    options(opened).negativeButton.click()
    click(opened, (15, 12, 6))

    assert not is_running(opened)
    assert opened.segmenter.requests == []
    assert options(opened).messageLabel.text.startswith("There is nothing to look for; type what 'liver' is")
    assert len(marks_of(opened)) == 1

    options(opened).positiveButton.click()
    click(opened, (20, 20, 6))
    finish(opened)
    assert len(opened.segmenter.requests) == 1


def test_without_a_volume_or_a_segment_nothing_is_drawn_or_begun(opened):
    click(opened, (15, 12, 6))
    click(opened, (20, 20, 6))
    finish(opened)
    before = len(opened.segmenter.requests)
    opened.editor.widget.setSourceVolumeNode(None)
    opened.editor.press("Red", "x", pixel_of(opened, "Red", (20, 20, 6)))
    assert "source volume" in options(opened).messageLabel.text
    opened.editor.widget.setCurrentSegmentID("")
    opened.editor.click("Red", (100, 100))
    assert "segment" in options(opened).messageLabel.text

    opened.bench.spin(0.1)
    assert not is_running(opened)
    assert len(opened.segmenter.requests) == before
