"""Overlapping masks in one label map: who wins, and that nothing is hidden without being counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.geometry.label_map import CoveredPart, Overlap, merge_masks

SHAPE = (3, 4, 5)


def blocks(*spans: tuple[int, int]) -> dict[int, np.ndarray]:
    masks = {}
    for label, (first, end) in enumerate(spans, start=1):
        masks[label] = np.zeros(SHAPE, bool)
        masks[label].reshape(-1)[first:end] = True
    return masks


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_smaller_stays_in_the_larger_whatever_comes_later(order: tuple[int, int]) -> None:
    organ_and_tumor = blocks((0, 40), (10, 15))
    merged = merge_masks({label: organ_and_tumor[label] for label in order}, SHAPE)
    assert np.array_equal(merged.labels == 2, organ_and_tumor[2])
    assert np.array_equal(merged.labels == 1, organ_and_tumor[1] & ~organ_and_tumor[2])
    assert merged.covered == (CoveredPart(1, 2, 5, 40, 35),)


def test_the_later_wins_where_that_is_asked_for() -> None:
    masks = blocks((10, 15), (0, 40))
    merged = merge_masks(masks, SHAPE, Overlap.LATER)
    assert np.array_equal(merged.labels == 2, masks[2])
    assert merged.covered == (CoveredPart(1, 2, 5, 5, 0),)


def test_of_two_as_large_the_earlier_stays() -> None:
    merged = merge_masks(blocks((0, 10), (0, 10)), SHAPE)
    assert merged.covered == (CoveredPart(2, 1, 10, 10, 0),)


def test_what_two_hide_together_is_told_of_each() -> None:
    masks = blocks((0, 20), (0, 10), (10, 20))
    merged = merge_masks(masks, SHAPE)
    assert merged.covered == (CoveredPart(1, 2, 10, 20, 0), CoveredPart(1, 3, 10, 20, 0))


def test_labels_of_16_bits() -> None:
    mask = np.ones(SHAPE, bool)
    merged = merge_masks({65535: mask}, SHAPE)
    assert (merged.labels == 65535).all()
    assert merged.covered == ()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5),
    st.sampled_from([Overlap.SMALLER, Overlap.LATER, Overlap.REFUSE]),
)
def test_every_voxel_is_in_the_map_or_counted_as_covered(spans: list[tuple[int, int]], overlap: Overlap) -> None:
    masks = blocks(*spans)
    merged = merge_masks(masks, SHAPE, overlap)
    union = np.logical_or.reduce([np.zeros(SHAPE, bool), *masks.values()])
    assert np.array_equal(merged.labels > 0, union)
    for label, mask in masks.items():
        lost = [part for part in merged.covered if part.label == label]
        shown = int(np.count_nonzero(merged.labels == label))
        assert (merged.labels[mask] > 0).all()
        assert shown + sum(part.voxels for part in lost) == int(mask.sum())
        for part in lost:
            assert part.voxels == int(np.count_nonzero(mask & (merged.labels == part.by))) > 0
            assert (part.whole, part.left) == (int(mask.sum()), shown)
    # What is larger hides nothing of what is smaller.
    if overlap is not Overlap.LATER:
        assert all(masks[part.by].sum() <= masks[part.label].sum() for part in merged.covered)
