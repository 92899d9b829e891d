"""Requests that follow objects, through the whole engine with untrained networks: passes, modes, corrections, words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import PartialMask, RunCallbacks
from MedSAM3SegmentLib.prompts.prompts import (
    BoxPromptRAS,
    BoxReading,
    MaskPromptRAS,
    PointPromptRAS,
    TargetPrompts,
)
from MedSAM3SegmentLib.reporting.report import report_of
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.tracks import SliceSource, StopReason
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.tracking.correction import anchor_slices, correction_request
from MedSAM3SegmentLib.volume import Volume
from support.disc_objects import Mask
from support.tiny_model import TINY_SCORE, EncoderCount
from support.untrained_tracker import make_tracker


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


@pytest.fixture
def tracking(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """With a tracker, whose answers mean nothing."""
    tracker = make_tracker()
    monkeypatch.setattr(segmenter.model, "tracker", "networks")
    monkeypatch.setattr("MedSAM3SegmentLib.models.tracker.Tracker", lambda *_: tracker)
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
    prompts = {"it": TargetPrompts(masks=(MaskPromptRAS(mask),))}
    request = SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts, slices=(3, 6))
    tracking.segment(volume, request)
    assert 1 <= count.slices <= 3


@pytest.mark.parametrize("mode", [Mode.PROPAGATE, Mode.FROM_PROMPTS])
def test_drawn_slices_come_back_to_the_voxel(tracking: Segmenter, volume: Volume, mode: Mode) -> None:
    stack, mask = _drawn(volume, [3, 5])
    prompts = {"liver": TargetPrompts(masks=(MaskPromptRAS(mask, (3, 5, 7)),))}
    result = tracking.segment(volume, SegmentRequest(("liver",), mode=mode, prompts=prompts, threshold=0.3))
    concept = result.concepts[0]
    for index in (3, 5, 7):
        assert np.array_equal(stack.extract(concept.mask)[index], stack.extract(mask)[index])
    for threshold in (0.05, 0.95):
        moved = with_threshold(result, threshold).concepts[0]
        assert np.array_equal(stack.extract(moved.mask)[[3, 5, 7]], stack.extract(mask)[[3, 5, 7]])
    assert result.provenance.as_dict()["mode"] == mode.value
    assert result.provenance.as_dict()["prompts"] == {"liver": "1 mask"}


def test_a_phrase_that_means_something_else_where_it_was_drawn_is_no_check(tracking: Segmenter, volume: Volume) -> None:
    _, mask = _drawn(volume, [4])
    prompts = {"liver": TargetPrompts(masks=(MaskPromptRAS(mask),))}
    unseen = SegmentRequest(("liver",), mode=Mode.PROPAGATE, prompts=prompts, threshold=0.99)
    alone = SegmentRequest(
        ("liver",),
        mode=Mode.FROM_PROMPTS,
        prompts={"liver": TargetPrompts(masks=(MaskPromptRAS(mask),), is_phrase=False)},
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
    box = BoxPromptRAS((corners[0], corners[1]))
    prompts = {"it": TargetPrompts(boxes=(box,), reading=BoxReading.THINGS_LIKE_THIS, is_phrase=False)}
    result = segmenter.segment(volume, SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts))
    assert list(result.concepts[0].score_by_slice) == [0, 1, 2, 3, 4, 5], "20 mm to either side"
    assert result.concepts[0].prompt == "visual"


def test_a_cancel_ends_a_run_from_drawn_slices_at_the_next_step(tracking: Segmenter, volume: Volume) -> None:
    """Whether slices are followed or filled just then: the model and the shapes ask before each."""
    _, mask = _drawn(volume, (2, 6))
    prompts = {"it": TargetPrompts(masks=(MaskPromptRAS(mask),), is_phrase=False)}
    request = SegmentRequest(("it",), mode=Mode.FROM_PROMPTS, prompts=prompts)
    asked: list[int] = []

    def cancelled_at(last: int) -> RunCallbacks:
        asked.clear()

        def cancel() -> bool:
            asked.append(1)
            return len(asked) == last

        return RunCallbacks(cancel=cancel)

    result = tracking.segment(volume, request, cancelled_at(0))
    every = len(asked)
    assert SliceSource.DRAWN in result.concepts[0].sources.values()
    assert every > 2 * (volume.grid.shape[0] - 2)
    for last in (1, every // 4, every // 2, every - 3):
        with pytest.raises(Cancelled):
            tracking.segment(volume, request, cancelled_at(last))
        assert len(asked) == last


def test_a_raised_threshold_drops_tracks_without_the_model(tracking: Segmenter, volume: Volume) -> None:
    request = SegmentRequest(("liver",), mode=Mode.PROPAGATE, threshold=TINY_SCORE - 0.1)
    result = tracking.segment(volume, request)
    assert result.concepts[0].found
    count = EncoderCount(tracking)
    assert not with_threshold(result, 0.99).concepts[0].found
    again = with_threshold(result, TINY_SCORE - 0.1).concepts[0]
    assert np.array_equal(again.mask, result.concepts[0].mask)
    assert count.slices == 0


def test_partial_masks_of_detection_are_on_the_volumes_grid(segmenter: Segmenter, volume: Volume) -> None:
    shown: list[PartialMask] = []
    request = SegmentRequest(("liver",), plane=Plane.CORONAL, threshold=TINY_SCORE - 0.1)
    result = segmenter.segment(volume, request, RunCallbacks(partial=shown.append))
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
    again = correction_request(request, result, "liver", changed, [4, 7])
    assert again.concepts == ("liver",)
    (marks,) = again.prompts["liver"].masks
    assert marks.slices == (0, 4, 7), "the surest slice that is far enough away stays as well"
    corrected = tracking.segment(volume, again).concepts[0]
    assert np.array_equal(stack.extract(corrected.mask)[4], stack.extract(mask)[4])
    assert not stack.extract(corrected.mask)[7].any()
    later = correction_request(again, tracking.segment(volume, again), "liver", changed, [2])
    assert set(later.prompts["liver"].masks[0].slices or ()) >= {2, 4, 7}, "earlier corrections are kept"


@pytest.mark.parametrize(("concept", "slices", "words"), [("lung", [3], "not in"), ("liver", [], "correct one")])
def test_corrections_that_fit_nothing_are_refused(
    tracking: Segmenter, volume: Volume, concept: str, slices: list[int], words: str
) -> None:
    request = SegmentRequest(("liver",))
    result = tracking.segment(volume, request)
    with pytest.raises(InputError, match=words):
        correction_request(request, result, concept, result.concepts[0].mask, slices)


def test_the_report_says_where_and_why_it_stopped(tracking: Segmenter, volume: Volume) -> None:
    _, mask = _drawn(volume, [4])
    prompts = {"liver": TargetPrompts(masks=(MaskPromptRAS(mask),))}
    result = tracking.segment(volume, SegmentRequest(("liver",), mode=Mode.FROM_PROMPTS, prompts=prompts))
    report = json.loads(json.dumps(report_of(result, volume)))
    (track,) = report["concepts"][0]["tracks"]
    assert track["seeds"] == track["drawn"] == [4]
    assert {stop["direction"] for stop in track["stops"]} == {"up", "down"}
    assert all(stop["reason"] in list(StopReason) and stop["detail"] for stop in track["stops"])
    assert report["mode"] == "from prompts"


def test_points_in_the_mode_slices_are_refused_in_words() -> None:
    prompts = {"liver": TargetPrompts((PointPromptRAS((0, 0, 0)),))}
    with pytest.raises(InputError, match="from prompts"):
        SegmentRequest(("liver",), prompts=prompts)


def test_what_is_held_besides_a_corrected_slice_is_near_it() -> None:
    """What lies between is filled by shapes, which say little of what is far from both."""
    scores = {**dict.fromkeys(range(40), 0.9), 39: 0.99, 26: 0.95, 12: 0.95}
    assert anchor_slices(range(40), [20], scores) == [16, 26]
    assert anchor_slices([*range(20), 35, 39], [20], scores) == [16, 39]
    assert anchor_slices([20, 21], [20], scores) == []
