"""Tracking through a stack: what callers rely on whatever the weights, on a small tracker with random ones."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import VisionFeatures
from MedSAM3SegmentLib.models.memory_bank import MemoryBank, MemoryEntry
from MedSAM3SegmentLib.models.tracker import Tracker
from MedSAM3SegmentLib.models.tracker_types import (
    MaskPrompt,
    PointPrompt,
    TrackerFeatures,
    TrackerOutput,
)
from MedSAM3SegmentLib.models.tracking_session import TrackingSession
from support.untrained_tracker import GRID, WIDTH, make_tracker

#: Slices the tracker looks back at what it saw, and at pointers.
SPATIAL, POINTERS = 6, 15

DEPTH = 60


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return make_tracker()


@pytest.fixture(scope="module")
def slices(tracker: Tracker) -> list[TrackerFeatures]:
    """Features that change slowly from slice to slice."""
    noise = torch.randn(DEPTH, GRID * GRID, WIDTH, generator=torch.Generator().manual_seed(1))
    image = VisionFeatures(noise.cumsum(0) / torch.arange(1, DEPTH + 1).sqrt()[:, None, None])
    with torch.inference_mode():
        return [tracker.build_features(image[index : index + 1]) for index in range(DEPTH)]


def _square(first: int, end: int, size: int = 40) -> MaskPrompt:
    mask = torch.zeros(size, size + 10, dtype=torch.bool)
    mask[first:end, first:end] = True
    return MaskPrompt(mask)


PROMPTS: dict[Hashable, tuple[int, MaskPrompt | PointPrompt]] = {
    "liver": (30, _square(5, 25)),
    "spleen": (30, PointPrompt(box=(0.5, 0.4, 0.9, 0.8))),
    7: (24, PointPrompt(((0.3, 0.6), (0.8, 0.2)), (1, 0))),
}


def _both_ways(session: TrackingSession, slices: list[TrackerFeatures], object_: Hashable) -> dict[int, TrackerOutput]:
    """From the object's prompt to the last slice, then from the prompt to the first."""
    position, prompt = PROMPTS[object_]
    found = {position: session.prompt(object_, position, slices[position], prompt)}
    for order in (range(position + 1, DEPTH), range(position - 1, -1, -1)):
        for index in order:
            found[index] = session.step(index, slices[index], reverse=order.step < 0, objects=[object_])[object_]
    return found


def _same(one: TrackerOutput, other: TrackerOutput) -> bool:
    return torch.equal(one.pred_masks, other.pred_masks) and torch.equal(
        one.object_score_logits, other.object_score_logits
    )


