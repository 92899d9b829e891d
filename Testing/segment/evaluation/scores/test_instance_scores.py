"""Objects are matched and counted as panoptic quality and the Data Science Bowl do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import linear_sum_assignment

from MedSAM3SegmentLib.evaluation.scores.instance_scores import score_instances


def strip(*lengths: int) -> np.ndarray:
    """Objects of these lengths in a row, a gap of one between them."""
    parts = [[n + 1] * length + [0] for n, length in enumerate(lengths)]
    return np.array([[value for part in parts for value in part]])


def test_values_counted_by_hand() -> None:
    reference = np.array([[1] * 10 + [0] * 10 + [2] * 10 + [0] * 10])
    # The first is 8 of 10 (IoU 0.8), the second is missed, and there is one too many.
    predicted = np.array([[7] * 8 + [0] * 22 + [9] * 5 + [0] * 5])
    scores = score_instances(predicted, reference)
    assert (scores.reference, scores.predicted, scores.matched) == (2, 2, 1)
    assert scores.pq == pytest.approx(0.8 / (1 + 0.5 + 0.5))
    # One of three at 0.5 to 0.75; an IoU of 0.8 is not above 0.8.
    assert scores.ap50 == pytest.approx(1 / 3)
    assert scores.ap == pytest.approx(6 / 10 / 3)


def test_one_object_that_covers_two_matches_neither() -> None:
    scores = score_instances(np.array([[1] * 21]), strip(10, 9, 0)[:, :21])
    assert (scores.matched, scores.pq, scores.ap) == (0, 0.0, 0.0)


def test_nothing_on_both_sides_is_undefined_and_on_one_side_zero() -> None:
    empty, some = np.zeros((2, 3), int), np.ones((2, 3), int)
    assert score_instances(empty, empty).pq is None
    assert (score_instances(some, empty).pq, score_instances(empty, some).ap) == (0.0, 0.0)
    assert score_instances(some, some).pq == 1.0


@given(
    npst.arrays(np.uint8, (6, 6), elements={"max_value": 4}), npst.arrays(np.uint8, (6, 6), elements={"max_value": 4})
)
def test_equals_the_best_assignment(predicted: np.ndarray, reference: np.ndarray) -> None:
    ours, theirs = ([one == n for n in np.unique(one) if n] for one in (predicted, reference))
    scores = score_instances(predicted, reference)
    assert (scores.predicted, scores.reference) == (len(ours), len(theirs))
    if not ours or not theirs:
        return
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in theirs] for a in ours])
    rows, columns = linear_sum_assignment(-np.where(iou > 0.5, iou, 0))
    good = [value for value in iou[rows, columns] if value > 0.5]
    assert scores.matched == len(good)
    assert scores.pq == pytest.approx(2 * sum(good) / (len(ours) + len(theirs)))


@given(
    npst.arrays(np.int32, (4, 5), elements=st.integers(0, 6)), npst.arrays(np.int32, (4, 5), elements=st.integers(0, 6))
)
def test_numbers_of_objects_may_be_any_and_of_any_type(predicted: np.ndarray, reference: np.ndarray) -> None:
    expected = score_instances(predicted, reference)
    for dtype, factor in ((np.uint16, 7), (np.int64, 10**12), (np.int32, -3), (np.float64, 1)):
        assert score_instances(predicted.astype(dtype) * dtype(factor), reference.astype(np.uint8)) == expected
