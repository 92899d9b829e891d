"""Where templates say that concepts lie: nothing else is encoded, segmented or kept back, on every road."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.engine.protocol.codec import decode, encode
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.place import Place, Standing
from MedSAM3SegmentLib.reporting.report import report_of, segment_provenance
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.tiny_model import EncoderCount

FOUND = Place(Standing.FOUND, ((2, 5), (0, 20), (4, 12)), ((3, 4), (2, 18), (6, 10)), ("old",), 0.9)
OUTSIDE = Place(Standing.OUTSIDE, templates=("old",))


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


@pytest.fixture
def volume() -> Volume:
    array = np.random.default_rng(0).normal(0, 300, (9, 20, 24)).astype(np.int16)
    return Volume(array, VoxelGrid(array.shape, np.diag([-1.5, -1.5, 5.0, 1.0])), "CT")


def test_only_the_slices_of_a_place_are_encoded_and_nothing_lies_outside_of_its_box(
    segmenter: Segmenter, volume: Volume
) -> None:
    count = EncoderCount(segmenter)
    request = SegmentRequest(("liver", "spleen"), threshold=0.0, places={"liver": FOUND, "spleen": OUTSIDE})
    result = segmenter.segment(volume, request)
    liver, spleen = result.concepts
    assert count.slices == 3
    assert sorted(liver.score_by_slice) == [2, 3, 4]
    outside = np.ones(volume.grid.shape, bool)
    outside[2:5, 0:20, 4:12] = False
    assert not (liver.mask & outside).any()
    assert not spleen.found
    assert not spleen.mask.any()
    assert "outside of the field of view" in str(spleen.reason)

    again = with_threshold(result, 0.1)
    assert not (again.concepts[0].mask & outside).any()
    assert again.concepts[1].reason == spleen.reason


def test_report_provenance_and_wire_say_what_was_searched(segmenter: Segmenter, volume: Volume) -> None:
    request = SegmentRequest(("liver", "spleen"), places={"liver": FOUND, "spleen": OUTSIDE})
    result = segmenter.segment(volume, decode(encode(request), SegmentRequest))
    result = decode(encode(result), SegmentResult)
    liver, spleen = report_of(result, volume)["concepts"]
    assert liver["located"] == {
        "standing": "found",
        "templates": ["old"],
        "slices": [2, 4],
        "slices_without_margin": [3, 3],
        "box": {"k": [2, 4], "j": [0, 19], "i": [4, 11]},
        "likeness": 0.9,
    }
    assert any("slices 2 to 4" in str(sentence) for sentence in liver["messages"])
    assert spleen["located"] == {"standing": "outside of the volume", "templates": ["old"]}
    assert segment_provenance(result, result.concepts[0])["located"] == liver["located"]
    assert segment_provenance(result, result.concepts[1])["slices"] is None


def test_a_concept_without_a_place_is_searched_everywhere(segmenter: Segmenter, volume: Volume) -> None:
    result = segmenter.segment(volume, SegmentRequest(("liver", "spleen"), places={"liver": FOUND}))
    assert sorted(result.concepts[1].score_by_slice) == list(range(9))
    assert sorted(result.concepts[0].score_by_slice) == [2, 3, 4]
