"""Following objects through a stack: where it stops and why, what a person drew, and what is kept in memory."""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.models.memory_bank import MemoryEntry
from MedSAM3SegmentLib.progress import (
    PartialMask,
    Progress,
    RunCallbacks,
    RunReporter,
    Stage,
)
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.tracking.detection_agreement import DetectionAgreement
from MedSAM3SegmentLib.tracking.merge_tracks import merge_tracks
from MedSAM3SegmentLib.tracking.propagation import propagate
from MedSAM3SegmentLib.tracking.stop_rules import StopRules
from MedSAM3SegmentLib.tracking.tracked_objects import ConditioningPrompt, TrackedObject
from support.disc_objects import ALL, DEPTH, EDGE, STACK, ball, detections, disc, followed, target
from support.results import axial_grid
from support.scripted_tracker import ScriptedTracker


def test_an_object_is_followed_to_both_of_its_ends() -> None:
    organ = ball(8, 29)
    (track,) = followed(organ, target(ConditioningPrompt(18, organ[18])))
    assert sorted(track.masks) == list(range(8, 30))
    for z, soft in track.masks.items():
        assert np.array_equal(soft.full() > 0.5, organ[z])
    ends = {(stop.forward, stop.slice_index, stop.reason) for stop in track.stops}
    assert ends == {(True, 30, StopReason.OBJECT_GONE), (False, 7, StopReason.OBJECT_GONE)}
    assert all("object score 0.01" in stop.detail for stop in track.stops)


def test_following_ends_with_the_object_and_not_with_the_stack() -> None:
    organ = ball(8, 29)
    tracker = ScriptedTracker(organ)
    propagate([target(ConditioningPrompt(18, organ[18]))], tracker, lambda index: index, ALL, RunReporter())  # type: ignore
    assert max(tracker.tracked) <= 32
    assert min(tracker.tracked) >= 5


def test_a_slice_that_the_tracker_misses_is_passed_over() -> None:
    organ = ball(8, 29)
    script = {z: mask for z, mask in organ.items() if z not in (22, 23)}
    (track,) = followed(script, target(ConditioningPrompt(18, organ[18])))
    assert sorted(track.masks) == [*range(8, 22), *range(24, 30)]


def test_what_comes_after_a_gap_must_be_the_same_object() -> None:
    organ = ball(8, 22)
    script = organ | {z: disc(10, 10, 10) for z in range(24, 36)}
    (track,) = followed(script, target(ConditioningPrompt(15, organ[15])))
    assert max(track.masks) == 22
    assert [stop.slice_index for stop in track.stops if stop.forward] == [23]


@pytest.mark.parametrize("radius", [30.0, 3.0], ids=["grown", "shrunk"])
def test_a_jump_of_the_area_ends_it(radius: float) -> None:
    organ = {z: disc(14) for z in range(10, 21)}
    script = organ | {z: disc(radius) for z in range(21, 35)}
    (track,) = followed(script, target(ConditioningPrompt(15, organ[15])))
    assert max(track.masks) == 20
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (21, StopReason.AREA_JUMP)
    assert f"{np.count_nonzero(disc(14))} to {np.count_nonzero(disc(radius))} mm2" in stop.detail


def test_on_thick_slices_a_small_object_may_end_fast() -> None:
    thick = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 8.0)))
    organ = {14: disc(4), 15: disc(9), 16: disc(10), 17: disc(9), 18: disc(3)}
    search_region = SearchRegion.of(SegmentRequest(("it",)), thick)
    (track,) = followed(organ, target(ConditioningPrompt(16, organ[16])), search_region=search_region)
    assert sorted(track.masks) == [14, 15, 16, 17, 18]


def test_detections_that_keep_contradicting_end_it_where_they_began() -> None:
    organ = ball(8, 24)
    runs_on = organ | {z: disc(8) for z in range(25, DEPTH)}
    (track,) = followed(runs_on, target(ConditioningPrompt(15, organ[15]), agreement=detections(organ)))
    assert max(track.masks) == 24
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (25, StopReason.DETECTION_DISAGREES)
    (unchecked,) = followed(runs_on, target(ConditioningPrompt(15, organ[15])))
    assert max(unchecked.masks) == DEPTH - 1, "without detections nothing is there to stop it"


def test_a_few_slices_without_detection_do_not_end_it() -> None:
    organ = ball(8, 29)
    seen = {z: mask for z, mask in organ.items() if z not in (11, 20, 21, 22)}
    (track,) = followed(organ, target(ConditioningPrompt(18, organ[18]), agreement=detections(seen)))
    assert sorted(track.masks) == list(range(8, 30))


def test_a_tip_that_only_detections_miss_is_kept_while_it_shrinks() -> None:
    """Slices are 2 mm thick, so 6 mm are three of them, on both ends."""
    organ = ball(8, 29)
    seen = {z: mask for z, mask in organ.items() if 12 <= z <= 25}
    (track,) = followed(organ, target(ConditioningPrompt(18, organ[18]), agreement=detections(seen)))
    assert (min(track.masks), max(track.masks)) == (9, 28)
    assert {stop.slice_index for stop in track.stops} == {8, 29}


