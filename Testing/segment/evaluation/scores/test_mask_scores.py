"""Scores of masks against values counted by hand and against another way of computing them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from MedSAM3SegmentLib.errors import PackageError
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.evaluation.scores.mask_scores import Presence, check_surface_library, score_masks

ONE = (1.0, 1.0, 1.0)


def block(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*one) for one in ranges)] = True
    return mask


def test_counts_and_ratios_of_two_rectangles() -> None:
    # 4 x 6 and the same moved by two columns: 16 shared, 8 on each side alone.
    reference = block((1, 20, 20), (0, 1), (5, 9), (5, 11))
    scores = score_masks(np.roll(reference, 2, axis=2), reference, ONE, 1.0)
    assert (scores.tp, scores.fp, scores.fn) == (16, 8, 8)
    assert scores.dice == pytest.approx(2 / 3)
    assert scores.iou == pytest.approx(1 / 2)
    assert scores.hd95 == pytest.approx(2.0)
    assert scores.presence is Presence.FOUND
    assert scores.reference_voxels == scores.predicted_voxels == 24


def test_distances_are_in_the_unit_of_the_spacing_along_each_axis() -> None:
    reference = block((20, 20, 20), (4, 10), (4, 10), (4, 10))
    for axis, moved in ((0, 2.5), (1, 0.7), (2, 1.5)):
        scores = score_masks(np.roll(reference, 1, axis=axis), reference, (2.5, 0.7, 1.5), 1.0)
        # The two faces that the move is across are a sixth of the area each, so that 95 % reach them.
        assert scores.hd95 == pytest.approx(moved)


def test_the_tolerance_is_the_largest_distance_that_agrees() -> None:
    reference = block((20, 20, 20), (4, 10), (4, 10), (4, 10))
    moved = np.roll(reference, 1, axis=0)
    assert score_masks(moved, reference, (2.0, 1.0, 1.0), 2.0).nsd == pytest.approx(1.0)
    below = score_masks(moved, reference, (2.0, 1.0, 1.0), 1.99).nsd
    assert below is not None
    assert 0.3 < below < 0.9


@pytest.mark.parametrize(
    ("predicted", "present", "presence", "dice_", "nsd"),
    [
        (False, False, Presence.RIGHTLY_ABSENT, None, None),
        (True, False, Presence.FALSE_FOUND, None, None),
        (False, True, Presence.MISSED, 0.0, 0.0),
        (True, True, Presence.FOUND, 1.0, 1.0),
    ],
)
def test_all_combinations_of_empty_and_not(
    predicted: bool, present: bool, presence: Presence, dice_: float | None, nsd: float | None
) -> None:
    full, empty = block((3, 9, 9), (1, 2), (2, 6), (2, 6)), np.zeros((3, 9, 9), bool)
    scores = score_masks(full if predicted else empty, full if present else empty, ONE, 1.0)
    assert (scores.presence, scores.dice, scores.iou, scores.nsd) == (presence, dice_, dice_, nsd)
    assert scores.hd95 == (0.0 if predicted and present else None)
    assert (scores.predicted_voxels, scores.reference_voxels) == (16 * predicted, 16 * present)


def test_what_is_ignored_counts_on_neither_side() -> None:
    reference = block((1, 10, 10), (0, 1), (2, 6), (2, 6))
    mask = block((1, 10, 10), (0, 1), (2, 6), (2, 9))
    scored = np.ones(mask.shape, bool)
    scored[..., 6:] = False
    assert score_masks(mask, reference, ONE, 1.0, scored).dice == 1.0
    assert score_masks(mask, reference, ONE, 1.0, ~scored).presence is Presence.FALSE_FOUND


def test_a_line_of_voxels_and_a_single_one_have_a_distance() -> None:
    for shape in ((1, 1, 9), (1, 9, 1), (9, 1, 1), (1, 1, 1)):
        mask = np.ones(shape, bool)
        assert score_masks(mask, mask, ONE, 1.0).hd95 == 0.0


def test_without_a_tolerance_no_surface_is_measured() -> None:
    mask = block((1, 10, 10), (0, 1), (2, 6), (2, 6))
    scores = score_masks(mask, mask, ONE, None)
    assert (scores.dice, scores.nsd, scores.hd95) == (1.0, None, None)


masks = npst.arrays(bool, (3, 6, 7)).filter(lambda mask: bool(mask.any()))


@given(masks, masks, st.tuples(*[st.floats(0.3, 4.0)] * 3))
def test_agrees_with_the_library_in_the_repository_and_with_brute_force(
    mask: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    scores = score_masks(mask, reference, spacing, 1.0)
    assert scores.dice == pytest.approx(dice(mask, reference), abs=1e-12)
    # Places of surface elements: corners where some but not all of the eight voxels around belong to the mask.
    ours, theirs = (_surface(one) * np.asarray(spacing) for one in (mask, reference))
    gaps = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
    largest = max(gaps.min(axis=0).max(), gaps.min(axis=1).max())
    assert scores.hd95 is not None
    assert scores.hd95 <= largest + 1e-6
    loose = score_masks(mask, reference, spacing, float(largest) + 1e-6)
    assert loose.nsd == pytest.approx(1.0)


def test_hd95_equals_brute_force_where_all_elements_are_alike() -> None:
    # Squares of one spacing in 2D: the elements are edges of length 1 and corners of half a diagonal.
    reference, mask = block((1, 40, 40), (0, 1), (5, 25), (5, 25)), block((1, 40, 40), (0, 1), (5, 25), (5, 32))
    scores = score_masks(mask, reference, ONE, 3.0)
    # Of the prediction's contour (about 94 long) the far side (about 20) lies 7 off, 21 %: the percentile is there.
    assert scores.hd95 == pytest.approx(7.0)


def _surface(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1).astype(int)
    around = ndimage.correlate(padded, np.ones((2, 2, 2), int), mode="constant")
    return np.argwhere((around > 0) & (around < 8))


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "surface_distance", None)
    with pytest.raises(PackageError, match=r"surface-distance.*--no-surfaces") as caught:
        check_surface_library()
    assert str(caught.value).endswith(".")
