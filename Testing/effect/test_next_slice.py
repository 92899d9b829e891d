"""The effect fills between drawn slices without an engine too, and goes to the slice to draw next."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.request import Adapt
from support.effect import LIVER, finish, open_effect, options
from support.effect_actions import held

#: Why there is no engine.
ABSENT = "The package torch is missing; install it."


@pytest.fixture
def drawn(bench):
    """The effect without an engine, with the liver drawn on two slices that leave two others between them."""
    opened = open_effect(bench)

    def no_engine():
        raise ModelError(ABSENT)

    opened.effect.engine = no_engine
    mask = np.zeros_like(LIVER)
    mask[[2, 5]] = LIVER[[2, 5]]
    bench.slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), opened.segmentation, "liver", opened.volume
    )
    return opened


def axial_place(bench):
    """Where the red slice view is along the patient, in slices."""
    return bench.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS().GetElement(2, 3) / 2


def test_drawn_slices_are_filled_between_without_an_engine_and_that_is_said(drawn):
    options(drawn).propagateButton.click()
    finish(drawn)
    expected = np.zeros_like(LIVER)
    expected[2:6] = LIVER[2:6]
    assert (held(drawn.segmentation, "liver", drawn.volume) == expected).all()
    said = options(drawn).messageLabel.text
    assert "No model was used" in said
    assert ABSENT in said


def test_the_name_of_what_is_learnt_goes_with_the_box_and_no_model_learns_nothing(drawn):
    choice = options(drawn).learning
    assert choice.nameEdit.isHidden()
    choice.box.click()
    assert not choice.nameEdit.isHidden()
    choice.nameEdit.text = " my-liver "
    options(drawn).propagateButton.click()
    finish(drawn)
    assert "Nothing was learnt from the drawn slices, since there is no model." in options(drawn).messageLabel.text
    # With an engine the name comes with what it is to learn from.
    drawn.effect.engine = lambda: LocalEngine(drawn.segmenter)
    options(drawn).propagateButton.click()
    finish(drawn)
    asked = drawn.segmenter.requests
    assert (asked[-1].adapt, asked[-1].adapt_name) == (Adapt.SLICES, "my-liver")
    choice.box.click()
    assert choice.nameEdit.isHidden()
    options(drawn).propagateButton.click()
    finish(drawn)
    assert (asked[-1].adapt, asked[-1].adapt_name) == (None, "")


def test_what_needs_a_model_says_that_there_is_none(drawn):
    before = held(drawn.segmentation, "liver", drawn.volume)
    options(drawn).phraseEdit.text = "liver"
    options(drawn).volumeButton.click()
    finish(drawn)
    assert ABSENT in options(drawn).messageLabel.text
    assert (held(drawn.segmentation, "liver", drawn.volume) == before).all()


def test_the_button_goes_to_the_slice_to_draw_next_until_another_segment_is_selected(bench, drawn):
    button = options(drawn).nextSliceButton
    assert button.isHidden()
    options(drawn).propagateButton.click()
    finish(drawn)
    assert not button.isHidden()
    (index,) = [int(word) for word in button.text.replace(",", " ").split() if word.isdecimal()]
    # The liver is wide on its last drawn slices, and nothing looked for it beyond.
    assert index in (1, 6)
    assert f"slice {index} " in options(drawn).messageLabel.text
    button.click()
    assert axial_place(bench) == pytest.approx(index)
    drawn.editor.widget.setCurrentSegmentID("spleen")
    assert button.isHidden()
