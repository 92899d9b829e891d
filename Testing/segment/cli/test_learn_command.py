"""``medsam3 learn``: from a volume and its segmentation to an adapter, and what is said where there is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation
from MedSAM3SegmentLib.model_store.store import replay_folder
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.learning import task_training
from support.cli_runs import files_in
from support.labelled_datasets import write_image
from support.tiny_model import TINY_SCORE


@pytest.fixture
def pair(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A phantom with two organs in files, beside an empty store."""
    monkeypatch.setenv("MEDSAM3_MODELS", str(here / "store"))
    phantom = make_phantom(0, tilted_grid((8, 40, 40), (9.0, 9.0, 24.0)))
    write_image(here / "ct.nrrd", phantom.volume.array, phantom.volume.grid)
    segments = [Segment(name, phantom.masks[name], (1.0, 0.0, 0.0)) for name in ("liver", "spleen")]
    write_segmentation(here / "ct.seg.nrrd", segments, phantom.volume.grid, {})
    return "ct.nrrd=ct.seg.nrrd"


def test_what_is_learnt_is_installed_continued_and_removed(
    here: Path,
    pair: str,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two steps of a model of random weights make nothing better.
    monkeypatch.setattr(task_training, "judge_tasks", lambda *_: None)
    words = ["--steps", "2", "--batch-size", "2", "--labelled-slices", "all"]
    new = ["--adapter", "ours", "--base", str(tiny_model_folder), "--rank", "2", "--modality", "CT"]
    assert main(["learn", pair, *new, *words, "--report", "report.json"]) == 0
    shown = capsys.readouterr().out
    assert "this task" in shown
    assert "Installed as 'ours'" in shown
    report = json.loads((here / "report.json").read_text())
    assert report["installed"] is True
    assert report["tasks"][0]["concepts"] == ["liver", "spleen"]

    assert main(["learn", pair, "--continue", "ours", *words]) == 0
    assert "task 1" in capsys.readouterr().out
    assert main(["adapters", "list"]) == 0
    assert "of slices it learnt" in capsys.readouterr().out
    assert main(["adapters", "remove", "ours"]) == 0
    assert not replay_folder("ours").exists()


def test_what_was_segmented_and_corrected_is_learnt_from_where_it_was_corrected(
    here: Path, pair: str, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pair.startswith("ct.nrrd")
    words = ["--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE), "--output", "found.seg.nrrd"]
    assert main(["segment", "ct.nrrd", "--concept", "liver", *words]) == 0
    assert main(["learn", "ct.nrrd=found.seg.nrrd", "--check-data"]) == 2
    assert "Nothing in found.seg.nrrd was drawn or corrected" in capsys.readouterr().err

    (segment,), grid = read_segmentation(here / "found.seg.nrrd")
    corrected = segment.mask.copy()
    corrected[2:5, 10:14, 10:14] ^= True
    write_segmentation(here / "found.seg.nrrd", [replace(segment, mask=corrected)], grid, {})
    assert main(["learn", "ct.nrrd=found.seg.nrrd", "--check-data"]) == 0
    assert "3 labelled slices" in capsys.readouterr().out


def test_nothing_is_installed_that_is_no_better(
    here: Path, pair: str, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ["--adapter", "ours", "--base", str(tiny_model_folder), "--steps", "1", "--batch-size", "2"]
    assert main(["learn", pair, *new, "--learning-rate", "1e-9"]) == 0
    assert "Nothing was installed" in capsys.readouterr().out
    assert not (here / "store" / "ours").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to learn from"),
        (("PAIR",), "--adapter"),
        (("PAIR", "--adapter", "ours"), "needs a base"),
        (("PAIR", "--adapter", "ours", "--base", "nowhere"), "nowhere"),
        (("PAIR", "--continue", "ours"), "No adapter named 'ours'"),
        (("PAIR", "--continue", "ours", "--base", "BASE"), "--base is for a new adapter"),
        (("PAIR", "--adapter", "../ours", "--base", "BASE"), "cannot be a folder's"),
        (("PAIR", "--adapter", "ours", "--base", "BASE", "--margin", "-1"), "margin"),
        (("PAIR", "--adapter", "ours", "--base", "BASE", "--replay-share", "1"), "0.5"),
        (("PAIR", "--adapter", "ours", "--base", "BASE", "--tune", "detector", "--rank", "4"), "--rank"),
        (("PAIR", "--adapter", "ours", "--base", "BASE", "--concept", "lung"), "no segment 'lung'"),
        (("PAIR", "--adapter", "ours", "--base", "BASE", "--report", "no/where.json"), "no"),
        (("ct.nrrd=", "--adapter", "ours", "--base", "BASE"), "not IMAGE=SEGMENTATION"),
        (("PAIR", "--data", "ct.nrrd", "--adapter", "ours", "--base", "BASE"), "not both"),
        (("--label", "liver=1"), "--label"),
    ],
)
def test_what_does_not_fit_is_refused(
    here: Path,
    pair: str,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    before = files_in(here)
    named = {"PAIR": pair, "BASE": str(tiny_model_folder)}
    assert main(["learn", *(named.get(word, word) for word in words)]) in (2, 3)
    assert says in capsys.readouterr().err
    assert files_in(here) == before


def test_data_are_checked_without_learning(here: Path, pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", pair, "--check-data"]) == 0
    assert "can be trained on: 1 case," in capsys.readouterr().out
    assert main(["learn", pair, "ct.nrrd=ct.nrrd", "--check-data"]) == 2
    assert "Fault 1" in capsys.readouterr().err
    assert not (here / "store").exists()
