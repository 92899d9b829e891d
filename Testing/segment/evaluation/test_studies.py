"""Studies by the command, on phantoms and on own cases, without a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.studies.drawn_slices import BEYOND, DRAWN, SHAPES, Drawing, draw_objects, interpolate
from MedSAM3SegmentLib.evaluation.studies.next_slice import BEFORE, RANDOM, SUGGESTED
from MedSAM3SegmentLib.evaluation.studies.phantom_cases import phantom_cases, phantom_of
from MedSAM3SegmentLib.evaluation.studies.propagation import CLEAN, MASK, PROPAGATION
from MedSAM3SegmentLib.evaluation.studies.study import StudyPredictions, measure_ends, seed_of
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.without_model import ShapeSegmenter
from support.evaluation_files import evaluate, read_summary, write_volume


def test_the_next_slice_that_is_suggested_is_compared_with_a_random_one(tmp_path: Path) -> None:
    words = ("--study", "next-slice", "--model", "none", "--phantoms", "301:302", "--spacing", "8", "--no-surfaces")
    assert evaluate(*words, "--output", tmp_path / "out") == 0
    summary = read_summary(tmp_path / "out")
    assert {entry["prompt"] for entry in summary["results"]} == {BEFORE, SUGGESTED, RANDOM}
    pairs = [(entry["prompt"], entry["other"]) for entry in summary["methods_compared"]]
    assert pairs == [(SUGGESTED, BEFORE), (RANDOM, BEFORE), (SUGGESTED, RANDOM)]
    by_method = {entry["prompt"]: entry["dice"]["mean"] for entry in summary["together"]}
    assert by_method[SUGGESTED] >= by_method[BEFORE]
    first = summary["methods_compared"][0]
    assert first["difference"]["mean"] == pytest.approx(by_method[SUGGESTED] - by_method[BEFORE])
    assert any("synthetic" in note for note in summary["notes"])
    assert "no model: shapes and the image alone" in (tmp_path / "out" / "tables.md").read_text()
    assert (tmp_path / "out" / "pictures").is_dir()
    before = (tmp_path / "out" / "cases.csv").read_bytes()
    assert evaluate(*words, "--output", tmp_path / "out", "--jobs", "1") == 0
    assert (tmp_path / "out" / "cases.csv").read_bytes() == before


def test_drawn_slices_of_own_volumes_score_where_they_are_not_drawn(tmp_path: Path) -> None:
    phantom = phantom_of(303, 8.0)
    liver = phantom.masks["liver"]
    write_volume(tmp_path / "image.nii.gz", ((phantom.volume.array - phantom.volume.array.min()) / 16).clip(0, 255))
    write_volume(tmp_path / "labels.nii.gz", liver.astype(np.uint8) * 5)
    # What a case does not show is not asked for.
    case = {"image": "image.nii.gz", "labels": "labels.nii.gz", "concepts": {"liver": [5], "spleen": []}}
    (tmp_path / "manifest.json").write_text(json.dumps({"cases": [case]}))
    words = ("--study", "drawn-slices", "--model", "none", "--manifest", tmp_path / "manifest.json", "--no-surfaces")
    assert evaluate(*words, "--output", tmp_path / "out", "--conditions", f"every third;{BEYOND}") == 0
    results = {(one["prompt"], one["phrase"]): one for one in read_summary(tmp_path / "out")["results"]}
    assert set(results) == {(SHAPES, "every third"), (DRAWN, "every third"), (DRAWN, BEYOND)}
    (one,) = draw_objects({"liver": liver}, SliceStack.along(phantom.volume.grid, Plane.AXIAL), Drawing.EVERY_THIRD)
    assert results[SHAPES, "every third"]["dice"]["mean"] == pytest.approx(one.score(interpolate(one)))
    # Without a model nothing goes on beyond what was drawn.
    assert results[DRAWN, BEYOND]["dice"]["mean"] == 0


def test_references_on_other_voxels_are_refused() -> None:
    ((case,), names) = phantom_cases([7], ("spine",), 40.0).cases, {"spine": "spine"}
    volume, references = case.read_image(), case.read_references(None)
    assert volume is not None
    study = StudyPredictions(PROPAGATION, ShapeSegmenter(), {}, names, (MASK,), (CLEAN,), Path())
    moved = replace(volume, grid=VoxelGrid(volume.grid.shape, volume.grid.ijk_to_ras + np.diag([0, 0, 0.5, 0])))
    with pytest.raises(InputError, match="spine in phantom-7-40mm does not lie on the voxels"):
        study.predict(case, references, moved)


def test_ends_are_counted_inside_the_stack() -> None:
    truth = np.zeros((10, 3, 3), bool)
    truth[0:6] = True
    found = np.zeros_like(truth)
    found[2:8] = True
    assert measure_ends(found, truth) == {"ends": 1, "ends within one slice": 0, "ends within two slices": 1}
    assert measure_ends(np.zeros_like(truth), truth)["ends within two slices"] == 0
    truth[0], found[:] = False, truth
    found[0] = False
    assert measure_ends(found, truth) == {"ends": 2, "ends within one slice": 2, "ends within two slices": 2}


def test_phantoms_are_named_by_what_makes_them() -> None:
    cases = phantom_cases(range(7, 9), PROPAGATION.concepts, 40.0)
    assert [case.name for case in cases.cases] == ["phantom-7-40mm", "phantom-8-40mm"]
    assert [seed_of(case.name) for case in cases.cases] == [7, 8]
    assert seed_of("patient 3") == seed_of("patient 3") != seed_of("patient 4")
    assert cases.split_hash() != phantom_cases(range(7, 9), PROPAGATION.concepts, 20.0).split_hash()
    volume, references = cases.cases[0].read_image(), cases.cases[0].read_references(None)
    assert volume is not None
    assert {one.mask.shape for one in references.values()} == {volume.grid.shape}
    assert all(one.mask.any() for one in references.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--study", "propagation", "--model", "none"), ("propagation", "needs a model")),
        (("--study", "next-slice", "--methods", "luck"), ("'luck'", "two to four slices")),
        (("--study", "drawn-slices", "--conditions", "all"), ("'all'", "every third")),
        (("--study", "demo", "--phantoms", "7"), ("'7'", "A:B")),
        (("--study", "demo", "--phantoms", "1:2", "--spacing", "0"), ("0 mm",)),
        (("--study", "demo", "--manifest", "x.json"), ("phantoms", "--manifest")),
        (("--study", "agent", "--prompts", "T"), ("--prompts", "agent")),
        (("--study", "next-slice", "--manifest", "x.json", "--phantoms", "1:2"), ("--phantoms", "--manifest")),
        (("--phantoms", "1:2"), ("--phantoms", "--study")),
        (("--methods", "rules", "--manifest", "x.json", "--model", "demo"), ("--methods", "--study")),
        (("--manifest", "x.json", "--model", "demo", "--video"), ("x.json",)),
    ],
)
def test_faults_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert evaluate(*words, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith(".")
    for word in says:
        assert word in said
    assert not (tmp_path / "out").exists()