def test_of_thin_slices_the_stop_is_beyond_what_was_kept() -> None:
    thin = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 0.5)))
    taper = {z: disc(16 - 0.5 * abs(z - 20)) for z in range(2, 39)}
    seen = {z: taper[z] for z in range(12, 29)}
    whole = SearchRegion.of(SegmentRequest(("it",)), thin)
    evidence = [
        SliceDetections(z, 0.9, 0.9, semantic=SoftMask.of(seen[z])) if z in seen else SliceDetections(z, 0.01, 0)
        for z in range(DEPTH)
    ]
    (track,) = followed(
        taper,
        target(ConditioningPrompt(20, taper[20]), agreement=DetectionAgreement(evidence, 0.5, whole)),
        search_region=whole,
    )
    for stop in track.stops:
        assert stop.slice_index not in track.masks
        assert stop.slice_index - (1 if stop.forward else -1) in track.masks


def test_detections_further_on_say_that_it_goes_on() -> None:
    organ = ball(4, 35)
    seen = {z: mask for z, mask in organ.items() if not 20 <= z <= 25}
    (track,) = followed(organ, target(ConditioningPrompt(12, organ[12]), agreement=detections(seen)))
    assert sorted(track.masks) == list(range(4, 36))


def test_slices_that_were_not_looked_at_contradict_nothing() -> None:
    organ = ball(8, 29)
    (track,) = followed(organ, target(ConditioningPrompt(18, organ[18]), agreement=detections(organ, range(17, 20))))
    assert sorted(track.masks) == list(range(8, 30))


def test_what_a_person_drew_comes_back_as_drawn_and_empty_slices_end_it() -> None:
    organ = ball(8, 29)
    ragged = disc(13) & (np.add.outer(np.arange(EDGE), np.arange(EDGE)) % 3 > 0)
    empty = np.zeros((EDGE, EDGE), bool)
    seeds = ConditioningPrompt(18, ragged, drawn=True), ConditioningPrompt(24, empty, drawn=True)
    (track,) = followed(organ, target(*seeds))
    assert np.array_equal(track.masks[18].full() > 0.5, ragged)
    assert not track.masks[24].full().any()
    assert max(z for z, soft in track.masks.items() if soft.full().any()) == 23
    assert track.drawn == (18, 24)
    assert (24, "drawn as empty") in {(stop.slice_index, stop.detail) for stop in track.stops}


def test_between_two_seeds_the_nearer_one_counts_more() -> None:
    class TwoWays(ScriptedTracker):
        def track(self, features, position, depth, memory, *, reverse):  # type: ignore[no-untyped-def]
            self.script = {position: disc(12, 32, 36 if reverse else 28)}
            return super().track(features, position, depth, memory, reverse=reverse)

    seeds = ConditioningPrompt(10, disc(12, 32, 28)), ConditioningPrompt(20, disc(12, 32, 36))
    (track,) = propagate([target(*seeds)], TwoWays({}), lambda index: index, ALL, RunReporter())  # type: ignore
    assert np.array_equal(track.masks[11].full() > 0.5, disc(12, 32, 28))
    assert np.array_equal(track.masks[19].full() > 0.5, disc(12, 32, 36))


def test_the_tip_of_an_object_may_be_small() -> None:
    organ = {z: disc(14) for z in range(10, 21)} | {21: disc(4)}
    (track,) = followed(organ, target(ConditioningPrompt(15, organ[15])))
    assert max(track.masks) == 21
    assert {(stop.slice_index, stop.reason) for stop in track.stops if stop.forward} == {(22, StopReason.OBJECT_GONE)}


def test_detections_that_agree_show_the_object_anew_but_not_too_often() -> None:
    organ = ball(0, 39, 20)
    tracker = ScriptedTracker(organ)
    one = target(ConditioningPrompt(20, organ[20]), agreement=detections(organ))
    (track,) = propagate([one], tracker, lambda index: index, ALL, RunReporter(), StopRules())  # type: ignore
    renewed = sorted(set(tracker.prompts) - {20})
    assert 2 <= len(renewed) <= 2 * StopRules().most_reconditionings
    assert track.seeds == tuple(sorted(tracker.prompts))
    seen = {z: mask for z, mask in organ.items() if not 24 <= z <= 28}
    tracker = ScriptedTracker(organ)
    propagate(
        [target(ConditioningPrompt(20, organ[20]), agreement=detections(seen, seen))],
        tracker,
        lambda index: index,
        ALL,
        RunReporter(),
    )  # type: ignore
    assert not set(tracker.prompts) & set(range(21, 29))


