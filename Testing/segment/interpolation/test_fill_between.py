"""Filling between drawn slices: shape stays where the image says nothing, and moves where it is surer."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.soft_mask import soft_mask_to_binary
from MedSAM3SegmentLib.interpolation.fill_between import ModelMasks, fill_between
from MedSAM3SegmentLib.interpolation.shapes import interpolate_shapes
from MedSAM3SegmentLib.results.tracks import SliceSource

SHAPE, SPACING = (64, 64), (3.0, 1.0, 1.0)

_rows, _columns = np.mgrid[: SHAPE[0], : SHAPE[1]]


def disc(row: float, column: float, radius: float) -> BoolMask:
    return np.asarray((_rows - row) ** 2 + (_columns - column) ** 2 <= radius**2)


def wavy(count: int) -> list[BoolMask]:
    """An organ whose width goes up and down from slice to slice, so that shapes alone cannot tell it."""
    return [disc(32, 32, 14 + 3 * np.sin(1.3 * z)) for z in range(count)]


def pictured(truth: list[BoolMask], noise: float = 5.0) -> list[FloatMap]:
    rng = np.random.default_rng(0)
    return [(100.0 * mask + rng.normal(0, noise, SHAPE)).astype(np.float32) for mask in truth]


def wrong_pixels(filled, truth) -> int:
    return sum(int(np.count_nonzero(soft_mask_to_binary(one.soft, SHAPE) ^ truth[z])) for z, one in filled.items())


def shape_alone(drawn, truth) -> int:
    return sum(int(np.count_nonzero((d > 0) ^ truth[z])) for z, d in interpolate_shapes(drawn, SPACING[1:]).items())


def test_what_the_image_shows_clearly_moves_the_edge():
    truth = wavy(19)
    drawn = {z: truth[z] for z in range(0, 19, 3)}
    filled = fill_between(drawn, pictured(truth).__getitem__, SPACING)
    assert sorted(filled) == [z for z in range(19) if z % 3]
    assert wrong_pixels(filled, truth) < 0.8 * shape_alone(drawn, truth)
    assert SliceSource.MOVED in {one.source for one in filled.values()}


def test_an_image_that_shows_nothing_costs_hardly_anything():
    truth = wavy(19)
    drawn = {z: truth[z] for z in range(0, 19, 3)}
    noise = pictured([np.zeros(SHAPE, bool)] * 19)
    filled = fill_between(drawn, noise.__getitem__, SPACING)
    assert wrong_pixels(filled, truth) <= 1.05 * shape_alone(drawn, truth)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_an_image_without_any_contrast_is_no_trouble(value):
    drawn = {0: disc(32, 32, 10), 4: disc(32, 34, 12)}
    filled = fill_between(drawn, lambda _: np.full(SHAPE, value, np.float32), SPACING)
    assert sorted(filled) == [1, 2, 3]
    assert all(np.count_nonzero(soft_mask_to_binary(one.soft, SHAPE)) > 250 for one in filled.values())


def test_a_model_that_is_right_where_it_can_be_checked_is_followed_far_from_drawn_slices():
    truth = [disc(32, 32, 10 + 8 * np.sin(np.pi * z / 20) ** 2) for z in range(21)]
    drawn = {0: truth[0], 20: truth[20]}
    nothing = [np.zeros(SHAPE, np.float32)] * 21
    right = ModelMasks(dict(enumerate(truth)), saw_drawn=False)
    alone = wrong_pixels(fill_between(drawn, nothing.__getitem__, SPACING), truth)
    assert wrong_pixels(fill_between(drawn, nothing.__getitem__, SPACING, [right]), truth) < 0.1 * alone


def test_a_model_that_is_wrong_where_it_can_be_checked_changes_nothing():
    truth = [disc(32, 32, 12)] * 9
    drawn = {z: truth[z] for z in (0, 4, 8)}
    wrong = ModelMasks({z: disc(20, 20, 15) for z in range(9)}, saw_drawn=False)
    carried = ModelMasks({z: disc(20, 20, 15) for z in range(9) if z not in drawn}, saw_drawn=True)
    nothing = [np.zeros(SHAPE, np.float32)] * 9
    filled = fill_between(drawn, nothing.__getitem__, SPACING, [wrong, carried])
    assert wrong_pixels(filled, truth) == 0


def test_a_tracker_that_is_right_beside_drawn_slices_only_does_no_harm_far_from_them():
    """It was shown them, so that being right next to them proves nothing of what is far away."""
    truth = [disc(32, 32, 13 + 3 * np.sin(np.pi * z / 16)) for z in range(33)]
    drawn = {z: truth[z] for z in range(0, 33, 8)}
    strays = {}
    for z in range(33):
        away = min(abs(z - one) for one in drawn)
        if away:
            strays[z] = disc(32, 32 + 0.3 * away**2, 13 + 3 * np.sin(np.pi * z / 16))
    nothing = [np.zeros(SHAPE, np.float32)] * 33
    alone = wrong_pixels(fill_between(drawn, nothing.__getitem__, SPACING), truth)
    tracked = ModelMasks(strays, saw_drawn=True)
    assert wrong_pixels(fill_between(drawn, nothing.__getitem__, SPACING, [tracked]), truth) <= alone


def test_the_farther_from_a_drawn_slice_the_more_doubt():
    truth = [disc(32, 32, 12)] * 9
    filled = fill_between({0: truth[0], 8: truth[8]}, lambda _: np.zeros(SHAPE, np.float32), SPACING)
    doubts = [filled[z].doubt for z in range(1, 5)]
    assert doubts == sorted(doubts)
    assert doubts[0] < doubts[-1]


def test_nothing_is_filled_where_nothing_lies_between():
    assert fill_between({3: disc(32, 32, 9), 4: disc(32, 32, 9)}, lambda _: np.zeros(SHAPE, np.float32), SPACING) == {}
    empty = np.zeros(SHAPE, bool)
    assert fill_between({0: empty, 5: empty}, lambda _: np.zeros(SHAPE, np.float32), SPACING) == {}


def test_it_can_be_cancelled():
    def cancel() -> None:
        raise Cancelled()

    with pytest.raises(Cancelled):
        fill_between(
            {0: disc(32, 32, 9), 5: disc(32, 32, 9)}, lambda _: np.zeros(SHAPE, np.float32), SPACING, check=cancel
        )
