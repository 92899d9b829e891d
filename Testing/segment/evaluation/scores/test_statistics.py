"""Intervals and tests against what can be worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from MedSAM3SegmentLib.evaluation.scores.statistics import bootstrap_mean, compare_paired


def names(count: int) -> list[str]:
    return [str(n) for n in range(count)]


def test_the_interval_is_that_of_an_independent_bootstrap() -> None:
    values = np.random.default_rng(1).beta(5, 2, 60).tolist()
    ours = bootstrap_mean(values, names(60))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=3).confidence_interval
    assert ours.mean == pytest.approx(np.mean(values))
    assert ours.low == pytest.approx(theirs.low, abs=0.008)
    assert ours.high == pytest.approx(theirs.high, abs=0.008)


def test_cases_of_one_patient_are_drawn_together() -> None:
    values = [0.0] * 50 + [1.0] * 50
    alone = bootstrap_mean(values, names(100))
    together = bootstrap_mean(values, ["first"] * 50 + ["second"] * 50)
    assert alone.low is not None
    assert (together.mean, together.low, together.high) == (0.5, 0.0, 1.0)
    assert alone.low > 0.35


def test_one_case_has_no_interval() -> None:
    assert bootstrap_mean([0.3], ["a"]).low is None


def test_the_paired_test_is_wilcoxons() -> None:
    random = np.random.default_rng(4)
    first, second = random.random(30), random.random(30)
    compared = compare_paired(first.tolist(), second.tolist(), names(30))
    assert compared.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert compared.difference.mean == pytest.approx((first - second).mean())


def test_equal_runs_have_no_p_and_are_not_inferior() -> None:
    compared = compare_paired([0.5, 0.6], [0.5, 0.6], names(2))
    assert compared.p is None
    assert compared.is_non_inferior(0.01)


def test_non_inferior_by_the_low_end_of_the_interval() -> None:
    worse = compare_paired([0.5 + n / 1000 for n in range(20)], [0.6 + n / 1000 for n in range(20)], names(20))
    assert worse.is_non_inferior(0.11)
    assert not worse.is_non_inferior(0.09)
    assert compare_paired([0.5], [0.6], ["a"]).is_non_inferior(0.2) is None
