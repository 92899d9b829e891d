"""The shapes between drawn slices: what was drawn, what is the same on both sides, mirrors, branches, ends, holes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.interpolation.match_objects import match_objects
from MedSAM3SegmentLib.interpolation.shapes import interpolate_shapes
from MedSAM3SegmentLib.interpolation.signed_distance import signed_distance

SHAPE = (48, 56)

_rows, _columns = np.mgrid[: SHAPE[0], : SHAPE[1]]


def ellipse(row: float, column: float, half_rows: float, half_columns: float) -> BoolMask:
    return np.asarray(((_rows - row) / half_rows) ** 2 + ((_columns - column) / half_columns) ** 2 <= 1)


_ellipses = st.builds(ellipse, st.floats(14, 34), st.floats(14, 42), st.floats(3, 12), st.floats(3, 12))
_spacings = st.tuples(st.floats(0.4, 3), st.floats(0.4, 3))


def masks_of(drawn: dict[int, BoolMask], spacing: tuple[float, float] = (1.0, 1.0)) -> dict[int, BoolMask]:
    return {index: distance > 0 for index, distance in interpolate_shapes(drawn, spacing).items()}


@given(_ellipses, _spacings)
def test_a_mask_is_where_its_signed_distance_is_above_zero(mask, spacing):
    assert np.array_equal(signed_distance(mask, spacing) > 0, mask)


def test_signed_distance_is_in_millimeters_along_each_axis():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    distance = signed_distance(mask, (1.0, 2.0))
    assert distance[7, 4] == pytest.approx(-2.5)
    assert distance[4, 7] == pytest.approx(-5.5)


@given(_ellipses, st.integers(2, 7), _spacings)
def test_between_two_slices_that_are_the_same_is_the_same(mask, gap, spacing):
    for found in masks_of({3: mask, 3 + gap: mask}, spacing).values():
        assert np.array_equal(found, mask)


@given(st.lists(_ellipses, min_size=2, max_size=4), st.lists(st.integers(1, 4), min_size=4, max_size=4), _spacings)
def test_a_mirrored_drawing_gives_the_mirrored_shapes(masks, gaps, spacing):
    indices = np.cumsum([0, *gaps])[: len(masks)].tolist()
    drawn = dict(zip(indices, masks, strict=True))
    plain = masks_of(drawn, spacing)
    left_right = masks_of({index: mask[:, ::-1] for index, mask in drawn.items()}, spacing)
    upside_down = masks_of({-index: mask[::-1] for index, mask in drawn.items()}, spacing)
    for index, mask in plain.items():
        # An edge that runs right through the middle of pixels may fall to either side.
        for other in (left_right[index][:, ::-1], upside_down[-index][::-1]):
            assert np.count_nonzero(other ^ mask) <= 0.02 * np.count_nonzero(mask) + 2


@given(st.floats(14, 34), st.floats(14, 42), st.floats(3, 6), st.floats(1.1, 2), st.integers(2, 6))
def test_an_object_that_grows_grows_all_the_way(row, column, radius, factor, gap):
    small, large = ellipse(row, column, radius, radius), ellipse(row, column, radius * factor, radius * factor)
    found = masks_of({0: small, gap: large})
    steps = [small, *(found[index] for index in range(1, gap)), large]
    for inner, outer in pairwise(steps):
        assert not (inner & ~outer).any()


def test_a_ball_between_slices_is_rounder_than_straight_lines_make_it():
    radii = {z: float(np.sqrt(16.0**2 - z**2)) for z in range(-15, 16)}
    truth = {z: ellipse(24, 28, radius, radius) for z, radius in radii.items()}
    drawn = {z: truth[z] for z in (-15, -9, -3, 3, 9, 15)}
    found = masks_of(drawn)
    wrong = sum(np.count_nonzero(found[z] ^ truth[z]) for z in found)
    straight = 0
    indices = sorted(drawn)
    for one, other in pairwise(indices):
        for z in range(one + 1, other):
            part = (z - one) / (other - one)
            radius = (1 - part) * radii[one] + part * radii[other]
            straight += np.count_nonzero(ellipse(24, 28, radius, radius) ^ truth[z])
    assert wrong < 0.7 * straight


def test_a_branch_stays_connected_to_both_of_its_ends():
    trunk = ellipse(24, 28, 8, 12)
    branches = ellipse(24, 18, 5, 5) | ellipse(24, 38, 5, 5)
    found = masks_of({0: trunk, 4: branches})
    volume = np.stack([trunk, found[1], found[2], found[3], branches])
    assert ndimage.label(volume)[1] == 1
    assert ndimage.label(found[3])[1] <= 2


def test_a_hole_stays_and_one_that_is_on_one_side_only_closes():
    ring = ellipse(24, 28, 14, 14) & ~ellipse(24, 28, 6, 6)
    assert not any(mask[24, 28] for mask in masks_of({0: ring, 3: ring}).values())
    found = masks_of({0: ring, 6: ellipse(24, 28, 14, 14)})
    holes = [np.count_nonzero(ndimage.binary_fill_holes(mask) & ~mask) for _, mask in sorted(found.items())]
    assert holes == sorted(holes, reverse=True)
    assert holes[0] > holes[-1]


def test_a_thin_object_that_moves_by_more_than_its_width_is_there_all_the_way():
    found = masks_of({0: ellipse(24, 14, 3, 3), 4: ellipse(24, 20, 3, 3)})
    for index, mask in found.items():
        assert np.count_nonzero(mask) >= 20
        assert np.argwhere(mask)[:, 1].mean() == pytest.approx(14 + 6 * index / 4, abs=0.6)


def test_an_object_that_ends_between_two_slices_tapers_and_leaves_the_other_alone():
    other = ellipse(12, 40, 6, 6)
    found = masks_of({0: ellipse(30, 14, 8, 8) | other, 6: other})
    left = [np.count_nonzero(found[index][:, :28]) for index in range(1, 6)]
    assert left == sorted(left, reverse=True)
    assert left[0] > 0
    assert left[-1] == 0
    assert all(np.array_equal(mask[:, 28:], other[:, 28:]) for mask in found.values())


def test_an_object_drawn_as_empty_on_one_side_is_gone_before_it():
    found = masks_of({0: ellipse(24, 28, 8, 8), 5: np.zeros(SHAPE, bool)})
    assert found[1].any()
    assert not found[4].any()


def test_several_objects_are_matched_each_with_its_own():
    before = ellipse(12, 14, 5, 5) | ellipse(36, 40, 5, 5) | ellipse(36, 10, 3, 3)
    after = ellipse(13, 15, 5, 5) | ellipse(35, 41, 5, 5)
    groups = match_objects(before, after, (1.0, 1.0))
    assert sorted((bool(one.before.any()), bool(one.after.any()), one.is_single) for one in groups) == [
        (True, False, False),
        (True, True, True),
        (True, True, True),
    ]


def test_spacing_decides_what_is_near():
    before, after = ellipse(10, 28, 3, 3), ellipse(24, 28, 3, 3)
    # 14 rows apart: as wide as both together only where rows are thin.
    assert len(match_objects(before, after, (0.3, 1.0))) == 1
    assert len(match_objects(before, after, (3.0, 1.0))) == 2
