"""Classification-gated F1 (cgF1) as SAM 3 reports it: how well objects are found, times how well presence is known.

SAM 3 (arXiv 2511.16719): positive micro F1 counts objects over all cases that have any, at the IoU thresholds 0.5 to
0.95, averaged; IL_MCC is Matthews' correlation of "has objects" with "objects were found" over all cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of one case.

    Attributes:
        reference, predicted: how many there are.
        hits: how many match, at each threshold.
    """

    reference: int
    predicted: int
    hits: tuple[int, ...]


@dataclass(frozen=True)
class ClassificationGatedF1:
    """Scores over all cases.

    Attributes:
        positive_micro_f1: None where no case has objects.
        il_mcc: None where presence has one kind only, so that there is no correlation.
        cgf1: their product, 0 to 1; None where either is.
    """

    positive_micro_f1: float | None
    il_mcc: float | None
    cgf1: float | None


def score_cgf1(cases: Sequence[ObjectCounts]) -> ClassificationGatedF1:
    """Score all cases of one phrase, those without objects too."""
    positives = [case for case in cases if case.reference]
    true_found = sum(case.predicted > 0 for case in positives)
    false_found = sum(case.predicted > 0 for case in cases if not case.reference)
    missed, rightly_absent = len(positives) - true_found, len(cases) - len(positives) - false_found
    spread = (true_found + false_found) * len(positives) * (len(cases) - len(positives)) * (missed + rightly_absent)
    mcc = (true_found * rightly_absent - false_found * missed) / math.sqrt(spread) if spread else None
    f1 = None
    if positives:
        there = sum(case.reference for case in positives)
        found = sum(case.predicted for case in positives)
        hits = [sum(at) for at in zip(*(case.hits for case in positives), strict=True)]
        f1 = sum(2 * hit / (there + found) for hit in hits) / len(hits)
    return ClassificationGatedF1(f1, mcc, None if f1 is None or mcc is None else f1 * mcc)