def test_where_an_object_was_shown_anew_is_no_start_for_the_other_way() -> None:
    """What is asked of the tracker for one object is the same whether another begins further on or not."""
    organ = ball(0, 39, 20)
    low, high = (target(ConditioningPrompt(index, organ[index]), agreement=detections(organ)) for index in (10, 35))

    def steps(*targets: TrackedObject) -> Counter[int]:
        tracker = ScriptedTracker(organ)
        propagate(targets, tracker, lambda index: index, ALL, RunReporter())  # type: ignore
        assert set(tracker.prompts) - {10, 35}
        return Counter(tracker.tracked)

    assert steps(low, high) == steps(low) + steps(high)


def test_leaving_the_region_ends_it() -> None:
    inside = np.zeros(STACK.grid.shape, bool)
    STACK.extract(inside)[:20] = True
    STACK.extract(inside)[20:, :5, :5] = True
    search_region = SearchRegion.of(SegmentRequest(("it",), inside=inside), STACK)
    organ = ball(8, 29)
    (track,) = followed(organ, target(ConditioningPrompt(15, organ[15])), search_region=search_region)
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (20, StopReason.LEFT_REGION)


@pytest.mark.parametrize("renewed", [False, True])
def test_memory_does_not_grow_with_the_stack(renewed: bool) -> None:
    memories: weakref.WeakSet[MemoryEntry] = weakref.WeakSet()
    features: weakref.WeakSet[Features] = weakref.WeakSet()
    most_memories, most_features = 0, 0

    class Features:
        def __init__(self, index: int) -> None:
            nonlocal most_features
            self.index = index
            features.add(self)
            most_features = max(most_features, len(features))

        def __eq__(self, other: object) -> bool:
            return other == self.index

        def __hash__(self) -> int:
            return self.index

    class Counting(ScriptedTracker):
        def answer(self, features, prompt):  # type: ignore[no-untyped-def]
            return super().answer(features.index, prompt)

        def encode_memory(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal most_memories
            memory = replace(super().encode_memory(*args, **kwargs), maskmem_features=torch.zeros(1))
            memories.add(memory)
            most_memories = max(most_memories, sum(one.maskmem_features is not None for one in memories))
            return memory

    peaks = []
    for depth in (100, 300):
        stack = SliceStack.along(axial_grid((depth, EDGE, EDGE), (1.0, 1.0, 2.0)), Plane.AXIAL)
        search_region = SearchRegion.of(SegmentRequest(("it",), plane=Plane.AXIAL), stack)
        script = dict.fromkeys(range(depth), disc(10))
        evidence = [SliceDetections(z, 0.9, 0.9, semantic=SoftMask.of(disc(10))) for z in range(depth)]
        agreement = DetectionAgreement(evidence, 0.5, search_region) if renewed else None
        targets = [
            TrackedObject("it", (ConditioningPrompt(50 + n, disc(10)),), 1.0, range(depth), agreement)
            for n in range(10)
        ]
        most_memories = 0
        tracks = propagate(targets, Counting(script), Features, search_region, RunReporter())  # type: ignore
        assert all(len(track.masks) == depth for track in tracks)
        peaks.append(most_memories)
    assert peaks[0] == peaks[1], "ten objects take as much on 300 slices as on 100"
    prompts = 1 + renewed * 2 * StopRules().most_reconditionings
    assert peaks[1] <= 10 * (13 * prompts + 7) + 1, "six slices on each side of a prompt, and the last six"
    assert most_features <= 2, "features are asked for slice by slice and not kept"


def test_cancel_progress_and_partial_masks_while_following() -> None:
    organ = ball(8, 29)
    shown: list[PartialMask] = []
    reports: list[Progress] = []
    reporter = RunReporter(RunCallbacks(reports.append, shown.append))
    followed(organ, target(ConditioningPrompt(18, organ[18])), reporter=reporter)
    assert {one.slice_index for one in shown} >= set(range(8, 30))
    by_slice = {one.slice_index: one for one in shown}
    assert np.array_equal(by_slice[25].mask, organ[25])
    assert {report.stage for report in reports} == {Stage.PROPAGATING}
    done = [report.done for report in reports]
    assert done == sorted(done)
    assert reports[-1].done == reports[-1].total

    def cancelled() -> bool:
        return len(shown) >= 5

    shown.clear()
    with pytest.raises(Cancelled):
        followed(
            organ,
            target(ConditioningPrompt(18, organ[18])),
            reporter=RunReporter(RunCallbacks(None, shown.append, cancelled)),
        )
    assert len(shown) == 5


def test_pieces_of_one_object_become_one_track_and_neighbours_stay_two() -> None:
    organ, beside = ball(8, 29), {z: disc(6, 10, 10) for z in range(8, 29)}
    tracks = followed(organ, target(ConditioningPrompt(12, organ[12])), target(ConditioningPrompt(25, organ[25])))
    tracks += followed(beside, target(ConditioningPrompt(12, beside[12])))
    merged = merge_tracks(tracks, STACK.slice_shape)
    assert [track.seeds for track in merged] == [(12, 25), (12,)]
