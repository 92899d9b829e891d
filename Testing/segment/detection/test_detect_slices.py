"""What the detector says of a slice depends neither on the slices beside it in a batch nor on the number of threads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from MedSAM3SegmentLib.detection import detect_slices
from MedSAM3SegmentLib.detection.answers_behind import AnswersBehind, grouped
from MedSAM3SegmentLib.features import slice_encoder
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.models import devices
from MedSAM3SegmentLib.models.detector import DetectorOutput, TextFeatures
from MedSAM3SegmentLib.models.network.stage_types import BoxPrompts, SharedStages
from MedSAM3SegmentLib.models.threads import VARIABLES
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.phantom import make_phantom
from support.cli_runs import GRID

#: Masks are kept in float16, of which this is a step below 1.
HALF_PRECISION = 2.0**-11


def whole(mask: SoftMask) -> NDArray[np.float32]:
    """All of a mask, not only where it is not next to nothing."""
    full = np.zeros(mask.size, np.float32)
    rows, columns = mask.probability.shape
    full[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.probability
    return full


def evidence(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, batch: int, threads: int) -> list[SliceDetections]:
    monkeypatch.setitem(detect_slices.BATCH, "cpu", batch)
    for name in VARIABLES:
        monkeypatch.setenv(name, str(threads))
    segmenter.cache.clear()
    result = segmenter.segment(make_phantom(31, GRID).volume, SegmentRequest(("liver", "spleen"), slices=(0, 5)))
    return [item for concept in result.concepts for item in concept.evidence]


def test_batches_and_threads_change_no_number(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    before = torch.get_num_threads()
    expected = evidence(segmenter, monkeypatch, 1, 1)
    assert torch.get_num_threads() == before
    for batch, threads in ((2, 1), (5, 2), (3, 2)):
        found = evidence(segmenter, monkeypatch, batch, threads)
        check_same(expected, found)


def test_what_is_done_beside_a_gpu_changes_no_number(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers read one phrase later, phrases together where slices are few, the next pictures made meanwhile."""
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    expected = evidence(segmenter, monkeypatch, 4, 1)
    monkeypatch.setattr(devices, "computes_beside", lambda _: True)
    pairs: list[int] = []
    threads: list[str] = []
    detect, make = segmenter.model.detect, slice_encoder.to_pictures

    def counted(slices: SharedStages, phrases: TextFeatures, boxes: BoxPrompts | None = None) -> DetectorOutput:
        pairs.append(len(phrases.attention_mask))
        return detect(slices, phrases, boxes)

    def noted(slices: NDArray[np.int16], window: Window) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        return make(slices, window)

    monkeypatch.setattr(segmenter.model, "detect", counted)
    monkeypatch.setattr(slice_encoder, "to_pictures", noted)
    found = evidence(segmenter, monkeypatch, 4, 1)

    check_same(expected, found)
    assert pairs == [4, 4, 2], "both phrases together on the slice that is left"
    assert threads == [threading.main_thread().name, "pictures"]


def test_answers_are_read_in_order_one_behind_where_a_device_computes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for is_beside, after_each in ((False, [[0], [0, 1], [0, 1, 2]]), (True, [[], [0], [0, 1]])):
        monkeypatch.setattr(devices, "computes_beside", lambda _, is_beside=is_beside: is_beside)
        done: list[int] = []
        behind = AnswersBehind(torch.device("cpu"), done.append)
        seen = []
        for number in range(3):
            behind.add(number)
            seen.append(list(done))
        behind.finish()
        assert seen == after_each
        assert done == [0, 1, 2]


@given(st.lists(st.integers(), unique=True), st.integers(1, 5), st.sets(st.integers()))
def test_phrases_are_grouped_in_their_order_and_what_is_alone_stays_alone(
    numbers: list[int], most: int, alone: set[int]
) -> None:
    alone |= set(numbers[::3])
    groups = grouped(numbers, most, alone.__contains__)
    assert [number for group in groups for number in group] == numbers
    assert all(1 <= len(group) <= most for group in groups)
    assert all(len(group) == 1 for group in groups if alone & set(group))


def check_same(expected: list[SliceDetections], found: list[SliceDetections]) -> None:
    assert [item.slice_index for item in found] == [item.slice_index for item in expected] == [*range(5)] * 2
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose([other.score, other.presence], [one.score, one.presence], atol=1e-4)
        assert len(other.detections) == len(one.detections) > 0
        for detection, same in zip(one.detections, other.detections, strict=True):
            np.testing.assert_allclose([same.score, *same.box], [detection.score, *detection.box], atol=1e-4)
            np.testing.assert_allclose(whole(same.mask), whole(detection.mask), atol=1e-4 + HALF_PRECISION)
