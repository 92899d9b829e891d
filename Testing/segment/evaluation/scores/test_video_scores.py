"""J and F of videos against values counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from MedSAM3SegmentLib.evaluation.scores.video_scores import (
    VideoScores,
    contour,
    contour_accuracy,
    mean_scores,
    region_similarity,
    score_track,
)


def square(first: int, last: int, side: int = 100, moved: int = 0) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[first:last, first + moved : last + moved] = True
    return mask


def test_a_contour_is_drawn_once_around() -> None:
    # A pixel at (2, 2): itself, and those to the left, above and between, whose next ones differ.
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert np.argwhere(contour(mask)).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    # Of 10 x 10 pixels in the middle: 11 x 11 without the 9 x 9 inside.
    assert np.count_nonzero(contour(square(20, 30))) == 121 - 81
    assert not contour(np.ones((7, 7), bool)).any()


def test_regions_and_contours_of_a_square_that_is_moved() -> None:
    reference = square(20, 40)
    # 20 x 20 moved by 4: 320 pixels shared of 480.
    assert region_similarity(square(20, 40, moved=4), reference) == pytest.approx(320 / 480)
    # The tolerance is ceil(0.008 x 141.4) = 2 pixels: moved by 1 or 2 every contour pixel is met.
    assert contour_accuracy(square(20, 40, moved=1), reference) == 1.0
    assert contour_accuracy(square(20, 40, moved=2), reference) == 1.0
    assert contour_accuracy(square(20, 40, moved=4), reference) == pytest.approx(
        brute_force(square(20, 40, moved=4), reference, 2)
    )
    assert contour_accuracy(square(20, 40, moved=50), reference) == 0.0


def brute_force(found: np.ndarray, reference: np.ndarray, radius: int) -> float:
    mine, theirs = (np.argwhere(contour(mask)) for mask in (found, reference))
    distances = np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1))
    precision = np.mean(distances.min(axis=1) <= radius)
    recall = np.mean(distances.min(axis=0) <= radius)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@pytest.mark.parametrize(("found", "reference", "j", "f"), [(0, 0, 1, 1), (0, 1, 0, 0), (1, 0, 0, 0), (1, 1, 1, 1)])
def test_empty_masks(found: int, reference: int, j: float, f: float) -> None:
    one, other = square(20, 40) & bool(found), square(20, 40) & bool(reference)
    assert region_similarity(one, other) == j
    assert contour_accuracy(one, other) == f


def test_frames_are_averaged_then_objects_and_both_ends_are_left_out() -> None:
    reference = np.stack([square(20, 40)] * 4)
    found = np.stack([square(0, 5), square(20, 40), square(20, 40, moved=50), square(0, 5)])
    track = score_track(found, reference)
    assert track is not None
    assert (track.j, track.f, track.frames, track.j_and_f) == (0.5, 0.5, 2, 0.5)
    whole = score_track(found, reference, skip_ends=False)
    assert whole is not None
    assert (whole.j, whole.f, whole.frames) == (0.25, 0.25, 4)
    assert score_track(found[:2], reference[:2]) is None
    assert mean_scores([track, VideoScores(1.0, 0.8, 10)]) == VideoScores(0.75, 0.65, 12)
    assert mean_scores([]) is None
    with pytest.raises(ValueError, match="shapes"):
        score_track(found[:3], reference)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (12, 15)), arrays(bool, (12, 15)))
def test_contours_agree_with_distances_between_all_pixels(found: np.ndarray, reference: np.ndarray) -> None:
    value = contour_accuracy(found, reference)
    assert 0.0 <= value <= 1.0
    assert value == pytest.approx(contour_accuracy(reference, found))
    if contour(found).any() and contour(reference).any():
        assert value == pytest.approx(brute_force(found, reference, 1))
