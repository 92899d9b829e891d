"""Beyond drawn slices the tracker's edge goes where the image has it, and as far as the image shows the object."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.interpolation.fill_track import fill_track
from MedSAM3SegmentLib.interpolation.move_beyond import move_beyond
from MedSAM3SegmentLib.results.tracks import SliceSource, Stop, StopReason, Track
from MedSAM3SegmentLib.volume import Volume

SHAPE, SPACING = (64, 64), (3.0, 1.0, 1.0)

_rows, _columns = np.mgrid[: SHAPE[0], : SHAPE[1]]

#: Slices 0 to 20; the object is on 3 to 17 and drawn on every third of the inner ones.
COUNT, DRAWN = 21, (7, 10, 13)


def disc(row: float, column: float, radius: float) -> BoolMask:
    return np.asarray((_rows - row) ** 2 + (_columns - column) ** 2 <= radius**2)


TRUTH = [disc(32, 32, 14 - 0.2 * (z - 10) ** 2) if 3 <= z <= 17 else np.zeros(SHAPE, bool) for z in range(COUNT)]


def grown(mask: BoolMask, pixels: int) -> BoolMask:
    """A mask as a coarse tracker sees it: too wide on one side."""
    return np.asarray(mask | np.roll(mask, pixels, axis=1))


def image(noise: float = 8.0, contrast: float = 100.0) -> list[FloatMap]:
    rng = np.random.default_rng(3)
    return [(contrast * mask + rng.normal(0, noise, SHAPE)).astype(np.float32) for mask in TRUTH]


def tracked(last: int = 17) -> dict[int, BoolMask]:
    """What a tracker saw: too wide everywhere, and beyond the end a part of what is there."""
    seen = {z: grown(TRUTH[z], 3) for z in range(3, 18) if z not in DRAWN}
    return seen | {z: disc(32, 40, 6) for z in range(18, last + 1)}


def wrong(masks: dict[int, BoolMask]) -> int:
    return sum(int(np.count_nonzero(mask ^ TRUTH[z])) for z, mask in masks.items())


def track(last: int = 17, sources: dict[int, SliceSource] | None = None) -> Track:
    masks = {z: SoftMask.of(mask) for z, mask in tracked(last).items()}
    masks |= {z: SoftMask.of(TRUTH[z]) for z in DRAWN}
    masks = dict(sorted(masks.items()))
    stops = (
        Stop(last + 1, True, StopReason.OBJECT_GONE, "object score 0.10"),
        Stop(2, False, StopReason.OBJECT_GONE, "object score 0.10"),
    )
    return Track(DRAWN, 1.0, masks, dict.fromkeys(masks, 0.9), DRAWN, stops, shown=True, sources=sources or {})


def filled(one: Track, pictures: list[FloatMap]) -> Track:
    grid = VoxelGrid((COUNT, *SHAPE), np.diag([-1.0, -1.0, 3.0, 1.0]))
    stack = SliceStack.along(grid, Plane.AXIAL)
    return fill_track(one, stack, Volume(stack.insert(np.stack(pictures)), grid, "MR"))


def test_the_edge_goes_where_the_image_has_it() -> None:
    seen = tracked()
    moved = move_beyond(seen, {z: TRUTH[z] for z in DRAWN}, image().__getitem__, SPACING)
    assert sorted(moved) == [3, 4, 5, 6, 14, 15, 16, 17]
    masks = {z: soft_mask_to_binary(one.soft, SHAPE) for z, one in moved.items()}
    assert wrong(masks) < 0.3 * wrong({z: seen[z] for z in moved})


def test_an_image_that_shows_nothing_moves_nothing() -> None:
    blank = image(contrast=0.0)
    assert move_beyond(tracked(), {z: TRUTH[z] for z in DRAWN}, blank.__getitem__, SPACING) == {}


def test_a_track_says_what_was_moved_and_stays_where_it_was_drawn() -> None:
    done = filled(track(), image())
    assert all(np.array_equal(soft_mask_to_binary(done.masks[z], SHAPE), TRUTH[z]) for z in DRAWN)
    assert {done.source_of(z) for z in (4, 5, 6, 14, 15, 16)} == {SliceSource.TRACKED_MOVED}
    assert sorted(done.masks) == list(range(3, 18)) == sorted(done.object_scores)
    assert done.stops == track().stops


def test_what_a_tracker_followed_into_something_unlike_ends_there() -> None:
    done = filled(track(last=20), image())
    assert sorted(done.masks) == list(range(3, 18)) == sorted(done.object_scores)
    (upwards,) = (stop for stop in done.stops if stop.forward)
    assert (upwards.slice_index, upwards.reason) == (18, StopReason.UNLIKE_DRAWN)
    assert [stop for stop in done.stops if not stop.forward] == [stop for stop in track().stops if not stop.forward]


def test_what_a_detector_saw_further_on_has_not_ended() -> None:
    done = filled(track(last=20, sources={20: SliceSource.DETECTED}), image())
    assert 20 in done.masks
    assert not any(stop.reason is StopReason.UNLIKE_DRAWN for stop in done.stops)


@pytest.mark.parametrize("drawn", [(), (10,), (9, 10)])
def test_where_nothing_lies_between_drawn_slices_it_cannot_be_found_out(drawn: tuple[int, ...]) -> None:
    assert move_beyond(tracked(), {z: TRUTH[z] for z in drawn}, image().__getitem__, SPACING) == {}


def test_it_can_be_cancelled() -> None:
    def cancel() -> None:
        raise Cancelled()

    with pytest.raises(Cancelled):
        move_beyond(tracked(), {z: TRUTH[z] for z in DRAWN}, image().__getitem__, SPACING, cancel)
