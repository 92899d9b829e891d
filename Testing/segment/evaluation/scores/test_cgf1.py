"""cgF1 by hand, and by a definition that is written out case by case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3SegmentLib.evaluation.scores.cgf1 import ObjectCounts, score_cgf1
from MedSAM3SegmentLib.evaluation.scores.instance_scores import score_instances


def case(reference: int, predicted: int, *hits: int) -> ObjectCounts:
    return ObjectCounts(reference, predicted, hits or (0, 0))


def test_by_hand() -> None:
    cases = [case(4, 5, 4, 2), case(2, 0), case(0, 3), case(0, 0)]
    scores = score_cgf1(cases)
    # Objects of a case without any in the reference count in the presence alone.
    assert scores.positive_micro_f1 == pytest.approx((2 * 4 / 11 + 2 * 2 / 11) / 2)
    assert scores.il_mcc == pytest.approx(0.0)  # one of each
    assert scores.cgf1 == pytest.approx(0.0)


def test_perfect_and_without_a_negative() -> None:
    assert score_cgf1([case(2, 2, 2, 2), case(0, 0)]).cgf1 == 1.0
    only_positive = score_cgf1([case(2, 2, 2, 2)])
    assert (only_positive.positive_micro_f1, only_positive.il_mcc, only_positive.cgf1) == (1.0, None, None)
    assert score_cgf1([case(0, 1)]).cgf1 is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12))
def test_presence_is_a_correlation(counts: list[tuple[int, int]]) -> None:
    ours = score_cgf1([case(a, b, min(a, b), 0) for a, b in counts])
    there, found = (np.array([one[n] > 0 for one in counts], float) for n in (0, 1))
    if there.std() and found.std():
        assert ours.il_mcc == pytest.approx(np.corrcoef(there, found)[0, 1], abs=1e-9)
    else:
        assert ours.il_mcc is None
    positives = [(a, b) for a, b in counts if a]
    if positives:
        hits = sum(min(a, b) for a, b in positives)
        precision, recall = hits / (sum(b for _, b in positives) or 1), hits / sum(a for a, _ in positives)
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        assert ours.positive_micro_f1 == pytest.approx(f1 / 2)


def test_a_match_at_the_threshold_counts_once() -> None:
    # Two halves of one object: IoU 0.5 each.
    scores = score_instances(np.array([[1, 1, 2, 2]]), np.array([[7, 7, 7, 7]]))
    assert scores.hits == (1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert scores.matched == 0
    assert score_instances(np.array([[1] * 8 + [0] * 2]), np.array([[1] * 10])).hits == (1,) * 7 + (0,) * 3
