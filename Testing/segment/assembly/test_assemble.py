"""From evidence to objects: what is kept, what is dropped, and what the user is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, resize_map, resize_soft_mask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.reporting.sentences import reason_of, reason_on_this_slice
from MedSAM3SegmentLib.request import AssemblyOptions
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.tracking.merge_tracks import merge_tracks
from support.faulty_detector import spoiled_case
from support.results import concept_with


def stack_of(slices: int, thickness: float = 5.0, edge: int = 32) -> SliceStack:
    return SliceStack.along(VoxelGrid((slices, edge, edge), np.diag([-1.0, -1.0, thickness, 1.0])), Plane.AXIAL)


def square(top: int, left: int, edge: int, size: int = 16) -> np.ndarray:
    picture = np.zeros((size, size), np.float32)
    picture[top : top + edge, left : left + edge] = 0.98
    return picture


def seen(index: int, *objects: tuple[float, np.ndarray]) -> SliceDetections:
    detections = tuple(Detection(score, score, 1.0, (0, 0, 1, 1), SoftMask.of(picture)) for score, picture in objects)
    return SliceDetections(index, max((score for score, _ in objects), default=0.01), 1.0, detections)


def test_object_through_several_slices_is_found_at_its_place() -> None:
    stack = stack_of(10)
    evidence = [seen(n, (0.9, square(2, 4, 6))) if 3 <= n <= 6 else seen(n) for n in range(10)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert result.found
    slices = stack.extract(result.mask)
    assert [n for n in range(10) if slices[n].any()] == [3, 4, 5, 6]
    rows, columns = np.nonzero(slices[4])
    # The 16 pixel map covers the 32 pixel slice: everything doubles.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 15, 8, 19)
    assert result.instances[0].first_slice == 3
    assert result.instances[0].last_slice == 6
    assert result.instances[0].volume_mm3 == pytest.approx(result.voxels * 5.0)
    assert "slices 3 to 6" in result.reason


@pytest.mark.parametrize("score", [0.9, 1.0])
def test_isolated_thin_slice_is_no_object_and_the_reason_says_so(score: float) -> None:
    stack = stack_of(10, thickness=2.0)
    evidence = [seen(n, (score, square(2, 4, 6))) if n == 4 else seen(n) for n in range(10)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert not result.found
    assert not result.mask.any()
    assert f"{score:.2f} on slice 4" in result.reason
    assert "enough slices" in result.reason


def test_single_slice_of_a_picture_needs_no_neighbours() -> None:
    stack = stack_of(1)
    result = assemble(concept_with(stack, [seen(0, (0.6, square(2, 4, 6)))]), stack, 0.5)
    assert result.found
    assert "on slice 0" in result.reason


def test_object_goes_on_into_slices_that_are_less_sure() -> None:
    stack = stack_of(8)
    scores = [0.01, 0.3, 0.8, 0.9, 0.3, 0.01, 0.01, 0.3]
    evidence = [seen(n, (score, square(2, 4, 6))) for n, score in enumerate(scores)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    slices = stack.extract(result.mask)
    assert [n for n in range(8) if slices[n].any()] == [1, 2, 3, 4], "slice 7 is as unsure but continues nothing"


def test_two_objects_become_two_instances_largest_first() -> None:
    stack = stack_of(6)
    evidence = [seen(n, (0.9, square(1, 1, 3)), (0.8, square(8, 8, 6))) for n in range(6)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert [instance.label for instance in result.instances] == [1, 2]
    assert result.instances[0].voxels > result.instances[1].voxels
    assert np.count_nonzero(result.instance_map == 2) == result.instances[1].voxels
    assert np.array_equal(result.instance_map > 0, result.mask)


def test_nothing_above_threshold_says_how_far_below() -> None:
    stack = stack_of(4)
    evidence = [seen(n, (0.2 if n == 2 else 0.1, square(2, 4, 6))) for n in range(4)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert not result.found
    assert "0.20 on slice 2" in result.reason
    assert "threshold 0.5" in result.reason


@settings(max_examples=60, deadline=None)
@given(low=st.floats(0.1, 0.9), high=st.floats(0.1, 0.9), seed=st.integers(0, 1000))
def test_a_higher_threshold_never_adds_voxels(low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    rng = np.random.default_rng(seed)
    stack = stack_of(7)
    evidence = [
        seen(
            n,
            *sorted(((float(rng.random()), square(*rng.integers(0, 10, 2), 5)) for _ in range(2)), key=lambda o: -o[0]),
        )
        for n in range(7)
    ]
    concept = concept_with(stack, evidence)
    # Filling a gap guesses, and may guess more than a weak slice has.
    options = AssemblyOptions(fill_gaps=False)
    loose, strict = assemble(concept, stack, low, options), assemble(concept, stack, high, options)
    assert not (strict.mask & ~loose.mask).any()


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(st.integers(1, 20), st.integers(1, 20)), target=st.tuples(st.integers(1, 40), st.integers(1, 40))
)
def test_resize_is_torchs_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(source).astype(np.float32)
    expected = functional.interpolate(torch.from_numpy(picture)[None, None], size=target, mode="bilinear")[0, 0]
    np.testing.assert_allclose(resize_map(picture, target), expected.numpy(), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_a_cropped_map_is_resized_like_the_whole_one(size: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    top, left = int(rng.integers(size[0])), int(rng.integers(size[1]))
    part = rng.random((int(rng.integers(size[0] - top + 1)), int(rng.integers(size[1] - left + 1))))
    cropped = SoftMask(size, top, left, part.astype(np.float16))
    assert np.array_equal(resize_soft_mask(cropped, target), resize_map(cropped.full(), target))


@pytest.mark.parametrize("semantic", [False, True], ids=["instances", "semantic map"])
@pytest.mark.parametrize("thickness", [2.0, 5.0])
def test_false_firings_on_empty_slices_go_and_no_true_slice_does(thickness: float, semantic: bool) -> None:
    planted = removed = missed = 0
    for seed in range(60):
        case = spoiled_case(seed, thickness, semantic=semantic)
        concept = assemble(concept_with(case.stack, list(case.evidence)), case.stack, 0.5)
        slices = case.stack.extract(concept.mask)
        lost = [index for index in case.true_slices if not (slices[index] & case.organ[index]).any()]
        assert lost == [], f"seed {seed}"
        planted += len(case.planted)
        removed += sum(not slices[index].any() for index in case.planted)
        missed += len(case.missed)
    assert missed > 20, "or nothing had to be filled"
    assert removed >= 0.9 * planted > 100


def test_a_missing_slice_is_filled_half_way_between_neighbors_and_reported() -> None:
    stack = stack_of(9, edge=16)
    evidence = [seen(n, (0.9, square(2, 4, 4 if n < 4 else 8))) if n != 4 else seen(n) for n in range(9)]
    concept = assemble(concept_with(stack, evidence), stack, 0.5)
    filled = stack.extract(concept.mask)[4]
    small, large = (stack.extract(concept.mask)[n] for n in (3, 5))
    assert small.sum() < filled.sum() < large.sum()
    assert not (filled & ~large).any()
    assert not (small & ~filled).any()
    assert any("Slice 4 was filled" in step for step in concept.clean_up)
    without = assemble(concept_with(stack, evidence), stack, 0.5, AssemblyOptions(fill_gaps=False))
    assert not stack.extract(without.mask)[4].any()


def test_what_was_seen_on_a_doubtful_slice_is_taken_rather_than_a_guess() -> None:
    stack = stack_of(9, edge=16)
    evidence = [seen(n, (0.9 if n != 4 else 0.1, square(2, 4, 8 if n != 4 else 5))) for n in range(9)]
    concept = assemble(concept_with(stack, evidence), stack, 0.5)
    assert np.array_equal(stack.extract(concept.mask)[4], square(2, 4, 5) > 0.5)


def test_two_missing_slices_are_not_filled() -> None:
    stack = stack_of(10, edge=16)
    evidence = [seen(n, (0.9, square(2, 4, 6))) if n not in (4, 5) else seen(n) for n in range(10)]
    slices = stack.extract(assemble(concept_with(stack, evidence), stack, 0.5).mask)
    assert np.flatnonzero(slices.any(axis=(1, 2))).tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_touching_instances_stay_apart_where_the_detector_separates_them() -> None:
    stack = stack_of(8, edge=16)
    evidence = [seen(n, (0.9, square(2, 2, 5)), (0.8, square(7, 2, 6))) for n in range(8)]
    concept = assemble(concept_with(stack, evidence), stack, 0.5)
    assert len(concept.instances) == 2
    upper = stack.extract(concept.instance_map == 2)
    assert np.array_equal(upper[3], square(2, 2, 5) > 0.5)
    together = assemble(concept_with(stack, evidence), stack, 0.5, AssemblyOptions(link=False))
    assert len(together.instances) == 1
    assert np.array_equal(together.mask, concept.mask)


def test_instances_stay_apart_where_one_shifts_onto_the_others_place() -> None:
    """Linked by overlap one to one: each follows its own way, although they overlap across slices."""
    stack = stack_of(8, edge=16)
    evidence = [seen(n, (0.9, square(n, 0, 4)), (0.8, square(n + 4, 0, 4))) for n in range(8)]
    concept = assemble(concept_with(stack, evidence), stack, 0.5)
    assert len(concept.instances) == 2
    for label in (1, 2):
        rows = [np.flatnonzero(part.any(axis=1)) for part in stack.extract(concept.instance_map == label)]
        assert np.ptp([found[0] - n for n, found in enumerate(rows)]) == 0


def test_a_branch_belongs_to_its_trunk() -> None:
    stack = stack_of(10, edge=16)
    wide = np.zeros((16, 16), np.float32)
    wide[4:12, 2:14] = 0.98
    evidence = [
        seen(n, (0.9, wide)) if n < 6 else seen(n, (0.9, square(4, 2, 5)), (0.8, square(4, 8, 5))) for n in range(10)
    ]
    concept = assemble(concept_with(stack, evidence), stack, 0.5)
    assert len(concept.instances) == 1
    assert (concept.instances[0].first_slice, concept.instances[0].last_slice) == (0, 9)


def test_only_the_largest_is_kept_on_request() -> None:
    stack = stack_of(6)
    evidence = [seen(n, (0.9, square(1, 1, 3)), (0.8, square(8, 8, 6))) for n in range(6)]
    both = assemble(concept_with(stack, evidence), stack, 0.5)
    one = assemble(concept_with(stack, evidence), stack, 0.5, AssemblyOptions(largest_only=True))
    assert len(both.instances) == 2
    assert np.array_equal(one.mask, both.instance_map == 1)
    assert any("1 object was dropped" in step for step in one.clean_up)


def test_every_step_can_be_switched_off() -> None:
    stack = stack_of(12, thickness=2.0)
    scores = [0.01, 0.9, 0.01, 0.01, 0.01, 0.3, 0.8, 0.9, 0.8, 0.9, 0.8, 0.3]
    evidence = [seen(n, (score, square(2, 4, 6))) for n, score in enumerate(scores)]

    def slices(**switched: bool) -> list[int]:
        concept = assemble(concept_with(stack, evidence), stack, 0.5, AssemblyOptions(**switched))
        return np.flatnonzero(stack.extract(concept.mask).any(axis=(1, 2))).tolist()

    assert slices() == [5, 6, 7, 8, 9, 10, 11]
    assert slices(drop_isolated=False) == [1, 5, 6, 7, 8, 9, 10, 11]
    assert slices(hysteresis=False) == [6, 7, 8, 9, 10]


def soft(mask: np.ndarray) -> SoftMask:
    return SoftMask((mask.shape[0], mask.shape[1]), 0, 0, mask.astype(np.float16))


def test_slices_that_a_person_drew_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    stack = stack_of(8, thickness=1.0)
    drawn = {3: rng.random((32, 32)) > 0.5, 5: np.zeros((32, 32), bool)}
    masks = {n: soft(drawn.get(n, np.asarray(square(4, 4, 20, 32) > 0.5))) for n in range(2, 7)}
    track = Track((3,), 1.0, masks, dict.fromkeys(masks, 0.9), drawn=(3, 5), shown=True)
    other = Track((6,), 0.7, {n: soft(np.ones((32, 32), bool)) for n in range(8)}, dict.fromkeys(range(8), 0.9))
    concept = replace(concept_with(stack, []), tracks=(other, track))
    for options in (AssemblyOptions(), AssemblyOptions(largest_only=True)):
        slices = stack.extract(assemble(concept, stack, 0.5, options).mask)
        assert np.array_equal(slices[3], drawn[3])
        assert not slices[5].any(), "drawn as empty: neither filled nor given to another object"


def test_short_objects_are_dropped_at_any_score_unless_a_person_showed_one() -> None:
    stack = stack_of(10, thickness=2.0, edge=16)

    def track(left: int, shown: bool) -> Track:
        return Track((4,), 1.0, {4: soft(square(2, left, 6) > 0.5)}, {4: 1.0}, shown=shown)

    concept = replace(concept_with(stack, []), tracks=(track(0, False), track(8, True)))
    result = assemble(concept, stack, 0.5)
    assert np.array_equal(stack.extract(result.mask)[4], square(2, 8, 6) > 0.5)
    assert result.clean_up == ("1 object was dropped as too short to be real: Slice 4 was left out.",)


def test_of_equally_sure_tracks_the_shown_one_wins_and_merging_keeps_shown() -> None:
    stack = stack_of(4, edge=16)

    def track(left: int, edge: int, shown: bool) -> Track:
        masks = {n: soft(square(2, left, edge) > 0.5) for n in range(4)}
        return Track((1,), 1.0, masks, dict.fromkeys(masks, 1.0), shown=shown)

    detected, pointed_at = track(0, 8, False), track(6, 8, True)
    result = assemble(replace(concept_with(stack, []), tracks=(detected, pointed_at)), stack, 0.5)
    first = stack.extract(result.instance_map)[1]
    assert len({*first[square(2, 6, 8) > 0.5]}) == 1, "none of it went to the other"
    merged = merge_tracks([detected, track(1, 8, True)], (16, 16))
    assert [one.shown for one in merged] == [True]
    assert np.array_equal(merged[0].masks[1].full() > 0.5, square(2, 1, 8) > 0.5)


def test_tracks_below_the_threshold_are_dropped_and_others_are_instances() -> None:
    stack = stack_of(8, edge=16)

    def track(score: float, left: int) -> Track:
        masks = {n: soft(square(2, left, 6)) for n in range(8)}
        return Track((4,), score, masks, dict.fromkeys(masks, score))

    concept = replace(concept_with(stack, []), tracks=(track(0.9, 0), track(0.6, 6), track(0.4, 10)))
    result = assemble(concept, stack, 0.5)
    assert [instance.score for instance in result.instances] == [0.9, 0.6]
    assert np.array_equal(stack.extract(result.instance_map == 1)[4], square(2, 0, 6) > 0.5)
    nothing = assemble(concept, stack, 0.95)
    assert not nothing.found
    assert "0.90 on slice 4" in nothing.reason


@pytest.mark.parametrize(("score", "dropped"), [(0.31, 0), (0.31, 1), (0.8, 0), (0.8, 1), (None, 0)])
def test_why_nothing_is_on_the_only_slice_is_said_without_its_number(score: float | None, dropped: int) -> None:
    stack = stack_of(1)
    evidence = [] if score is None else [SliceDetections(0, score, 1.0, ())]

    reason = reason_of(concept_with(stack, evidence), (), dropped, 0.5)

    assert ("slice 0" in reason) == (score is not None)
    assert reason_on_this_slice(reason) == reason.replace("slice 0", "this slice")
