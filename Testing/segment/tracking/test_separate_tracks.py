"""Objects that were drawn apart share no pixels; those that lie in each other keep what they share."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.results.tracks import SliceSource, Stop, StopReason, Track
from MedSAM3SegmentLib.tracking.separate_tracks import separate_tracks

SHAPE, SPACING = (40, 48), (2.0, 2.0)

_rows, _columns = np.mgrid[: SHAPE[0], : SHAPE[1]]


def disc(row: float, column: float, radius: float) -> BoolMask:
    return np.asarray((_rows - row) ** 2 + (_columns - column) ** 2 <= radius**2)


def followed(masks: dict[int, BoolMask], drawn: tuple[int, ...], sureness: dict[int, float]) -> Track:
    """A track as a tracker leaves it, sure of its pixels as told by slice."""
    soft = {i: SoftMask.of(mask if i in drawn else sureness.get(i, 0.95) * mask) for i, mask in masks.items()}
    ends = (
        Stop(max(masks) + 1, True, StopReason.OBJECT_GONE, ""),
        Stop(min(masks) - 1, False, StopReason.OBJECT_GONE, ""),
    )
    scores = dict.fromkeys(masks, 0.9)
    return Track(drawn, 1.0, soft, scores, drawn, ends, shown=True)


def masks_of(track: Track) -> dict[int, BoolMask]:
    return {index: soft_mask_to_binary(soft, SHAPE) for index, soft in track.masks.items()}


UPPER, LOWER = disc(20, 18, 8), disc(20, 30, 8)


def leaking() -> tuple[Track, Track]:
    """One object on slices 10 to 19, which goes on in the other one, on slices 0 to 9, that touches it."""
    upper = followed(
        {**dict.fromkeys(range(10, 20), UPPER), **dict.fromkeys(range(4, 10), LOWER)},
        (15,),
        dict.fromkeys(range(4, 10), 0.8),
    )
    return upper, followed(dict.fromkeys(range(10), LOWER), (5,), {})


def test_an_object_that_went_on_in_another_one_ends_where_that_begins() -> None:
    upper, lower = separate_tracks(leaking(), SHAPE, SPACING)
    assert sorted(upper.masks) == list(range(10, 20)) == sorted(upper.object_scores)
    assert [stop for stop in upper.stops if not stop.forward] == [
        Stop(9, False, StopReason.OTHER_OBJECT, "100 % of it"),
    ]
    assert [stop.slice_index for stop in upper.stops if stop.forward] == [20]
    assert all(np.array_equal(mask, LOWER) for mask in masks_of(lower).values())
    assert sorted(lower.masks) == list(range(10))


def test_where_two_are_the_same_it_is_the_one_that_was_drawn_nearer() -> None:
    """A tracker that has gone over to another object says of it what it says of that one, and is as sure of it."""
    gone = followed({**dict.fromkeys(range(10, 20), UPPER), **dict.fromkeys(range(10), LOWER)}, (15,), {})
    upper, lower = separate_tracks((gone, followed(dict.fromkeys(range(10), LOWER), (5,), {})), SHAPE, SPACING)
    assert sorted(upper.masks) == list(range(10, 20))
    assert sorted(lower.masks) == list(range(10))


def test_the_order_of_the_objects_does_not_matter() -> None:
    upper, lower = separate_tracks(leaking(), SHAPE, SPACING)
    second, first = separate_tracks(leaking()[::-1], SHAPE, SPACING)
    for one, other in ((upper, first), (lower, second)):
        assert one.stops == other.stops
        assert all(np.array_equal(masks_of(one)[i], masks_of(other)[i]) for i in one.masks.keys() | other.masks.keys())


def test_what_is_left_of_an_object_beside_another_one_stays() -> None:
    both = UPPER | LOWER
    upper = followed({i: (both if i < 10 else UPPER) for i in range(6, 20)}, (15,), dict.fromkeys(range(6, 10), 0.8))
    lower = followed(dict.fromkeys(range(10), LOWER), (5,), {})
    upper, lower = separate_tracks((upper, lower), SHAPE, SPACING)
    found = masks_of(upper)
    assert sorted(found) == list(range(6, 20))
    assert all(np.array_equal(found[i], UPPER & ~LOWER) for i in range(6, 10))


def test_each_side_of_what_two_share_goes_to_the_one_that_is_surer_of_it() -> None:
    left, right = disc(20, 12, 6), disc(20, 34, 6)
    both = left | right
    one = SoftMask.of(0.95 * left + 0.8 * right)
    other = SoftMask.of(0.8 * left + 0.95 * right)
    first = followed({0: left, 1: left}, (0,), {})
    second = followed({1: right, 2: right}, (2,), {})
    first = Track(first.seeds, 1.0, {**first.masks, 1: one}, first.object_scores, first.drawn, (), shown=True)
    second = Track(second.seeds, 1.0, {**second.masks, 1: other}, second.object_scores, second.drawn, (), shown=True)
    assert both.any()
    first, second = separate_tracks((first, second), SHAPE, SPACING)
    assert np.array_equal(masks_of(first)[1], left)
    assert np.array_equal(masks_of(second)[1], right)


def test_a_part_of_an_object_and_the_object_keep_what_they_share() -> None:
    organ, tumor = disc(20, 24, 14), disc(20, 26, 4)
    for drawn in ((8, 4), (4, 8), (6, 6), (11, 5)):
        tracks = (
            followed(dict.fromkeys(range(12), organ), drawn[:1], {}),
            followed(dict.fromkeys(range(3, 9), tumor), drawn[1:], dict.fromkeys(range(12), 0.99)),
        )
        separated = separate_tracks(tracks, SHAPE, SPACING)
        assert [masks_of(track).keys() for track in separated] == [track.masks.keys() for track in tracks]
        for before, after in zip(tracks, separated, strict=True):
            assert all(np.array_equal(masks_of(before)[i], masks_of(after)[i]) for i in before.masks)


def test_what_was_drawn_is_never_taken() -> None:
    one = followed(dict.fromkeys(range(8), UPPER | LOWER), (3,), {})
    other = followed(dict.fromkeys(range(8), LOWER), (3, 6), {})
    separated = separate_tracks((one, other), SHAPE, SPACING)
    assert np.array_equal(masks_of(separated[0])[3], UPPER | LOWER)
    assert np.array_equal(masks_of(separated[1])[6], LOWER)


def test_objects_that_nobody_drew_are_left_as_they_are() -> None:
    upper, lower = leaking()
    detected = Track(upper.seeds, 0.9, upper.masks, upper.object_scores, sources={4: SliceSource.DETECTED})
    assert separate_tracks((detected, lower), SHAPE, SPACING) == [detected, lower]


def test_between_two_drawn_slices_an_object_is_where_their_shapes_say() -> None:
    """The tracker missed it there, and another object was followed into it."""
    lower = followed({i: (LOWER if i in (0, 6) else disc(20, 36, 3)) for i in range(7)}, (0, 6), {})
    upper = followed({**dict.fromkeys((7, 8), UPPER), **dict.fromkeys(range(3, 7), UPPER | LOWER)}, (8,), {})
    upper, lower = separate_tracks((upper, lower), SHAPE, SPACING)
    found = masks_of(upper)
    assert all(np.array_equal(found[i], UPPER & ~LOWER) for i in range(3, 7))
    assert np.array_equal(found[7], UPPER)
