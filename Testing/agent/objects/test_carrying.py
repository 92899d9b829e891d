"""What an edited slice changes on the others: nothing that was right, and what comes nearer to what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MedSAM3AgentLib.objects.carrying import carried_over
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.tracking.correction import NOT_RELIED_ON

SHAPE = (9, 8, 7)
GRID = VoxelGrid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))
STACK = SliceStack.along(GRID)
MASKS = arrays(bool, SHAPE)


def block(first: int, end: int, low: int = 2, high: int = 6) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[first:end, low:high, low:high] = True
    return mask


@given(MASKS, MASKS, MASKS, st.sets(st.integers(0, 6), min_size=1), st.sampled_from(list(Plane)), st.booleans())
def test_edited_slices_stay_and_others_come_from_what_was_there_or_was_carried(
    held, drawn, carried, edited, plane, is_single
):
    stack = SliceStack.along(GRID, plane)
    left = stack.extract(held).copy()
    left[list(edited)] = stack.extract(drawn)[list(edited)]
    left = np.ascontiguousarray(stack.insert(left))

    new = carried_over(held, left, carried, edited, stack, is_single=is_single)

    assert not (new & ~(left | carried)).any()
    if held.any():
        assert np.array_equal(stack.extract(new)[list(edited)], stack.extract(left)[list(edited)])


def test_a_carried_object_that_goes_astray_far_away_changes_nothing():
    held, left = block(0, 9), block(0, 9)
    left[1] = block(0, 9, 1, 6)[1]
    carried = left.copy()
    carried[1 + NOT_RELIED_ON + 1 :, 4:] = False

    assert np.array_equal(carried_over(held, left, carried, (1,), STACK, is_single=True), left)


def test_a_slice_beside_it_that_comes_nearer_to_what_was_drawn_is_taken():
    right, wrong = block(2, 7), block(2, 7)
    wrong[3:6, 5:] = False
    left = wrong.copy()
    left[4] = right[4]

    new = carried_over(wrong, left, right, (4,), STACK, is_single=True)

    assert np.array_equal(new, right)


def test_a_slice_that_a_person_added_is_joined_to_the_rest():
    held = block(0, 4)
    left = held.copy()
    left[7] = block(0, 9)[7]

    new = carried_over(held, left, block(0, 9), (7,), STACK, is_single=True)

    assert np.array_equal(new, block(0, 9))


def test_a_carried_object_that_grows_into_another_ends_where_it_does():
    held = block(0, 4)
    left = held.copy()
    left[5] = block(0, 9)[5]
    carried = block(0, 6)
    carried[6:] = True

    new = carried_over(held, left, carried, (5,), STACK, is_single=True)

    assert np.array_equal(new, block(0, 6))


@pytest.mark.parametrize("is_single", [True, False])
def test_a_piece_that_is_not_followed_belongs_to_something_else_where_there_is_one(is_single):
    object_, piece = block(3, 8), np.zeros(SHAPE, bool)
    piece[0, 0, 0] = True
    held = object_ | piece
    left = held.copy()
    left[5, 5, 5] = False
    carried = object_.copy()

    new = carried_over(held, left, carried, (5,), STACK, is_single=is_single)

    assert new[0, 0, 0] is np.bool_(not is_single)
    assert np.array_equal(new & ~piece, left & ~piece)


def test_of_what_a_person_drew_all_is_carried():
    left = np.zeros(SHAPE, bool)
    left[4] = block(0, 9)[4]
    assert np.array_equal(
        carried_over(np.zeros(SHAPE, bool), left, block(1, 8), (4,), STACK, is_single=True), block(1, 8)
    )
