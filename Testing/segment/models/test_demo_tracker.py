"""The shipped demo model makes volumes of stacks as the issue of propagation asks, on phantoms training never saw.

The numbers speak of synthetic pictures only; those of more phantoms stand in docs/demo-model.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.evaluation.case_row import CaseRow
from MedSAM3SegmentLib.evaluation.studies.phantom_cases import phantom_cases
from MedSAM3SegmentLib.evaluation.studies.propagation import (
    AFTER,
    BEFORE,
    CAME_BACK,
    CLEAN,
    MASK,
    MASK_AND_WORD,
    PROPAGATE,
    PROPAGATION,
    SLICES,
    SPOILED,
)
from MedSAM3SegmentLib.evaluation.studies.study import score_study
from MedSAM3SegmentLib.segmenter import Segmenter

#: Far from the seeds 1000 to 3879 that the demo model was trained on; nothing was chosen for being better on them.
UNSEEN_SEEDS = (200_000, 200_001, 200_002)
#: All that docs/demo-model.md measures ends on.
ALL_UNSEEN_SEEDS = (*UNSEEN_SEEDS, 200_003, 200_004, 200_005)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load("demo", "cpu")


def rows_of(
    segmenter: Segmenter, seeds: tuple[int, ...], methods: tuple[str, ...], condition: str, spacing: float = 5.0
) -> list[CaseRow]:
    """What ``medsam3 evaluate --study propagation`` scores."""
    cases = phantom_cases(seeds, PROPAGATION.concepts, spacing)
    return score_study(PROPAGATION, segmenter, cases, methods, (condition,))


def mean_dice(rows: list[CaseRow], method: str) -> float:
    return float(np.mean([row.dice for row in rows if row.prompt == method and row.dice is not None]))


def share_of_ends_met(rows: list[CaseRow]) -> float:
    measured = [row.measured or {} for row in rows]
    return sum(one["ends within one slice"] for one in measured) / sum(one["ends"] for one in measured)


@pytest.fixture(scope="module")
def carried(segmenter: Segmenter) -> list[CaseRow]:
    """From a mask alone, without a word, on slices of 5 mm."""
    return rows_of(segmenter, ALL_UNSEEN_SEEDS, (MASK,), CLEAN)


@pytest.fixture(scope="module")
def carried_through_thin_slices(segmenter: Segmenter) -> list[CaseRow]:
    return rows_of(segmenter, UNSEEN_SEEDS[:1], (MASK,), CLEAN, 2.0)


def test_organs_are_carried_from_one_mask(carried: list[CaseRow], carried_through_thin_slices: list[CaseRow]) -> None:
    assert mean_dice(carried, MASK) >= 0.90
    assert mean_dice(carried_through_thin_slices, MASK) >= 0.90


def test_organs_are_followed_to_their_ends_and_no_further(carried: list[CaseRow]) -> None:
    assert share_of_ends_met(carried) >= 0.90


@pytest.mark.xfail(strict=True, reason="Of the 27 ends on the first three phantoms alone 24 are met, 89 %.")
def test_ends_are_met_on_the_first_three_alone(carried: list[CaseRow]) -> None:
    first = {f"phantom-{seed}-5mm" for seed in UNSEEN_SEEDS}
    assert share_of_ends_met([row for row in carried if row.case in first]) >= 0.90


def test_ends_are_met_on_thin_slices_too(carried_through_thin_slices: list[CaseRow]) -> None:
    assert share_of_ends_met(carried_through_thin_slices) >= 0.90


def test_with_its_name_too_an_organ_is_followed_as_well(segmenter: Segmenter) -> None:
    assert mean_dice(rows_of(segmenter, UNSEEN_SEEDS[:2], (MASK_AND_WORD,), CLEAN), MASK_AND_WORD) >= 0.90


def test_propagation_beats_slices_where_slices_are_spoiled(segmenter: Segmenter) -> None:
    rows = rows_of(segmenter, UNSEEN_SEEDS, (SLICES, PROPAGATE), SPOILED)
    assert mean_dice(rows, PROPAGATE) - mean_dice(rows, SLICES) >= 0.05


def test_propagation_does_no_harm_on_clean_slices(segmenter: Segmenter) -> None:
    rows = rows_of(segmenter, UNSEEN_SEEDS, (SLICES, PROPAGATE), CLEAN)
    assert mean_dice(rows, PROPAGATE) - mean_dice(rows, SLICES) >= -0.01


def test_correcting_a_slice_helps_its_neighbours_and_leaves_it_alone(segmenter: Segmenter) -> None:
    rows = rows_of(segmenter, UNSEEN_SEEDS[:2], (BEFORE, AFTER), SPOILED)
    after = [row for row in rows if row.prompt == AFTER]
    assert after
    assert all(row.measured == {CAME_BACK: 1.0} for row in after)
    assert mean_dice(rows, AFTER) > mean_dice(rows, BEFORE)
