"""What a segment remembers when a run wrote some of its slices anew: what a person did to the others stays known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MedSAM3SceneLib.editing.labelmap_merge import slices_only
from MedSAM3SceneLib.segments.edited_slices import (
    changed_slices,
    is_edited_in,
    provenance_of_both,
    remembered_of_both,
    written_slices,
)
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

SHAPE = (4, 3, 5)
GRID = VoxelGrid(SHAPE, np.diag([-2.0, -2.0, 3.0, 1.0]))
MASKS = arrays(bool, SHAPE)
PLANES = st.sampled_from(list(Plane))


@given(MASKS, MASKS, MASKS, PLANES, PLANES, st.data())
def test_edits_of_other_slices_stay_known_and_no_others_are_made_up(written, held, found, before_in, now_in, data):
    earlier, stack = SliceStack.along(GRID, before_in), SliceStack.along(GRID, now_in)
    index = data.draw(st.integers(0, stack.count - 1))
    before = written_slices(written, earlier)
    region = slices_only(stack, (index,))
    holds = np.where(region, found, held)

    memory = remembered_of_both(before, held, holds, region, stack, 0.7)

    assert (memory.plane, memory.count) == (before.plane, before.count)
    edited = set(changed_slices(before, held, earlier))
    is_whole = earlier.extract(region).all(axis=(1, 2))
    after = set(changed_slices(memory, holds, earlier))
    # A slice across the new one may be as the program had written it again.
    assert (
        {n for n in edited if not earlier.extract(region)[n].any()} <= after <= {n for n in edited if not is_whole[n]}
    )


@given(MASKS, MASKS)
def test_what_nobody_remembers_counts_as_drawn_but_for_the_new_slice(held, found):
    stack = SliceStack.along(GRID)
    region = slices_only(stack, (1,))
    holds = np.where(region, found, held)

    memory = remembered_of_both(None, held, holds, region, stack, None)

    assert changed_slices(memory, holds, stack) == tuple(n for n in (0, 2, 3) if held[n].any())


def test_the_new_slice_has_its_new_score_and_the_others_keep_theirs():
    stack = SliceStack.along(GRID)
    mask = np.ones(SHAPE, bool)
    before = written_slices(mask, stack, scores={0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6})

    memory = remembered_of_both(before, mask, mask, slices_only(stack, (2,)), stack, 0.55)

    assert memory.scores == {0: 0.9, 1: 0.8, 2: 0.55, 3: 0.6}


def test_edits_of_the_new_slice_stay_known_where_masking_may_keep_them():
    stack = SliceStack.along(GRID)
    mask = np.ones(SHAPE, bool)
    before, held, region = written_slices(mask, stack), mask.copy(), slices_only(stack, (2,))
    held[2, 0, 0] = False
    memory = [remembered_of_both(before, held, held, region, stack, None, is_masked) for is_masked in (False, True)]

    assert [changed_slices(remembered, held, stack) for remembered in memory] == [(), (2,)]
    # What was written in spite of masks is the program's.
    as_before = remembered_of_both(before, held, mask, region, stack, None, is_masked=True)
    assert changed_slices(as_before, mask, stack) == ()


def test_an_edit_counts_where_it_lies():
    stack = SliceStack.along(GRID)
    written = written_slices(np.ones(SHAPE, bool), stack)
    held = np.ones(SHAPE, bool)
    held[2, 0, 0] = False

    assert is_edited_in(slices_only(stack, (2,)), written, held, GRID)
    assert not is_edited_in(slices_only(stack, (1,)), written, held, GRID)
    assert not is_edited_in(np.ones(SHAPE, bool), written, np.ones(SHAPE, bool), GRID)


def test_the_run_that_most_slices_came_from_is_named_once():
    whole = {"created": "a", "slices": [0, 9]}
    one = provenance_of_both({"created": "b", "slices": [4, 4]}, whole)
    two = provenance_of_both({"created": "c", "slices": [5, 5]}, one)
    again = provenance_of_both({"created": "c", "slices": [5, 5]}, two)

    assert one == {"created": "b", "slices": [4, 4], "joined_to": whole}
    assert again == two == {"created": "c", "slices": [5, 5], "joined_to": whole}
    assert provenance_of_both({"created": "b", "slices": [4, 4]}, {"created": "b", "slices": [4, 4]}) == {
        "created": "b",
        "slices": [4, 4],
    }
