"""Dice means what the literature means by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from MedSAM3SegmentLib.evaluation.metrics import dice

masks = npst.arrays(bool, (3, 4, 5))


def test_half_overlap() -> None:
    first, second = np.zeros((2, 2, 4), bool), np.zeros((2, 2, 4), bool)
    first[..., :2] = True
    second[..., 1:3] = True
    assert dice(first, second) == 0.5


def test_is_taken_over_the_whole_volume_and_not_averaged_over_slices() -> None:
    mask, reference = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    mask[0], reference[0] = True, True  # 100 voxels agree
    reference[1, 0, 0] = True  # one is missed, in a slice of its own
    assert dice(mask, reference) == pytest.approx(200 / 201)


@given(masks, masks)
def test_lies_between_0_and_1_and_is_symmetric(mask: np.ndarray, reference: np.ndarray) -> None:
    assert 0.0 <= dice(mask, reference) <= 1.0
    assert dice(mask, reference) == dice(reference, mask)


@given(masks)
def test_a_mask_agrees_with_itself_and_not_with_its_opposite(mask: np.ndarray) -> None:
    assert dice(mask, mask) == 1.0
    assert dice(mask, ~mask) == 0.0


@given(masks.filter(lambda mask: mask.any()), st.integers(2, 9))
def test_takes_label_values_for_true(mask: np.ndarray, value: int) -> None:
    assert dice(mask.astype(np.uint8) * value, mask) == 1.0


def test_what_is_absent_and_not_found_agrees() -> None:
    nothing = np.zeros((2, 2, 2), bool)
    assert dice(nothing, nothing) == 1.0
    assert dice(~nothing, nothing) == 0.0


def test_refuses_masks_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 1), bool))