def test_forgetting_changes_no_bit(
    tracker: Tracker, slices: list[TrackerFeatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded, unlimited = TrackingSession(tracker, DEPTH), TrackingSession(tracker, DEPTH)
    with_pruning = {object_: _both_ways(bounded, slices, object_) for object_ in PROMPTS}
    monkeypatch.setattr(MemoryBank, "forget", lambda *_: None)
    without = {object_: _both_ways(unlimited, slices, object_) for object_ in PROMPTS}
    for object_, masks in without.items():
        assert sorted(masks) == list(range(DEPTH))
        assert all(_same(mask, with_pruning[object_][index]) for index, mask in masks.items()), object_
    # The memory mattered: masks far from the prompt are not what that slice gives by itself, nor all the same.
    assert not torch.equal(without["liver"][59].pred_masks, without["spleen"][59].pred_masks)
    assert not torch.equal(without["liver"][59].pred_masks, without["liver"][58].pred_masks)
    assert bounded.memory_bytes < 0.6 * unlimited.memory_bytes


def test_memory_does_not_grow_with_the_stack(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    session = TrackingSession(tracker, DEPTH)
    for object_, (_, prompt) in PROMPTS.items():
        session.prompt(object_, 0, slices[0], prompt)
    taken = []
    for index in range(1, DEPTH):
        found = session.step(index, slices[index])
        assert list(found) == list(PROMPTS)
        taken.append(session.memory_bytes)
    # From the point on where the prompted slice and the current one have no neighbors in common.
    settled = taken[2 * POINTERS + 1 :]
    assert len(settled) > 20
    assert set(settled) == {max(taken)}
    session.drop("liver")
    assert session.memory_bytes == max(taken) * 2 // 3


@settings(max_examples=200, deadline=None)
@given(
    prompted=st.lists(st.integers(0, 79), min_size=1, max_size=4, unique=True),
    passes=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 80)), max_size=6),
)
def test_whatever_a_pass_looks_back_to_is_still_there(prompted: list[int], passes: list[tuple[int, bool, int]]) -> None:
    tensor = torch.zeros(1)
    memory = MemoryBank({position: MemoryEntry(tensor, tensor) for position in prompted})
    ever: set[int] = set()
    for start, reverse, length in passes:
        towards = -1 if reverse else 1
        position = prompted[start % len(prompted)]
        for _ in range(length):
            position += towards
            if not 0 <= position < 80:
                break
            if position in memory.cond_slices:
                continue
            for offset in range(1, POINTERS + 1):
                looked_at = position - towards * offset
                if looked_at in ever:
                    assert looked_at in memory.non_cond_slices
                    assert offset > SPATIAL or memory.non_cond_slices[looked_at].maskmem_features is not None
            memory.non_cond_slices[position] = MemoryEntry(tensor, tensor)
            ever.add(position)
            memory.forget(position, SPATIAL, POINTERS)
    assert len(memory.non_cond_slices) <= (len(prompted) + 1) * (2 * POINTERS + 1)
    kept = sum(one.maskmem_features is not None for one in memory.non_cond_slices.values())
    assert kept <= (len(prompted) + 1) * (2 * SPATIAL + 1)


