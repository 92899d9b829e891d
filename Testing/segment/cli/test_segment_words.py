"""``medsam3 segment``: pasted phrases, what is said of them and of the values before the run, and windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cli_runs import Shell, files_in
from support.images import image_on_grid


def test_pasted_phrases_are_asked_and_named_without_their_decoration(segment: Shell) -> None:
    pasted = "1. \u201cliver\u201d\uff1b- spleen\u200b\n\u2022 Kidney_L"
    assert segment("--concept", pasted, "--concept", "\u00ab liver \u00bb", "--slices", "4:6") == 0
    segments, _ = read_segmentation("out.seg.nrrd")
    assert [one.name for one in segments] == ["liver", "spleen", "Kidney_L"]
    asked = [json.loads(one.tags[PROVENANCE_TAG])["prompt"] for one in segments]
    assert asked == ["liver", "spleen", "left kidney"]


def test_what_may_have_been_meant_is_said_before_the_run(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(f"w{number}" for number in range(60))
    assert segment("--concept", f"lver; no tumor; Leber; {long}", "--slices", "4:5") == 0
    said = capsys.readouterr().err
    assert said.count("did you mean 'liver'?") == 2
    assert "does not understand 'no' in 'no tumor'" in said
    assert "tokens that the model reads; what comes after 'w" in said
    assert said.count("tokens that the model reads") == 1


@pytest.mark.parametrize(
    "typed", ["--concept=--", "--concept=\u2014", "--concept=\u201c\u201d;liver", "--concept=M\udcfcller"]
)
def test_what_is_no_phrase_is_one_line_and_no_file(
    segment: Shell, here: Path, capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    assert segment(typed) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(("medsam3: There is no word in", "medsam3: The concept 'M"))
    assert files_in(here) == []


def test_what_is_only_a_name_is_not_advised_on(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    volume = read_volume(Path("..") / "in" / "ct.nii.gz")
    corner, far = (volume.grid.to_ras(np.array(place, float)) for place in ((2, 2, 3), (12, 14, 3)))
    box = "/".join(",".join(f"{value:.3f}" for value in place) for place in (corner, far))
    assert segment("--concept", "1. lver", "--no-words", "--like-this", f"--box=1. lver:{box}", "--slices", "3:4") == 0
    assert "vocabulary" not in capsys.readouterr().err


def test_the_table_and_the_report_name_the_windows_and_why(segment: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--slices", "4:5", "--report", "r.json")
    assert segment("--concept", "left lung; quux", *options) == 0
    said = capsys.readouterr().out
    assert "lung: suits the concept" in said
    assert "soft-tissue: usual for CT" in said
    concepts = json.loads(Path("r.json").read_text())["concepts"]
    assert [one["window_reason"] for one in concepts] == ["suits the concept", "usual for CT"]
    assert segment("--concept", "liver", "--window", "-100,150", *options) == 0
    assert "-100 to 150: given" in capsys.readouterr().out
    (one,) = json.loads(Path("r.json").read_text())["concepts"]
    assert one["window_reason"] == "given"


def test_a_ct_that_is_not_in_hu_is_said_before_the_run_unless_a_window_is_given(
    segment: Shell, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = read_volume(image)
    assert segment("--concept", "liver", "--slices", "4:5") == 0
    assert "Hounsfield" not in capsys.readouterr().err
    SimpleITK.WriteImage(image_on_grid(np.clip(volume.array + 1024, 0, 4095), volume.grid), str(image))
    assert segment("--concept", "liver", "--slices", "4:5", "--report", "r.json") == 0
    said = capsys.readouterr()
    assert "--window 864,1264" in said.err
    assert said.err.index("--window 864,1264") < said.err.index("Model: ")
    assert said.err.count("Hounsfield") == 1
    assert "from the values" in said.out
    assert any("--window 864,1264" in str(one) for one in json.loads(Path("r.json").read_text())["messages"])
    assert segment("--concept", "liver", "--slices", "4:5", "--window", "864,1264") == 0
    assert "Hounsfield" not in capsys.readouterr().err
