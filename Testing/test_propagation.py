"""Following objects through a stack: where it stops and why, what a person drew, one vision pass per slice."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from made_results import axial_grid
from MedSAM3SegmentLib.correcting import correcting_request
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.exemplars import Exemplars, box_prompts
from MedSAM3SegmentLib.fresh_detections import FreshDetections
from MedSAM3SegmentLib.gating import Gate
from MedSAM3SegmentLib.grid import Plane, SliceStack, VoxelGrid
from MedSAM3SegmentLib.models.concept_model import PADDING_LABEL
from MedSAM3SegmentLib.models.tracker import MaskPrompt
from MedSAM3SegmentLib.models.tracker_memory import SliceMemory
from MedSAM3SegmentLib.prompt_geometry import boxes_on
from MedSAM3SegmentLib.prompts import BoxMark, BoxReading, MaskMark, PointMark, TargetPrompts
from MedSAM3SegmentLib.propagation import follow
from MedSAM3SegmentLib.report import report_of
from MedSAM3SegmentLib.request import Mode, PartialMask, Progress, SegmentRequest, Stage
from MedSAM3SegmentLib.result import SliceEvidence, SoftMask, StopReason, Track
from MedSAM3SegmentLib.seeding import Seed, Target, box_seeds_from_detections, drawn_targets
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.stopping import StopRules
from MedSAM3SegmentLib.track_merging import merge_tracks
from MedSAM3SegmentLib.volume import Volume
from MedSAM3SegmentLib.watching import Watch
from model_files import GOLDEN
from scripted_tracker import ScriptedTracker
from test_segmenter import EncoderCount
from test_tracker import _make_tracker
from test_tracker_golden import CASES, Reference, _prompt, reference  # noqa: F401 - a fixture
from tiny_model import TINY_SCORE

Mask = NDArray[np.bool_]

DEPTH, EDGE = 40, 64
STACK = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 2.0)))
ALL = Gate.of(SegmentRequest(("it",)), STACK)


def disc(radius: float, row: float = 32, column: float = 32) -> Mask:
    rows, columns = np.mgrid[:EDGE, :EDGE]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def ball(first: int, last: int, radius: float = 14) -> dict[int, Mask]:
    """An organ on the slices ``first`` to ``last``, blunt at its ends."""
    middle, half = (first + last) / 2, (last - first) / 2 + 1
    return {z: disc(radius * float(np.sqrt(1 - ((z - middle) / half) ** 2))) for z in range(first, last + 1)}


def target(*seeds: Seed, slices: range = range(DEPTH), fresh: FreshDetections | None = None) -> Target:
    return Target("it", seeds, 1.0, slices, fresh)


def followed(script: dict[int, Mask], *targets: Target, gate: Gate = ALL, watch: Watch | None = None) -> list[Track]:
    return follow(targets, ScriptedTracker(script), lambda index: index, gate, watch or Watch())  # type: ignore


def detections(masks: dict[int, Mask], looked_at: Sequence[int] = range(DEPTH)) -> FreshDetections:
    """A detector that sees ``masks`` for sure, and surely nothing elsewhere."""
    evidence = [
        SliceEvidence(z, 0.9, 0.9, semantic=SoftMask.of(masks[z])) if z in masks else SliceEvidence(z, 0.01, 0)
        for z in looked_at
    ]
    return FreshDetections(evidence, 0.5, ALL)


def test_an_object_is_followed_to_both_of_its_ends() -> None:
    organ = ball(8, 29)
    (track,) = followed(organ, target(Seed(18, organ[18])))
    assert sorted(track.masks) == list(range(8, 30))
    for z, soft in track.masks.items():
        assert np.array_equal(soft.full() > 0.5, organ[z])
    ends = {(stop.forward, stop.slice_index, stop.reason) for stop in track.stops}
    assert ends == {(True, 30, StopReason.OBJECT_GONE), (False, 7, StopReason.OBJECT_GONE)}
    assert all("object score 0.01" in stop.detail for stop in track.stops)


def test_following_ends_with_the_object_and_not_with_the_stack() -> None:
    organ = ball(8, 29)
    tracker = ScriptedTracker(organ)
    follow([target(Seed(18, organ[18]))], tracker, lambda index: index, ALL, Watch())  # type: ignore
    assert max(tracker.tracked) <= 32
    assert min(tracker.tracked) >= 5


def test_a_slice_that_the_tracker_misses_is_passed_over() -> None:
    organ = ball(8, 29)
    script = {z: mask for z, mask in organ.items() if z not in (22, 23)}
    (track,) = followed(script, target(Seed(18, organ[18])))
    assert sorted(track.masks) == [*range(8, 22), *range(24, 30)]


def test_what_comes_after_a_gap_must_be_the_same_object() -> None:
    organ = ball(8, 22)
    script = organ | {z: disc(10, 10, 10) for z in range(24, 36)}
    (track,) = followed(script, target(Seed(15, organ[15])))
    assert max(track.masks) == 22
    assert [stop.slice_index for stop in track.stops if stop.forward] == [23]


@pytest.mark.parametrize("radius", [30.0, 3.0], ids=["grown", "shrunk"])
def test_a_jump_of_the_area_ends_it(radius: float) -> None:
    organ = {z: disc(14) for z in range(10, 21)}
    script = organ | {z: disc(radius) for z in range(21, 35)}
    (track,) = followed(script, target(Seed(15, organ[15])))
    assert max(track.masks) == 20
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (21, StopReason.AREA_JUMP)
    assert f"{np.count_nonzero(disc(14))} to {np.count_nonzero(disc(radius))} mm2" in stop.detail


def test_on_thick_slices_a_small_object_may_end_fast() -> None:
    thick = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 8.0)))
    organ = {14: disc(4), 15: disc(9), 16: disc(10), 17: disc(9), 18: disc(3)}
    gate = Gate.of(SegmentRequest(("it",)), thick)
    (track,) = followed(organ, target(Seed(16, organ[16])), gate=gate)
    assert sorted(track.masks) == [14, 15, 16, 17, 18]


def test_detections_that_keep_contradicting_end_it_where_they_began() -> None:
    organ = ball(8, 24)
    runs_on = organ | {z: disc(8) for z in range(25, DEPTH)}
    (track,) = followed(runs_on, target(Seed(15, organ[15]), fresh=detections(organ)))
    assert max(track.masks) == 24
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (25, StopReason.DETECTION_DISAGREES)
    (unchecked,) = followed(runs_on, target(Seed(15, organ[15])))
    assert max(unchecked.masks) == DEPTH - 1, "without detections nothing is there to stop it"


def test_a_few_slices_without_detection_do_not_end_it() -> None:
    organ = ball(8, 29)
    seen = {z: mask for z, mask in organ.items() if z not in (11, 20, 21, 22)}
    (track,) = followed(organ, target(Seed(18, organ[18]), fresh=detections(seen)))
    assert sorted(track.masks) == list(range(8, 30))


def test_a_tip_that_only_detections_miss_is_kept_while_it_shrinks() -> None:
    """Slices are 2 mm thick, so 6 mm are three of them, on both ends."""
    organ = ball(8, 29)
    seen = {z: mask for z, mask in organ.items() if 12 <= z <= 25}
    (track,) = followed(organ, target(Seed(18, organ[18]), fresh=detections(seen)))
    assert (min(track.masks), max(track.masks)) == (9, 28)
    assert {stop.slice_index for stop in track.stops} == {8, 29}


def test_of_thin_slices_the_stop_is_beyond_what_was_kept() -> None:
    thin = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 0.5)))
    taper = {z: disc(16 - 0.5 * abs(z - 20)) for z in range(2, 39)}
    seen = {z: taper[z] for z in range(12, 29)}
    whole = Gate.of(SegmentRequest(("it",)), thin)
    evidence = [
        SliceEvidence(z, 0.9, 0.9, semantic=SoftMask.of(seen[z])) if z in seen else SliceEvidence(z, 0.01, 0)
        for z in range(DEPTH)
    ]
    (track,) = followed(taper, target(Seed(20, taper[20]), fresh=FreshDetections(evidence, 0.5, whole)), gate=whole)
    for stop in track.stops:
        assert stop.slice_index not in track.masks
        assert stop.slice_index - (1 if stop.forward else -1) in track.masks


def test_detections_further_on_say_that_it_goes_on() -> None:
    organ = ball(4, 35)
    seen = {z: mask for z, mask in organ.items() if not 20 <= z <= 25}
    (track,) = followed(organ, target(Seed(12, organ[12]), fresh=detections(seen)))
    assert sorted(track.masks) == list(range(4, 36))


def test_slices_that_were_not_looked_at_contradict_nothing() -> None:
    organ = ball(8, 29)
    (track,) = followed(organ, target(Seed(18, organ[18]), fresh=detections(organ, range(17, 20))))
    assert sorted(track.masks) == list(range(8, 30))


def test_what_a_person_drew_comes_back_as_drawn_and_empty_slices_end_it() -> None:
    organ = ball(8, 29)
    ragged = disc(13) & (np.add.outer(np.arange(EDGE), np.arange(EDGE)) % 3 > 0)
    empty = np.zeros((EDGE, EDGE), bool)
    seeds = Seed(18, ragged, drawn=True), Seed(24, empty, drawn=True)
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

    seeds = Seed(10, disc(12, 32, 28)), Seed(20, disc(12, 32, 36))
    (track,) = follow([target(*seeds)], TwoWays({}), lambda index: index, ALL, Watch())  # type: ignore
    assert np.array_equal(track.masks[11].full() > 0.5, disc(12, 32, 28))
    assert np.array_equal(track.masks[19].full() > 0.5, disc(12, 32, 36))


def test_the_tip_of_an_object_may_be_small() -> None:
    organ = {z: disc(14) for z in range(10, 21)} | {21: disc(4)}
    (track,) = followed(organ, target(Seed(15, organ[15])))
    assert max(track.masks) == 21
    assert {(stop.slice_index, stop.reason) for stop in track.stops if stop.forward} == {(22, StopReason.OBJECT_GONE)}


def test_detections_that_agree_show_the_object_anew_but_not_too_often() -> None:
    organ = ball(0, 39, 20)
    tracker = ScriptedTracker(organ)
    one = target(Seed(20, organ[20]), fresh=detections(organ))
    (track,) = follow([one], tracker, lambda index: index, ALL, Watch(), StopRules())  # type: ignore
    renewed = sorted(set(tracker.prompts) - {20})
    assert 2 <= len(renewed) <= 2 * StopRules().most_renewals
    assert track.seeds == tuple(sorted(tracker.prompts))
    seen = {z: mask for z, mask in organ.items() if not 24 <= z <= 28}
    tracker = ScriptedTracker(organ)
    follow([target(Seed(20, organ[20]), fresh=detections(seen, seen))], tracker, lambda index: index, ALL, Watch())  # type: ignore
    assert not set(tracker.prompts) & set(range(21, 29))


def test_where_an_object_was_shown_anew_is_no_start_for_the_other_way() -> None:
    """What is asked of the tracker for one object is the same whether another begins further on or not."""
    organ = ball(0, 39, 20)
    low, high = (target(Seed(index, organ[index]), fresh=detections(organ)) for index in (10, 35))

    def steps(*targets: Target) -> Counter[int]:
        tracker = ScriptedTracker(organ)
        follow(targets, tracker, lambda index: index, ALL, Watch())  # type: ignore
        assert set(tracker.prompts) - {10, 35}
        return Counter(tracker.tracked)

    assert steps(low, high) == steps(low) + steps(high)


def test_leaving_the_region_ends_it() -> None:
    inside = np.zeros(STACK.grid.shape, bool)
    STACK.extract(inside)[:20] = True
    STACK.extract(inside)[20:, :5, :5] = True
    gate = Gate.of(SegmentRequest(("it",), inside=inside), STACK)
    organ = ball(8, 29)
    (track,) = followed(organ, target(Seed(15, organ[15])), gate=gate)
    (stop,) = (stop for stop in track.stops if stop.forward)
    assert (stop.slice_index, stop.reason) == (20, StopReason.LEFT_REGION)


@pytest.mark.parametrize("renewed", [False, True])
def test_memory_does_not_grow_with_the_stack(renewed: bool) -> None:
    memories: weakref.WeakSet[SliceMemory] = weakref.WeakSet()
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

        def remember(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal most_memories
            memory = replace(super().remember(*args, **kwargs), spatial=torch.zeros(1))
            memories.add(memory)
            most_memories = max(most_memories, sum(one.spatial is not None for one in memories))
            return memory

    peaks = []
    for depth in (100, 300):
        stack = SliceStack.along(axial_grid((depth, EDGE, EDGE), (1.0, 1.0, 2.0)), Plane.AXIAL)
        gate = Gate.of(SegmentRequest(("it",), plane=Plane.AXIAL), stack)
        script = dict.fromkeys(range(depth), disc(10))
        evidence = [SliceEvidence(z, 0.9, 0.9, semantic=SoftMask.of(disc(10))) for z in range(depth)]
        fresh = FreshDetections(evidence, 0.5, gate) if renewed else None
        targets = [Target("it", (Seed(50 + n, disc(10)),), 1.0, range(depth), fresh) for n in range(10)]
        most_memories = 0
        tracks = follow(targets, Counting(script), Features, gate, Watch())  # type: ignore
        assert all(len(track.masks) == depth for track in tracks)
        peaks.append(most_memories)
    assert peaks[0] == peaks[1], "ten objects take as much on 300 slices as on 100"
    prompts = 1 + renewed * 2 * StopRules().most_renewals
    assert peaks[1] <= 10 * (13 * prompts + 7) + 1, "six slices on each side of a prompt, and the last six"
    assert most_features <= 2, "features are asked for slice by slice and not kept"


def test_cancel_progress_and_partial_masks_while_following() -> None:
    organ = ball(8, 29)
    shown: list[PartialMask] = []
    reports: list[Progress] = []
    watch = Watch(reports.append, None, shown.append)
    followed(organ, target(Seed(18, organ[18])), watch=watch)
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
        followed(organ, target(Seed(18, organ[18])), watch=Watch(None, cancelled, shown.append))
    assert len(shown) == 5


def test_a_deep_box_seeds_its_middle_and_ends_where_it_ends() -> None:
    prompts = TargetPrompts(boxes=(_box(12, 18, 20, 44, 20, 44),))
    (one,) = drawn_targets("it", prompts, STACK, range(DEPTH))
    assert [seed.slice_index for seed in one.seeds] == [15]
    organ = ball(2, 35)
    (track,) = followed(organ, one)
    assert sorted(track.masks) == list(range(12, 19))
    assert {stop.reason for stop in track.stops} == {StopReason.LEFT_REGION}
    assert track.shown, "by a person, whatever the score"


def test_boxes_on_one_slice_are_several_objects_and_points_go_with_their_box() -> None:
    left, right = _box(15, 15, 20, 44, 4, 24), _box(15, 15, 20, 44, 40, 60)
    points = (PointMark(_ras(15, 30, 50)), PointMark(_ras(15, 30, 10), positive=False))
    one, other = drawn_targets("it", TargetPrompts(points, (left, right)), STACK, range(DEPTH))
    assert one.seeds[0].points is not None
    assert one.seeds[0].points.labels == (0,)
    assert other.seeds[0].points is not None
    assert sorted(other.seeds[0].points.labels) == [0, 1]


def test_a_negative_click_elsewhere_corrects_what_was_tracked_there() -> None:
    organ = ball(8, 29)
    prompts = TargetPrompts((PointMark(_ras(18, 32, 32)), PointMark(_ras(25, 32, 32), positive=False)))
    (one,) = drawn_targets("it", prompts, STACK, range(DEPTH))
    tracker = ScriptedTracker(organ)
    (track,) = follow([one], tracker, lambda index: index, ALL, Watch())  # type: ignore
    assert set(tracker.prompts) == {18, 25}
    assert tracker.prompts[25].labels == (0,)  # type: ignore[union-attr]
    assert np.array_equal(tracker.prompts[25].refines.numpy() > 0, organ[25])  # type: ignore[union-attr]
    assert track.seeds == (18, 25)


def test_marks_that_only_say_where_it_is_not_are_refused() -> None:
    prompts = TargetPrompts((PointMark(_ras(18, 32, 32), positive=False),))
    with pytest.raises(InputError, match="where it is"):
        drawn_targets("it", prompts, STACK, range(DEPTH))


def test_pieces_of_one_object_become_one_track_and_neighbours_stay_two() -> None:
    organ, beside = ball(8, 29), {z: disc(6, 10, 10) for z in range(8, 29)}
    tracks = followed(organ, target(Seed(12, organ[12])), target(Seed(25, organ[25])))
    tracks += followed(beside, target(Seed(12, beside[12])))
    merged = merge_tracks(tracks, STACK.slice_shape)
    assert [track.seeds for track in merged] == [(12, 25), (12,)]


def test_a_detection_that_fills_the_box_is_the_seed_and_another_is_not() -> None:
    prompts = TargetPrompts(boxes=(_box(15, 15, 18, 46, 18, 46),))
    (one,) = drawn_targets("it", prompts, STACK, range(DEPTH))
    detected = box_seeds_from_detections(one, detections({15: disc(14)}), STACK)
    assert detected.seeds[0].mask is not None
    assert np.array_equal(detected.seeds[0].mask, disc(14))
    assert not detected.seeds[0].drawn
    elsewhere = box_seeds_from_detections(one, detections({15: disc(14, 10, 10)}), STACK)
    assert elsewhere.seeds[0].points == one.seeds[0].points


def test_exemplars_serve_their_own_slices_first_and_then_those_in_reach() -> None:
    near, far, negative = boxes_on(
        STACK, [_box(10, 12, 4, 8, 4, 8), _box(20, 20, 4, 8, 4, 8), BoxMark(_box(12, 12, 0, 31, 0, 15).corners, False)]
    )
    exemplars = Exemplars((near, far, negative), reach=4)
    assert exemplars.at(12) == (near, negative)
    assert exemplars.at(11) == (near,)
    assert exemplars.at(18) == (far,)
    assert exemplars.at(5) == ()
    prompts = box_prompts([exemplars.at(12), exemplars.at(5)])
    assert prompts.labels.tolist() == [[1, 0], [PADDING_LABEL, PADDING_LABEL]]
    assert prompts.boxes[0, 1].tolist() == pytest.approx([0.125, 0.25, 15 / 64, 31 / 64], abs=0.01)


def _ras(z: int, row: float, column: float) -> tuple[float, float, float]:
    return tuple(STACK.grid.to_ras(np.array([column, row, z], float)).tolist())


def _box(first: int, last: int, top: int, bottom: int, left: int, right: int) -> BoxMark:
    return BoxMark((_ras(first, top, left), _ras(last, bottom, right)))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"needs the reference set in {GOLDEN}, which is not here")
@pytest.mark.parametrize("name", ["mask", "box", "points", "click"])
def test_what_is_followed_is_what_metas_code_tracks(reference: Reference, name: str) -> None:  # noqa: F811
    case, prompt = CASES[name], _prompt(reference, name)
    shape = tuple(int(n) for n in reference.arrays[f"{name}__fwd__mask_logits_f32mem"].shape[1:])
    stack = SliceStack.along(axial_grid((len(reference.slices), *shape), (1.0, 1.0, 3.0)), Plane.AXIAL)
    gate = Gate.of(SegmentRequest(("it",), plane=Plane.AXIAL), stack)
    if isinstance(prompt, MaskPrompt):
        seed = Seed(case["frame"], prompt.mask.numpy())
    else:
        seed = Seed(case["frame"], points=prompt)
    lenient = StopRules(area_factor=1e9, patience=99, return_overlap=-1)
    one = Target("it", (seed,), 1.0, range(stack.count))
    with torch.inference_mode():
        (track,) = follow([one], reference.tracker, reference.slices.__getitem__, gate, Watch(), lenient)
    compared = 0
    for way, order in case["order"].items():
        expected = reference.arrays[f"{name}__{way}__mask_logits_f32mem"]
        for position, logits in zip(order[1:], expected[1:], strict=True):
            if position in track.masks:
                wanted = 1 / (1 + np.exp(-logits.astype(np.float64)))
                # Probabilities below 0.02 are stored as nothing, the others in half precision.
                assert np.abs(track.masks[position].full() - wanted).max() <= 0.021
                compared += 1
    assert compared >= 2


# --- the whole road, with untrained networks ------------------------------------------------------------------------


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


@pytest.fixture
def tracking(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """With a tracker, whose answers mean nothing."""
    tracker = _make_tracker()
    monkeypatch.setattr(segmenter.model, "tracker", "networks")
    monkeypatch.setattr("MedSAM3SegmentLib.following.Tracker", lambda *_: tracker)
    return segmenter


@pytest.fixture
def volume() -> Volume:
    array = np.random.default_rng(0).integers(-200, 300, (9, 20, 24)).astype(np.int16)
    matrix = np.array([[0.0, 0, 5, 3], [1.5, 0, 0, -20], [0, -1.5, 0, 7], [0, 0, 0, 1]])
    return Volume(array, VoxelGrid(array.shape, matrix), "CT", "test")


def _drawn(volume: Volume, slices: Sequence[int]) -> tuple[SliceStack, Mask]:
    stack = SliceStack.along(volume.grid)
    mask = np.zeros(volume.grid.shape, bool)
    pattern = np.random.default_rng(1).random(stack.slice_shape) > 0.6
    for index in slices:
        stack.extract(mask)[index] = pattern
    return stack, mask


@pytest.mark.parametrize("mode", [Mode.PROPAGATE, Mode.SLICES])
def test_one_vision_pass_per_slice_whatever_the_mode(tracking: Segmenter, volume: Volume, mode: Mode) -> None:
    count = EncoderCount(tracking)
    tracking.segment(volume, SegmentRequest(("liver", "spleen"), mode=mode, threshold=TINY_SCORE - 0.1))
    assert count.slices == 9


def test_from_prompts_encodes_only_slices_that_it_goes_to(tracking: Segmenter, volume: Volume) -> None:
    count = EncoderCount(tracking)
    _, mask = _drawn(volume, [4])
    prompts = {"it": TargetPrompts(masks=(MaskMark(mask),))}
    request = SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts, slices=(3, 6))
    tracking.segment(volume, request)
    assert 1 <= count.slices <= 3


@pytest.mark.parametrize("mode", [Mode.PROPAGATE, Mode.FROM_PROMPTS])
def test_drawn_slices_come_back_to_the_voxel(tracking: Segmenter, volume: Volume, mode: Mode) -> None:
    stack, mask = _drawn(volume, [3, 5])
    prompts = {"liver": TargetPrompts(masks=(MaskMark(mask, (3, 5, 7)),))}
    result = tracking.segment(volume, SegmentRequest(("liver",), mode=mode, prompts=prompts, threshold=0.3))
    concept = result.concepts[0]
    for index in (3, 5, 7):
        assert np.array_equal(stack.extract(concept.mask)[index], stack.extract(mask)[index])
    for threshold in (0.05, 0.95):
        moved = result.with_threshold(threshold).concepts[0]
        assert np.array_equal(stack.extract(moved.mask)[[3, 5, 7]], stack.extract(mask)[[3, 5, 7]])
    assert result.provenance.as_dict()["mode"] == mode.value
    assert result.provenance.as_dict()["prompts"] == {"liver": "1 mask"}


def test_a_phrase_that_means_something_else_where_it_was_drawn_is_no_check(tracking: Segmenter, volume: Volume) -> None:
    _, mask = _drawn(volume, [4])
    prompts = {"liver": TargetPrompts(masks=(MaskMark(mask),))}
    unseen = SegmentRequest(("liver",), mode=Mode.PROPAGATE, prompts=prompts, threshold=0.99)
    alone = SegmentRequest(
        ("liver",), mode=Mode.FROM_PROMPTS, prompts={"liver": TargetPrompts(masks=(MaskMark(mask),), is_phrase=False)}
    )
    with_words, without = (tracking.segment(volume, request) for request in (unseen, alone))
    assert np.array_equal(with_words.concepts[0].mask, without.concepts[0].mask)
    assert [track.stops for track in with_words.concepts[0].tracks] == [
        track.stops for track in without.concepts[0].tracks
    ]
    assert any("does not see 'liver' where it was drawn" in message for message in with_words.messages)


def test_a_model_without_a_tracker_says_so_before_anything_runs(segmenter: Segmenter, volume: Volume) -> None:
    count = EncoderCount(segmenter)
    with pytest.raises(ModelError, match="no tracker"):
        segmenter.segment(volume, SegmentRequest(("liver",), mode=Mode.PROPAGATE))
    assert count.slices == 0


def test_things_like_this_need_no_tracker_and_serve_the_neighbours_only(segmenter: Segmenter, volume: Volume) -> None:
    stack = SliceStack.along(volume.grid)
    inverse = stack.grid
    corners = [tuple(inverse.to_ras(np.array(ijk, float)).tolist()) for ijk in ((4, 4, 1), (14, 14, 1))]
    box = BoxMark((corners[0], corners[1]))
    prompts = {"it": TargetPrompts(boxes=(box,), reading=BoxReading.THINGS_LIKE_THIS, is_phrase=False)}
    result = segmenter.segment(volume, SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts))
    assert list(result.concepts[0].score_by_slice) == [0, 1, 2, 3, 4, 5], "20 mm to either side"
    assert result.concepts[0].prompt == "visual"


def test_a_raised_threshold_drops_tracks_without_the_model(tracking: Segmenter, volume: Volume) -> None:
    request = SegmentRequest(("liver",), mode=Mode.PROPAGATE, threshold=TINY_SCORE - 0.1)
    result = tracking.segment(volume, request)
    assert result.concepts[0].found
    count = EncoderCount(tracking)
    assert not result.with_threshold(0.99).concepts[0].found
    again = result.with_threshold(TINY_SCORE - 0.1).concepts[0]
    assert np.array_equal(again.mask, result.concepts[0].mask)
    assert count.slices == 0


def test_partial_masks_of_detection_are_on_the_volumes_grid(segmenter: Segmenter, volume: Volume) -> None:
    shown: list[PartialMask] = []
    request = SegmentRequest(("liver",), plane=Plane.CORONAL, threshold=TINY_SCORE - 0.1)
    result = segmenter.segment(volume, request, partial=shown.append)
    assert [one.slice_index for one in shown] == list(range(result.stack.count))
    for one in shown:
        assert np.array_equal(one.mask, result.stack.extract(result.concepts[0].mask)[one.slice_index])


def test_a_corrected_slice_is_kept_and_the_rest_found_anew(tracking: Segmenter, volume: Volume) -> None:
    request = SegmentRequest(("liver", "spleen"), threshold=TINY_SCORE - 0.1)
    result = tracking.segment(volume, request)
    stack, mask = _drawn(volume, [4])
    changed = result.concepts[0].mask.copy()
    stack.extract(changed)[4] = stack.extract(mask)[4]
    stack.extract(changed)[7] = False
    again = correcting_request(request, result, "liver", changed, [4, 7])
    assert again.concepts == ("liver",)
    (marks,) = again.prompts["liver"].masks
    assert marks.slices == (0, 4, 7), "the surest slice that is far enough away stays as well"
    corrected = tracking.segment(volume, again).concepts[0]
    assert np.array_equal(stack.extract(corrected.mask)[4], stack.extract(mask)[4])
    assert not stack.extract(corrected.mask)[7].any()
    later = correcting_request(again, tracking.segment(volume, again), "liver", changed, [2])
    assert set(later.prompts["liver"].masks[0].slices or ()) >= {2, 4, 7}, "earlier corrections are kept"


@pytest.mark.parametrize(("concept", "slices", "words"), [("lung", [3], "not in"), ("liver", [], "correct one")])
def test_corrections_that_fit_nothing_are_refused(
    tracking: Segmenter, volume: Volume, concept: str, slices: list[int], words: str
) -> None:
    request = SegmentRequest(("liver",))
    result = tracking.segment(volume, request)
    with pytest.raises(InputError, match=words):
        correcting_request(request, result, concept, result.concepts[0].mask, slices)


def test_the_report_says_where_and_why_it_stopped(tracking: Segmenter, volume: Volume) -> None:
    _, mask = _drawn(volume, [4])
    prompts = {"liver": TargetPrompts(masks=(MaskMark(mask),))}
    result = tracking.segment(volume, SegmentRequest(("liver",), mode=Mode.FROM_PROMPTS, prompts=prompts))
    report = json.loads(json.dumps(report_of(result, volume)))
    (track,) = report["concepts"][0]["tracks"]
    assert track["seeds"] == track["drawn"] == [4]
    assert {stop["direction"] for stop in track["stops"]} == {"up", "down"}
    assert all(stop["reason"] in list(StopReason) and stop["detail"] for stop in track["stops"])
    assert report["mode"] == "from prompts"


def test_points_in_the_mode_slices_are_refused_in_words() -> None:
    prompts = {"liver": TargetPrompts((PointMark((0, 0, 0)),))}
    with pytest.raises(InputError, match="from prompts"):
        SegmentRequest(("liver",), prompts=prompts)
