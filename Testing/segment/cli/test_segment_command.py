"""``medsam3 segment``: files that are exact, options that reach the engine, one line and no file when it fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cli_runs import GRID, Shell, files_in
from support.external_data import DATA, needs_shared
from support.tiny_model import TINY_SCORE


def test_a_segmentation_lies_exactly_on_its_volume(segment: Shell, image: Path) -> None:
    assert segment("--concept", "liver") == 0
    segments, grid = read_segmentation("out.seg.nrrd")
    assert grid.same_as(read_volume(image).grid)
    assert [found.name for found in segments] == ["liver"]
    assert segments[0].mask.all()  # the tiny model sees everything everywhere


def test_phrases_are_separated_by_semicolons_lines_and_options(segment: Shell) -> None:
    assert segment("--concept", "liver; left kidney\nspleen", "--concept", "tumor", "--concept", "liver") == 0
    assert [found.name for found in read_segmentation("out.seg.nrrd")[0]] == ["liver", "left kidney", "spleen", "tumor"]


def test_the_demo_label_is_in_log_report_and_provenance(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--report", "r.json") == 0
    assert "DEMO" in capsys.readouterr().err
    assert json.loads(Path("r.json").read_text())["model"]["demo"] is True
    found = read_segmentation("out.seg.nrrd")[0][0]
    provenance = json.loads(found.tags[PROVENANCE_TAG])
    assert provenance["model"]["demo"] is True
    assert provenance["prompt"] == "liver"


def test_report_and_preview_are_written_with_the_segmentation(segment: Shell, here: Path, image: Path) -> None:
    assert segment("--concept", "liver; spleen", "--report", "r.json", "--preview", "p.png") == 0
    assert files_in(here) == ["out.seg.nrrd", "p.png", "r.json"]
    report = json.loads(Path("r.json").read_text())
    assert report["input"]["name"] == image.name
    assert set(report["seconds"]) >= {"reading", "loading", "segmenting", "assembling", "writing"}
    assert report["concepts"][0]["voxels"] == np.prod(GRID.shape)
    assert len(report["concepts"][0]["score_by_slice"]) == GRID.shape[0]
    Image.open("p.png").load()


def test_options_reach_the_engine(segment: Shell) -> None:
    options = ("--plane", "coronal", "--slices", "3:9", "--window", "-100,150", "--report", "r.json")
    assert segment("--concept", "liver", *options) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["plane"] == "coronal"
    assert report["window"] == {"name": "custom", "low": -100.0, "high": 150.0}
    assert sorted(map(int, report["concepts"][0]["score_by_slice"])) == list(range(3, 9))
    assert report["threshold"] == TINY_SCORE


def test_nothing_found_is_a_result(segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver; spleen", "--report", "r.json", "--preview", "p.png", threshold=0.9) == 0
    assert "Nothing was found" in capsys.readouterr().out
    segments, grid = read_segmentation("out.seg.nrrd")
    assert segments == []
    assert grid.same_as(read_volume(image).grid)
    assert [concept["found"] for concept in json.loads(Path("r.json").read_text())["concepts"]] == [False, False]


def test_label_values_do_not_depend_on_what_is_found(segment: Shell) -> None:
    assert segment("--concept", "liver; spleen", "--output", "all.nii.gz") == 0
    assert segment("--concept", "liver; spleen", "--output", "none.nii.gz", threshold=0.9) == 0
    names = [json.loads(Path(f"{name}.labels.json").read_text())["labels"] for name in ("all", "none")]
    assert names[0] == names[1] == {"1": "liver", "2": "spleen"}
    assert set(np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("all.nii.gz")))) == {
        1
    }  # of two as large the earlier
    assert set(np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("none.nii.gz")))) == {0}


@pytest.mark.usefixtures("here")
def test_a_picture_can_be_segmented(tiny_model_folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save("skin.png")
    words = ["segment", "skin.png", "--concept", "melanoma", "--output", "o.nii.gz", "--preview", "p.png"]
    assert main([*words, "--model", str(tiny_model_folder)]) == 0
    assert read_segmentation("o.nii.gz")[0][0].mask.shape == (1, 40, 60)


def test_quiet_says_nothing(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_brackets_in_phrases_are_printed_as_typed(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "[bold]lesion[/] ;[/x]", threshold=0.9) == 0
    assert "[bold]lesion[/]" in capsys.readouterr().out


def test_an_older_output_is_replaced_whole_or_kept(segment: Shell) -> None:
    Path("out.seg.nrrd").write_text("old")
    assert segment("--concept", "liver", "--model", "missing") == 3
    assert Path("out.seg.nrrd").read_text() == "old"
    assert segment("--concept", "liver") == 0
    assert read_segmentation("out.seg.nrrd")[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "No concept"),
        (("--concept", " ; \n"), "No concept"),
        (("--window", "foggy"), "foggy"),
        (("--window", "10,-10"), "10,-10"),
        (("--window", "-10,x"), "-10,x"),
        (("--slices", "3"), "A:B"),
        (("--slices", "5:5"), "5:5"),
        (("--slices", "-2:5"), "-2:5"),
        (("--slices", "5:99"), "5:99"),
        (("--threshold", "1.5"), "1.5"),
        (("--threshold", "nan"), "nan"),
        (("--threshold", "half"), "half"),
        (("--plane", "oblique"), "oblique"),
        (("--device", "abacus"), "abacus"),
        (("--output", "out.png"), "out.png"),
        (("--output", "out"), "out"),
        (("--output", "absent/out.seg.nrrd"), "absent"),
        (("--report", "absent/r.json"), "absent"),
        (("--report", "."), "folder"),
        (("--preview", "p.jpg"), "p.jpg"),
        (("--preview", "x.png", "--report", "x.png"), "x.png"),
        (("--colour", "red"), "no option --colour; see 'medsam3 segment --help'"),
        (("--slice", "3:5"), "did you mean --slices?"),
        (("--region", "1,2,3"), "'1,2,3' is not R,A,S/R,A,S"),
        (("--region", "1", "2", "3"), "'2' is one word too many"),
    ],
)
def test_bad_options_end_with_one_line_and_no_file(
    segment: Shell, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    concept = () if "--concept" in words or not words else ("--concept", "liver")
    assert segment(*concept, *words) == 2
    out, err = capsys.readouterr()
    error = [line for line in err.splitlines() if line.startswith("medsam3: ")]
    assert len(error) == 1
    assert says in error[0]
    assert "Traceback" not in err
    assert out == ""
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.nii.gz", None),
        ("empty.nrrd", b""),
        ("text.nii.gz", b"this is no image"),
        ("cut.png", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_bad_images_end_with_one_line_that_names_them(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    before = files_in(here)
    assert main(["segment", name, "--concept", "liver", "--output", "out.seg.nrrd"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert name in err
    assert files_in(here) == before


def test_the_input_is_never_overwritten(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = image.read_bytes()
    same = image.parent / ".." / image.parent.name / image.name
    assert main(["segment", str(image), "--concept", "liver", "--output", str(same)]) == 2
    assert "overwritten" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_a_broken_model_is_told_from_bad_input(
    segment: Shell, here: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model_folder, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert segment("--concept", "liver", "--model", str(broken)) == 3
    assert segment("--concept", "liver", "--model", "no-such-model") == 3
    err = capsys.readouterr().err
    assert "no-such-model" in err
    assert "Traceback" not in err
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--model", "no-such-model"), 3, "medsam3 models list"),
        (("--model", "./no-such-folder"), 3, "medsam3 models list"),
        (("--model", "facebook/sam3"), 3, "medsam3 models add facebook/sam3"),
        (("--device", "abacus"), 2, "auto, cuda, mps, cpu"),
        (("--dtype", "int8"), 2, "float32"),
    ],
)
def test_what_there_is_no_model_for_is_said_before_the_image_is_read(
    tmp_path: Path, here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, says: str
) -> None:
    image = tmp_path / "unreadable.nii.gz"
    image.write_bytes(b"reading this would be another error")
    assert main(["segment", str(image), "--concept", "liver", "--output", "out.seg.nrrd", *words]) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert says in err
    assert files_in(here) == []


def test_only_verbose_shows_where_an_error_came_from(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment("--concept", "liver", "--model", "no-such-model", "--verbose") == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_is_one_line_too(
    segment: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by\nzero" if arguments else "")

    monkeypatch.setattr("MedSAM3SegmentLib.io.read_volume.read_volume", fail)
    assert segment("--concept", "liver") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "ZeroDivisionError: by zero" in last
    assert "--verbose" in last


@needs_shared
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "path",
    [
        "ct_abdomen/ct.nii.gz",
        "mr_abdomen/mr.nii.gz",
        "ct_dicom/series",
        "ct_dicom_seg/series",
        "mr_spinal_cord/t2s.nii.gz",
        "mr_breast/mr.nrrd",
        "ct_vertebra/ct.nii.gz",
        "geometry/sheared_head_ct.nii.gz",
        "images_2d/06_CT_abdomen.png",
        "images_2d/20_ultrasound_breast.png",
        "images_2d/25_dermoscopy_skin.png",
    ],
)
def test_every_real_image_runs_and_keeps_its_grid(tiny_model_folder: Path, path: str) -> None:
    image = DATA / path
    words = ["--model", str(tiny_model_folder), "--output", "o.seg.nrrd", "--preview", "p.png", "--report", "r.json"]
    assert main(["segment", str(image), "--concept", "liver; tumor", *words]) == 0
    segments, grid = read_segmentation("o.seg.nrrd")
    assert grid.same_as(read_volume(image).grid)
    assert segments[0].mask.all()
    assert json.loads(Path("r.json").read_text())["model"]["demo"] is True
