"""Means with bootstrap intervals, and paired tests between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Resamples of a bootstrap, and the seed that makes them the same each time.
RESAMPLES = 2000
SEED = 20181

#: Numbers that are drawn together.
_DRAWS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; the ends are None where there are fewer than two units to resample."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedComparison:
    """One run against another on the same cases.

    Attributes:
        count: cases that both have a score for.
        difference: mean of the first minus the second, with its interval.
        p: of the two-sided Wilcoxon signed-rank test, None where no pair differs.
    """

    count: int
    difference: Interval
    p: float | None

    def is_non_inferior(self, margin: float) -> bool | None:
        """Whether the first is not worse by ``margin`` or more: the low end of the interval lies above ``-margin``.

        A test at the one-sided level of 2.5 %; None without an interval.
        """
        return None if self.difference.low is None else self.difference.low > -margin


def bootstrap_mean(values: Sequence[float], units: Sequence[str]) -> Interval:
    """The mean over all values, and its percentile bootstrap over whole units (patients, sequences, or cases).

    Args:
        values: at least one.
        units: of each value; values of one unit are drawn together, since they are not independent.
    """
    numbers = np.asarray(values, float)
    _, at = np.unique(np.asarray(units, str), return_inverse=True)
    sums, counts = np.bincount(at, numbers), np.bincount(at)
    mean = float(numbers.mean())
    if len(counts) < 2:
        return Interval(mean, None, None)
    means = _resampled(sums, counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def compare_paired(first: Sequence[float], second: Sequence[float], units: Sequence[str]) -> PairedComparison:
    """Compare two runs case by case.

    Args:
        first, second: scores of the same cases in the same order, at least one.
        units: as for ``bootstrap_mean``.
    """
    from scipy.stats import wilcoxon

    differences = np.asarray(first, float) - np.asarray(second, float)
    # Scores are ratios: what differs in the last digits only is equal.
    differences[np.abs(differences) < 1e-12] = 0.0
    p = float(wilcoxon(differences).pvalue) if differences.any() else None
    return PairedComparison(len(differences), bootstrap_mean(differences.tolist(), units), p)


def _resampled(sums: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    random = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    at_once = max(1, _DRAWS_AT_ONCE // len(sums))  # of ten thousand units all draws at once would be 160 MB
    for first in range(0, RESAMPLES, at_once):
        part = means[first : first + at_once]
        drawn = random.integers(0, len(sums), (len(part), len(sums)))
        part[:] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means
