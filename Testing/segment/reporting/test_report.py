"""The report holds what a reader of a run needs, in plain JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.reporting.report import report_of, segment_provenance, write_report
from MedSAM3SegmentLib.request import AssemblyOptions
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.volume import Volume
from support.results import axial_grid, result_of

GRID = axial_grid((4, 5, 6), (2.0, 1.5, 5.0))
VOLUME = Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), GRID, "MR", "t1.nii.gz")


def _mask() -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[1:3, 2, 3] = True
    return mask


def test_has_every_key_that_scripts_rely_on(tmp_path: Path) -> None:
    result = result_of(VOLUME, {"liver": _mask(), "spleen": np.zeros(GRID.shape, bool)}, is_demo=True)
    path = tmp_path / "report.json"
    write_report(path, report_of(result, VOLUME, {"reading": 0.25, "segmenting": 1.0}))
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["model"] | {"name": "a model", "sha256": "0" * 64, "demo": True} == report["model"]
    assert report["device"] == "cpu"
    assert report["plane"] == "axial"
    assert report["threshold"] == 0.5
    assert report["input"]["name"] == "t1.nii.gz"
    assert report["input"]["voxels"] == [6, 5, 4]
    assert report["input"]["spacing_mm"] == [2.0, 1.5, 5.0]
    assert report["window"]["name"] == "percentiles 1-99"
    assert report["seconds"] == {"reading": 0.25, "segmenting": 1.0}
    assert report["versions"]
    assert [concept["concept"] for concept in report["concepts"]] == ["liver", "spleen"]
    for concept in report["concepts"]:
        assert {"found", "reason", "voxels", "volume_mm3", "score_by_slice", "instances"} <= set(concept)


def test_says_of_each_concept_what_was_found() -> None:
    result = result_of(VOLUME, {"liver": _mask(), "spleen": np.zeros(GRID.shape, bool)})
    liver, spleen = report_of(result, VOLUME)["concepts"]
    assert liver["found"]
    assert liver["voxels"] == 2
    assert liver["volume_mm3"] == 30.0
    assert liver["score_by_slice"] == {"0": 0.1, "1": 0.9, "2": 0.9, "3": 0.1}
    assert liver["instances"] == [
        {"label": 1, "voxels": 2, "volume_mm3": 30.0, "first_slice": 1, "last_slice": 2, "score": 0.9, "cut_off": []}
    ]
    assert (liver["covered"], liver["cut_off"]) == ([], [])
    assert not spleen["found"]
    assert spleen["reason"].startswith("Not found")
    assert (spleen["voxels"], spleen["instances"]) == (0, [])


def test_concepts_with_windows_of_their_own_are_told_apart() -> None:
    windows = {"lung": Window.preset("lung"), "bone": Window(-10, 20)}
    result = result_of(VOLUME, {"lung": _mask(), "bone": _mask()}, windows=windows)
    report = report_of(result, VOLUME)
    assert report["window"]["name"] == "by concept"
    assert [concept["window"]["name"] for concept in report["concepts"]] == ["lung", "custom"]
    assert report["concepts"][1]["window"] == {"name": "custom", "low": -10.0, "high": 20.0}


def test_a_score_that_is_no_number_still_makes_valid_json(tmp_path: Path) -> None:
    result = result_of(VOLUME, {"liver": _mask()})
    broken = replace(result.concepts[0], evidence=(SliceDetections(0, float("nan"), 0.5),))
    write_report(tmp_path / "r.json", report_of(replace(result, concepts=(broken,)), VOLUME))
    report = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert report["concepts"][0]["score_by_slice"] == {"0": None}


def test_phrases_of_every_script_are_kept_as_typed(tmp_path: Path) -> None:
    result = result_of(VOLUME, {'"Leber" ⟨肝臓⟩': _mask()})
    write_report(tmp_path / "r.json", report_of(result, VOLUME))
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert "肝臓" in text
    assert json.loads(text)["concepts"][0]["concept"] == '"Leber" ⟨肝臓⟩'


def test_a_segment_knows_what_was_asked_and_what_ran() -> None:
    result = result_of(VOLUME, {"liver": _mask()}, is_demo=True)
    provenance = segment_provenance(result, result.concepts[0])
    assert provenance["concept"] == "liver"
    assert provenance["slices"] == [0, 3]
    assert provenance["model"]["demo"] is True
    assert provenance["input"]["sha256"] == VOLUME.content_hash
    json.dumps(provenance, allow_nan=False)


def test_which_clean_up_steps_ran_is_kept() -> None:
    steps = AssemblyOptions(fill_gaps=False, largest_only=True)
    result = replace(result_of(VOLUME, {"liver": _mask()}), assembly=steps)
    for kept in (segment_provenance(result, result.concepts[0]), report_of(result, VOLUME)):
        assert AssemblyOptions(**kept["clean_up"]) == steps
