"""What the detector says of a slice depends neither on the slices beside it in a batch nor on the number of threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from MedSAM3SegmentLib.detection import detect_slices
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.models.threads import VARIABLES
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
        assert [item.slice_index for item in found] == [item.slice_index for item in expected] == [*range(5)] * 2
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose([other.score, other.presence], [one.score, one.presence], atol=1e-4)
            assert len(other.detections) == len(one.detections) > 0
            for detection, same in zip(one.detections, other.detections, strict=True):
                np.testing.assert_allclose([same.score, *same.box], [detection.score, *detection.box], atol=1e-4)
                np.testing.assert_allclose(whole(same.mask), whole(detection.mask), atol=1e-4 + HALF_PRECISION)
