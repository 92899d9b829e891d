"""Propagating what was drawn: which slices count as drawn or corrected, and that they stay as they are."""

import pytest

from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.segments.prompts import write_prompts
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.request import Adapt, Mode
from support.effect_actions import TRUTH, Setting, box, flat_box, rewrite

pytestmark = pytest.mark.usefixtures("scene")


def test_drawn_slices_come_back_bit_identical_and_the_rest_is_filled():
    drawn = box((2, 4, 4), (3, 6, 7)) | box((5, 1, 0), (6, 3, 9))
    setting = Setting(liver=drawn)

    run = setting.act(EditAction.PROPAGATE)

    expected = TRUTH.copy()
    expected[[2, 5]] = drawn[[2, 5]]
    assert (setting.held == expected).all()
    # The name of what was drawn lets detections check where it ends.
    assert setting.request.mode is Mode.PROPAGATE
    assert setting.request.plane is Plane.AXIAL
    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (2, 5)
    assert (mark.mask == drawn).all()
    assert any("Kept as they were drawn, on axial slices: 2, 5." in message for message in run.messages)


def test_corrected_slices_count_as_edited_and_an_emptied_one_stays_empty():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))
    setting.act(EditAction.PROPAGATE)
    corrected = setting.held
    corrected[2] = False
    corrected[5, 8, 9] = True
    setting.logic.calls.clear()
    image = setting.slicer.vtkOrientedImageData()
    rewrite(setting, corrected, image)

    setting.act(EditAction.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (2, 4, 5)
    assert (setting.held[[2, 4, 5]] == corrected[[2, 4, 5]]).all()
    assert not setting.held[2].any()
    assert (setting.held[[1, 3, 6]] == TRUTH[[1, 3, 6]]).all()


def test_the_model_learns_from_drawn_slices_where_that_is_chosen():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))
    setting.act(EditAction.PROPAGATE, learns=True, learnt_name="my-liver")
    assert setting.request.adapt is Adapt.SLICES
    assert setting.request.adapt_name == "my-liver"
    setting.act(EditAction.PROPAGATE)
    assert setting.request.adapt is None
    assert not setting.request.adapt_name


def test_nothing_is_learnt_from_boxes_alone_and_that_is_said():
    setting = Setting()
    write_prompts(setting.segmentation.GetSegmentation().GetSegment("liver"), (flat_box(setting, 3),))
    run = setting.act(EditAction.PROPAGATE, learns=True, learnt_name="my-liver")
    assert setting.request.adapt is None
    assert not setting.request.adapt_name
    assert "Nothing was learnt, since no slice was drawn." in run.messages


def test_without_a_phrase_what_was_drawn_is_all_there_is():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))

    setting.act(EditAction.PROPAGATE, phrase="")

    assert setting.request.mode is Mode.FROM_PROMPTS


def test_a_correction_is_backed_by_a_sure_slice_on_each_side_not_near_it():
    truth = box((0, 2, 3), (20, 7, 8), (20, 9, 10))
    setting = Setting(truth)
    setting.act(EditAction.WHOLE_VOLUME)
    corrected = setting.held
    corrected[10] = False
    corrected[10, 3, 3] = True
    rewrite(setting, corrected, setting.slicer.vtkOrientedImageData())

    setting.act(EditAction.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (6, 10, 14)
    assert (setting.held[10] == corrected[10]).all()
    # Only what a person drew counts as drawn from now on.
    setting.act(EditAction.PROPAGATE)
    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (6, 10, 14)


def test_undo_also_takes_back_what_counts_as_written():
    setting = Setting(liver=box((4, 3, 3), (5, 5, 5)))
    setting.act(EditAction.PROPAGATE)
    setting.logic.logic.Undo()

    setting.act(EditAction.PROPAGATE)

    (mark,) = setting.request.prompts["liver"].masks
    assert mark.slices == (4,)


def test_a_drawing_on_a_sagittal_slice_is_carried_along_sagittal_slices():
    drawn = box((2, 3, 5), (6, 6, 6))
    setting = Setting(liver=drawn)

    setting.act(EditAction.PROPAGATE)

    assert setting.request.plane is Plane.SAGITTAL
    assert setting.request.prompts["liver"].masks[0].slices == (5,)
    assert (setting.held[:, :, 5] == drawn[:, :, 5]).all()