def test_the_same_calls_give_the_same_bits(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    first, second = (_both_ways(TrackingSession(tracker, DEPTH), slices, "spleen") for _ in range(2))
    assert all(_same(mask, second[index]) for index, mask in first.items())


def test_objects_do_not_know_of_each_other(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    """Also on slices where one is prompted and others are tracked, in both directions."""
    alone = {object_: _both_ways(TrackingSession(tracker, DEPTH), slices, object_) for object_ in PROMPTS}
    together = TrackingSession(tracker, DEPTH)
    for object_, (position, prompt) in reversed(PROMPTS.items()):
        assert _same(together.prompt(object_, position, slices[position], prompt), alone[object_][position])
    assert together.objects == tuple(reversed(PROMPTS))
    for order in (range(25, DEPTH), range(29, -1, -1)):
        for index in order:
            reverse = order.step < 0
            beyond = [o for o, (place, _) in PROMPTS.items() if (index < place if reverse else index > place)]
            for object_, mask in together.step(index, slices[index], reverse=reverse, objects=beyond).items():
                assert _same(mask, alone[object_][index])


def test_a_mask_comes_back_and_is_not_tracked_over(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    session = TrackingSession(tracker, DEPTH)
    mask = torch.rand(4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(2)) > 0.5
    answer = session.prompt("liver", 10, slices[10], MaskPrompt(mask))
    assert torch.equal(answer.pred_masks, torch.where(mask, 1024.0, -1024.0))
    assert float(answer.object_score_logits) == 10.0
    assert float(answer.iou_score) == 1.0
    assert session.step(10, slices[10]) == {}
    session.step(11, slices[11])
    session.prompt("liver", 11, slices[11], MaskPrompt(~mask))
    assert session.prompted("liver") == {10, 11}
    assert session.step(11, slices[11], reverse=True) == {}


def test_a_corrected_slice_changes_its_neighbours(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    session = TrackingSession(tracker, DEPTH)
    session.prompt("liver", 10, slices[10], _square(5, 25))
    before = {index: session.step(index, slices[index])["liver"] for index in range(11, 16)}
    session.prompt("liver", 13, slices[13], _square(20, 35))
    after = session.step(14, slices[14])["liver"]
    assert not torch.equal(after.pred_masks, before[14].pred_masks)
    # What had been tracked on the corrected slice is gone, as if it had never been there.
    direct = TrackingSession(tracker, DEPTH)
    direct.prompt("liver", 10, slices[10], _square(5, 25))
    for index in (11, 12):
        direct.step(index, slices[index])
    direct.prompt("liver", 13, slices[13], _square(20, 35))
    assert _same(direct.step(14, slices[14])["liver"], after)


def test_an_empty_mask_says_that_the_object_is_not_there(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    answer = TrackingSession(tracker, DEPTH).prompt("liver", 3, slices[3], _square(0, 0))
    assert float(answer.object_score_logits) == -10.0
    assert torch.allclose(answer.pred_masks, torch.full((4 * GRID, 4 * GRID), -1024.0))
    assert torch.equal(answer.object_pointer, tracker.network.no_object_pointer[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_how_far_the_tracker_looks_back(tracker: Tracker, slices: list[TrackerFeatures], reverse: bool) -> None:
    """Six slices for what was seen, fifteen for pointers, and prompted slices ahead without their pointers (Meta)."""
    back, here = (1, 30) if reverse else (-1, 30)
    memory = MemoryBank()
    with torch.inference_mode():
        for position in range(DEPTH):
            answer = tracker.answer(slices[position], _square(position % 15, 25))
            one = tracker.encode_memory(slices[position], answer, prompted=True, dtype=torch.float32)
            (memory.cond_slices if position in (10, 50) else memory.non_cond_slices)[position] = one

        def track(position: int | None = None, **changes: torch.Tensor | None) -> TrackerOutput:
            known = MemoryBank(dict(memory.cond_slices), dict(memory.non_cond_slices))
            if position is not None:
                kept = known.cond_slices if position in known.cond_slices else known.non_cond_slices
                kept[position] = replace(kept[position], **changes)  # type: ignore[arg-type]
            return tracker.track(slices[here], here, DEPTH, known, reverse=reverse)

        plain = track()
        other = memory.non_cond_slices[20].object_pointer + 1.0
        assert not _same(track(here + 6 * back, maskmem_features=None), plain)
        assert _same(track(here + 7 * back, maskmem_features=None), plain)
        assert not _same(track(here + 15 * back, object_pointer=other), plain)
        assert _same(track(here + 16 * back, object_pointer=other), plain)
        assert _same(track(here - back, maskmem_features=None, object_pointer=other), plain)
        behind, ahead = (50, 10) if reverse else (10, 50)
        assert not _same(track(behind, object_pointer=other), plain)
        assert _same(track(ahead, object_pointer=other), plain)
        assert not _same(track(ahead, maskmem_features=None), plain)


def test_where_an_object_is_missing_its_memory_says_so(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    with torch.inference_mode():
        empty = tracker.answer(slices[3], _square(0, 0))
        missing, found = (
            tracker.encode_memory(
                slices[3], replace(empty, object_score_logits=score), prompted=True, dtype=torch.float32
            ).maskmem_features
            for score in (torch.tensor(-10.0), torch.tensor(10.0))
        )
        assert missing is not None
        assert found is not None
        mark = tracker.network.occlusion_spatial_embedding_parameter
        assert torch.allclose((missing - found)[:, 0], mark.expand(GRID * GRID, -1), atol=1e-5)
    assert mark.abs().max() > 0.05


def test_far_prompts_beyond_the_nearest_four_do_not_matter(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    """Meta looks at the four nearest prompted slices only; transformers takes the pointers of all."""
    few, many = TrackingSession(tracker, DEPTH), TrackingSession(tracker, DEPTH)
    many.prompt("liver", 2, slices[2], _square(0, 35))
    for session in (many, few):
        for position in (30, 32, 34, 36):
            session.prompt("liver", position, slices[position], _square(5, 25))
    assert _same(few.step(37, slices[37])["liver"], many.step(37, slices[37])["liver"])
    # Within reach, it does matter, as a slice that had been tracked.
    many.prompt("liver", 29, slices[29], _square(0, 35))
    assert not _same(few.step(35, slices[35])["liver"], many.step(35, slices[35])["liver"])


def test_earlier_answers_are_refined(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    with torch.inference_mode():
        first = tracker.answer(slices[0], PointPrompt(((0.5, 0.5),), (1,)))
        points = ((0.5, 0.5), (0.2, 0.2), (0.7, 0.4)), (1, 0, 1)
        anew = tracker.answer(slices[0], PointPrompt(*points))
        refined = tracker.answer(slices[0], PointPrompt(*points, refines=first.pred_masks))
        cut = tracker.answer(slices[0], PointPrompt(*points, refines=first.pred_masks.clamp(-32, 32)))
    assert not torch.equal(anew.pred_masks, refined.pred_masks)
    assert torch.equal(cut.pred_masks, refined.pred_masks)


def test_one_click_takes_the_best_of_three(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    prompt = PointPrompt(((0.5, 0.5),), (1,))
    with torch.inference_mode():
        candidates = tracker.candidates(slices[0], prompt)
        answer = tracker.answer(slices[0], prompt)
    assert len(candidates) == 3
    best = max(candidates, key=lambda mask: float(mask.iou_score))
    assert _same(answer, best)
    assert torch.equal(answer.object_pointer, best.object_pointer)


def test_bfloat16_memory_is_half_as_large(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        session = TrackingSession(tracker, DEPTH, memory_dtype=dtype)
        session.prompt("liver", 10, slices[10], _square(5, 25))
        assert session.step(11, slices[11])["liver"].pred_masks.dtype == torch.float32
        taken[dtype] = session.memory_bytes
    pointers = 2 * 128 * 4
    assert taken[torch.bfloat16] - pointers == (taken[torch.float32] - pointers) // 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_run(tracker: Tracker, dtype: torch.dtype) -> None:
    half = copy.deepcopy(TrackerNetworks(tracker.network, tracker._neck))
    half.model.to(dtype)
    half.neck.to(dtype)
    session = TrackingSession(Tracker(half), DEPTH)
    tokens = torch.randn(3, GRID * GRID, WIDTH, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        features = [Tracker(half).build_features(VisionFeatures(tokens[index : index + 1])) for index in range(3)]
    for object_, (_, prompt) in PROMPTS.items():
        assert session.prompt(object_, 0, features[0], prompt).pred_masks.dtype == torch.float32
    for mask in [*session.step(1, features[1]).values(), *session.step(2, features[2]).values()]:
        assert mask.pred_masks.dtype == torch.float32
        assert torch.isfinite(mask.pred_masks).all()


def test_tracking_can_be_trained(tracker: Tracker) -> None:
    """Gradients reach the memory encoder and the first slice through what is remembered of it."""
    tokens = torch.randn(2, GRID * GRID, WIDTH, generator=torch.Generator().manual_seed(4), requires_grad=True)
    first, second = (tracker.build_features(VisionFeatures(tokens[index : index + 1])) for index in range(2))
    answer = tracker.answer(first, _square(5, 25))
    memory = MemoryBank({0: tracker.encode_memory(first, answer, prompted=True, dtype=torch.float32)})
    mask = tracker.track(second, 1, 2, memory, reverse=False)
    (mask.object_score_logits + mask.pred_masks.mean()).backward()
    gradient = tracker.network.memory_encoder.projection.weight.grad
    tracker.network.zero_grad()
    tracker._neck.zero_grad()
    assert gradient is not None
    assert gradient.abs().max() > 0
    assert tokens.grad is not None
    assert tokens.grad[0].abs().max() > 0


def test_what_cannot_be_meant_is_refused(tracker: Tracker, slices: list[TrackerFeatures]) -> None:
    with pytest.raises(InputError, match="neither a point nor a box"):
        PointPrompt()
    with pytest.raises(InputError, match="label"):
        PointPrompt(((0.5, 0.5),), ())
    with pytest.raises(InputError, match="label"):
        PointPrompt(((0.5, 0.5),), (2,))
    with pytest.raises(InputError, match="3 dimensions"):
        MaskPrompt(torch.ones(1, 4, 4, dtype=torch.bool))
    session = TrackingSession(tracker, DEPTH)
    with pytest.raises(ValueError, match="60 slices"):
        session.prompt("liver", DEPTH, slices[0], _square(5, 25))
    assert session.objects == ()
