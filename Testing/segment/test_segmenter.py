"""The main road: one pass of the encoder per slice, none for a moved threshold, and voxels on the right grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.features.feature_cache import FeatureCache, FeatureKey
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.models.detector import VisionFeatures
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import Progress, RunCallbacks, Stage
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.tiny_model import TINY_SCORE, EncoderCount


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


@pytest.fixture
def volume() -> Volume:
    array = np.random.default_rng(0).integers(-200, 300, (7, 20, 24)).astype(np.int16)
    return Volume(array, VoxelGrid(array.shape, np.diag([-1.5, -1.5, 5.0, 1.0])), "CT", "test")


def test_the_encoder_runs_once_per_slice_for_any_number_of_phrases(segmenter: Segmenter, volume: Volume) -> None:
    count = EncoderCount(segmenter)
    segmenter.segment(volume, SegmentRequest(("liver", "spleen", "left kidney", "stomach", "zebra")))
    assert count.slices == 7


def test_a_second_phrase_and_a_moved_threshold_cost_no_encoder_pass(segmenter: Segmenter, volume: Volume) -> None:
    count = EncoderCount(segmenter)
    result = segmenter.segment(volume, SegmentRequest(("liver",), threshold=TINY_SCORE - 0.1))
    assert result.concepts[0].found
    stricter = with_threshold(result, TINY_SCORE + 0.1)
    assert not stricter.concepts[0].found
    assert stricter.provenance.threshold == TINY_SCORE + 0.1
    assert with_threshold(stricter, TINY_SCORE - 0.1).concepts[0].voxels == result.concepts[0].voxels
    segmenter.segment(volume, SegmentRequest(("spleen",), threshold=0.9))
    assert count.slices == 7


def test_another_window_is_another_picture(segmenter: Segmenter, volume: Volume) -> None:
    count = EncoderCount(segmenter)
    result = segmenter.segment(volume, SegmentRequest(("liver", "lung")))
    assert count.slices == 14, "the lung has a window of its own"
    assert [concept.window.name for concept in result.concepts] == ["soft-tissue", "lung"]
    segmenter.segment(volume, SegmentRequest(("liver", "lung"), window=Window(0, 100)))
    assert count.slices == 21, "one window for all is one pass"


def test_a_threshold_moved_afterwards_equals_a_run_at_that_threshold(segmenter: Segmenter, volume: Volume) -> None:
    high = segmenter.segment(volume, SegmentRequest(("liver",), threshold=0.9))
    low = segmenter.segment(volume, SegmentRequest(("liver",), threshold=0.3))
    assert np.array_equal(with_threshold(high, 0.3).concepts[0].mask, low.concepts[0].mask)


def test_slices_outside_the_range_are_neither_looked_at_nor_filled(segmenter: Segmenter, volume: Volume) -> None:
    count = EncoderCount(segmenter)
    result = segmenter.segment(volume, SegmentRequest(("liver",), slices=(2, 5), threshold=0.3))
    concept = result.concepts[0]
    assert count.slices == 3
    assert list(concept.score_by_slice) == [2, 3, 4]
    assert np.array_equal(np.flatnonzero(concept.mask.any(axis=(1, 2))), [2, 3, 4])


@pytest.mark.parametrize("slices", [(5, 5), (-1, 3), (3, 8), (9, 12)])
def test_a_range_that_does_not_fit_is_refused_in_words(
    segmenter: Segmenter, volume: Volume, slices: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match="0:7"):
        segmenter.segment(volume, SegmentRequest(("liver",), slices=slices))


def test_progress_counts_slices_and_cancel_stops_within_a_batch(segmenter: Segmenter, volume: Volume) -> None:
    reports: list[Progress] = []
    segmenter.segment(volume, SegmentRequest(("liver",)), RunCallbacks(progress=reports.append))
    done = [report.done for report in reports if report.stage is Stage.SEGMENTING]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 7)
    assert all(report.total == 7 for report in reports if report.stage is Stage.SEGMENTING)
    count = EncoderCount(segmenter)
    segmenter.cache.clear()
    with pytest.raises(Cancelled, match="of 7"):
        segmenter.segment(volume, SegmentRequest(("liver",)), RunCallbacks(cancel=lambda: count.slices > 0))
    assert 0 < count.slices <= 2


def test_provenance_names_model_input_and_settings(segmenter: Segmenter, volume: Volume) -> None:
    result = segmenter.segment(volume, SegmentRequest(("the liver",), plane=Plane.CORONAL, threshold=0.4))
    provenance = result.provenance.as_dict()
    assert provenance["plane"] == "coronal"
    assert provenance["threshold"] == 0.4
    assert provenance["input"] == {"name": "test", "sha256": volume.content_hash}
    assert len(provenance["model"]["sha256"]) == 64
    assert {"medsam3", "torch", "transformers"} <= set(provenance["versions"])
    assert (result.concepts[0].concept, result.concepts[0].prompt) == ("the liver", "liver")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 9, 9), np.int16),
        np.full((3, 4, 5), 7.0),
        np.full((3, 4, 5), np.nan),
        np.where(np.arange(60).reshape(3, 4, 5) % 7 == 0, np.nan, 3.5),
        np.zeros((1, 1, 1), np.uint8),
        np.zeros((2, 6, 8, 3), np.uint8),
    ],
    ids=["one slice", "constant", "all NaN", "some NaN", "one voxel", "colour"],
)
def test_odd_volumes_behave_or_say_what_is_wrong(segmenter: Segmenter, array: np.ndarray) -> None:
    odd = Volume(array, VoxelGrid(array.shape[:3], np.eye(4)), "", "odd")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).any():
        with pytest.raises(InputError, match="finite"):
            segmenter.segment(odd, SegmentRequest(("liver",)))
        return
    result = segmenter.segment(odd, SegmentRequest(("liver",), threshold=0.3))
    assert result.concepts[0].mask.shape == array.shape[:3]


def test_memory_that_runs_out_costs_time_but_no_slice(
    segmenter: Segmenter, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SegmentRequest(("liver", "spleen"), threshold=0.3)
    expected = segmenter.segment(volume, request)
    segmenter.cache.clear()
    encode = segmenter.model.encode_images

    def encode_one_at_a_time(pixels: torch.Tensor) -> VisionFeatures:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("injected")
        return encode(pixels)

    monkeypatch.setattr(segmenter.model, "encode_images", encode_one_at_a_time)
    result = segmenter.segment(volume, request)
    for concept, wanted in zip(result.concepts, expected.concepts, strict=True):
        assert list(concept.score_by_slice) == list(range(7))
        assert np.array_equal(concept.mask, wanted.mask)
    assert any("Memory ran out" in message for message in result.messages)


def test_results_are_reproducible(segmenter: Segmenter, volume: Volume, tiny_model_folder: Path) -> None:
    first = segmenter.segment(volume, SegmentRequest(("liver",), threshold=0.3))
    again = Segmenter.load(str(tiny_model_folder), "cpu").segment(volume, SegmentRequest(("liver",), threshold=0.3))
    assert first.concepts[0].score_by_slice == again.concepts[0].score_by_slice
    assert np.array_equal(first.concepts[0].mask, again.concepts[0].mask)


def test_features_beyond_the_budget_are_forgotten_oldest_first() -> None:
    keys = [FeatureKey.of("v", Plane.AXIAL, Window(0, 1), "m", n) for n in range(4)]
    cache = FeatureCache(budget=3 * 4 * 10)
    for key in keys[:3]:
        cache.put(key, torch.ones(2, 5))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], torch.ones(2, 5))
    assert cache.bytes_held <= cache.budget
    assert cache.get(keys[1]) is None, "the least recently used one went"
    assert cache.get(keys[0]) is not None
    cache.put(FeatureKey.of("w", Plane.AXIAL, Window(0, 1), "m", 0), torch.ones(1000))
    assert len(cache) == 3, "what is larger than the budget is not kept"
