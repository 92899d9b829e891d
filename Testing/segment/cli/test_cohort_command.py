"""``medsam3 cohort``: the good is done, the bad is told, what was interrupted goes on, and no name comes out."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.models import load_model
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.segmenter import Segmenter
from support.cli_runs import files_in, write_phantom
from support.cohort_files import BAD, write_studies
from support.cohort_process import StandIn, command
from support.tiny_model import TINY_SCORE

Cohort = Callable[..., int]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Is loaded in place of any model."""
    made = StandIn()
    monkeypatch.setattr(Segmenter, "load", classmethod(lambda *_: made))
    monkeypatch.setattr(load_model, "identify_model", lambda *_: made.model.identity)
    return made


@pytest.fixture
def cohort(here: Path, stand_in: StandIn) -> Cohort:
    """``medsam3 cohort in --output out --concept "liver; spleen"``; further words may replace these."""
    assert Path.cwd() == here
    assert stand_in.slices == 0

    def run(*words: str) -> int:
        return main(["cohort", "in", "--concept", "liver; spleen", "--output", "out", *words])

    return run


def table(folder: Path = Path("out")) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_good_studies_are_done_and_bad_ones_have_their_sentence(
    cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = write_studies(Path("in"), good=4, bad=len(BAD))
    assert cohort() == 0
    out = capsys.readouterr().out
    assert "4 of 9 cases done, 5 failed" in out
    rows = table()
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 5
    assert all(row["messages"].endswith(".") and row["case"] in row["messages"] for row in failed)
    assert all(row["messages"] in out for row in failed)
    done = [row for row in rows if row["status"] == "done"]
    assert [row["concept"] for row in done] == ["liver", "spleen"] * 4
    segmentations = names(Path("out/segmentations"))
    assert segmentations == sorted({f"{row['case']}.seg.nrrd" for row in done})
    volumes = {}
    for folder in folders:
        try:
            volume = read_volume(folder)
        except Exception:
            continue
        volumes[int(np.count_nonzero(volume.array > 0))] = volume
    for row in done:
        segments, grid = read_segmentation(Path("out/segmentations") / f"{row['case']}.seg.nrrd")
        volume = volumes[int(row["voxels"])]
        assert grid.same_as(volume.grid)
        np.testing.assert_array_equal(segments[0].mask, volume.array > 0)
        assert float(row["volume_ml"]) == pytest.approx(segments[0].mask.sum() * grid.voxel_volume_mm3 / 1000, abs=1e-3)
        assert float(row["mean_intensity"]) == pytest.approx(volume.array[volume.array > 0].mean(), rel=1e-4)
        assert Image.open(f"out/thumbnails/{row['case']}.png").size == (480, 480)


def test_no_name_of_a_patient_comes_out(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(Path("in"), good=2, bad=len(BAD))
    assert cohort() == 0
    said = "".join(capsys.readouterr())
    for path in Path("out").rglob("*"):
        said += str(path)
        said += path.read_bytes().decode("latin-1") if path.is_file() else ""
    for word in ("mueller", "anna", "geheim", "venous"):
        assert word not in said.casefold(), word


def test_the_mapping_is_written_on_request_only(cohort: Cohort) -> None:
    write_studies(Path("in"), good=2)
    assert cohort("--mapping", "map.csv") == 0
    with Path("map.csv").open(encoding="utf-8", newline="") as file:
        mapped = {row["case"]: row["path"] for row in csv.DictReader(file)}
    assert set(mapped) == {row["case"] for row in table()}
    assert all(Path(path).is_dir() for path in mapped.values())
    assert not any("map" in name for name in files_in(Path("out")))


def test_dry_run_lists_and_writes_nothing(here: Path, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(Path("in"), good=2)
    assert main(["cohort", "in", "--dry-run", "--only-modality", "ct"]) == 0
    out = capsys.readouterr().out
    assert "MUELLER_Anna_00" in out, "the user's own eyes see which file is which case"
    assert "Abdomen venous" in out
    assert "2 cases" in out
    assert names(here) == ["in"]
    assert stand_in.slices == 0


def test_the_model_is_loaded_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(Segmenter, "load", classmethod(lambda *_: loaded.append(1) or StandIn()))
    write_studies(here / "in", good=3)
    assert main(["cohort", "in", "--concept", "liver", "--output", "out"]) == 0
    assert len(loaded) == 1


def test_what_is_done_is_not_done_again(cohort: Cohort, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(Path("in"), good=3)
    assert cohort() == 0
    times = {path: path.stat().st_mtime_ns for path in Path("out/segmentations").iterdir()}
    slices = stand_in.slices
    assert cohort() == 2, "results are not written over"
    assert "--resume" in capsys.readouterr().err
    assert cohort("--resume") == 0
    assert stand_in.slices == slices
    assert {path: path.stat().st_mtime_ns for path in Path("out/segmentations").iterdir()} == times


def test_where_all_is_done_no_model_is_loaded(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_studies(Path("in"), good=2)
    assert cohort() == 0
    before = table()
    loaded: list[object] = []
    monkeypatch.setattr(Segmenter, "load", classmethod(lambda *words: loaded.append(words)))
    Path("out/table.csv").unlink()
    assert cohort("--resume") == 0
    assert loaded == []
    assert table() == before
    assert "2 of 2 cases done, 0 failed" in capsys.readouterr().out


def test_what_is_half_done_is_done_again(cohort: Cohort, stand_in: StandIn) -> None:
    write_studies(Path("in"), good=4)
    assert cohort() == 0
    before = table()
    one, two, three, _ = names(Path("out/segmentations"))
    Path("out/segmentations", one).unlink()
    Path("out/segmentations", two).write_bytes(Path("out/segmentations", two).read_bytes()[:100])
    Path("out/records", three.replace(".seg.nrrd", ".json")).write_text('{"case": ')
    stand_in.slices = 0
    assert cohort("--resume") == 0
    assert stand_in.slices == 30
    assert table() == before
    assert all(read_segmentation(path)[0] for path in Path("out/segmentations").iterdir())


@pytest.mark.parametrize("words", [("--threshold", "0.2"), ("--format", "nii.gz"), ("--concept", "tumor")])
def test_another_request_is_done_again(cohort: Cohort, stand_in: StandIn, words: tuple[str, ...]) -> None:
    write_studies(Path("in"), good=2)
    assert cohort() == 0
    stand_in.slices = 0
    assert cohort("--resume", *words) == 0
    assert stand_in.slices == 20


def test_an_image_that_changed_is_done_again_and_a_failed_one_is_tried_again(cohort: Cohort, stand_in: StandIn) -> None:
    first, second = write_studies(Path("in"), good=2)
    file = sorted(second.iterdir())[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert cohort() == 0
    assert len([row for row in table() if row["status"] == "failed"]) == 1
    stand_in.slices = 0
    file.write_bytes(whole)
    os.utime(sorted(first.iterdir())[0])
    assert cohort("--resume") == 0
    assert stand_in.slices == 20
    assert all(row["status"] == "done" for row in table())


def test_every_format_can_be_read_back(cohort: Cohort) -> None:
    (folder,) = write_studies(Path("in"), good=1)
    assert cohort("--format", "nii.gz") == 0
    (path,) = Path("out/segmentations").glob("*.nii.gz")
    segments, grid = read_segmentation(path)
    assert grid.same_as(read_volume(folder).grid)
    assert segments[0].mask.any()


def test_a_defect_in_one_case_does_not_stop_the_rest_and_says_nothing_private(
    cohort: Cohort, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_studies(Path("in"), good=3)
    segment, asked = StandIn.segment, []

    def fail_second(*given: object, **named: object) -> object:
        asked.append(1)
        if len(asked) == 2:
            raise RuntimeError("Mrs Example of room 7")
        return segment(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(stand_in, "segment", lambda *given, **named: fail_second(stand_in, *given, **named))
    assert cohort() == 0
    (failed,) = [row for row in table() if row["status"] == "failed"]
    assert "RuntimeError" in failed["messages"]
    assert "Example" not in failed["messages"]


def test_all_failed_is_an_error(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(Path("in"), good=0, bad=1)
    assert cohort() == 2
    assert "Every case failed" in capsys.readouterr().err
    assert len(table()) == 1


def test_a_second_run_in_the_same_folder_is_refused(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    write_studies(Path("in"), good=1)
    Path("out").mkdir()
    with FileLock("out/.lock"):
        assert cohort() == 2
    assert "Another run writes into out" in capsys.readouterr().err


def test_a_tiny_model_segments_a_cohort(here: Path, tiny_model_folder: Path) -> None:
    write_studies(here / "in", good=2)
    options = ["--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE)]
    assert main(["cohort", "in", "--concept", "liver", "--output", "out", *options]) == 0
    assert [row["found"] for row in table()] == ["yes", "yes"]
    assert "DEMO" in table()[0]["model"]
    page = Path("out/overview.html").read_text(encoding="utf-8")
    assert "DEMO MODEL" in page
    report = json.loads(next(Path("out/reports").iterdir()).read_text())
    assert report["input"]["name"].startswith("case-")


def run_apart(cwd: Path, *words: str, seconds: float = 0.03) -> subprocess.Popen[str]:
    line = [*command(seconds), "cohort", "in", "--concept", "liver", "--output", "out", *words]
    return subprocess.Popen(line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_records(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((folder / "out" / "records").glob("case-*.json"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_files(here: Path) -> None:
    write_studies(here / "in", good=8)
    moments = random.Random(1)
    for count in (2, 5):
        process = run_apart(here, "--resume")
        wait_for_records(here, count, process)
        time.sleep(moments.random() * 0.4)
        process.kill()
        process.communicate()
    process = run_apart(here, "--resume", seconds=0.0)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "8 of 8 cases done" in out
    assert "done already" in err
    rows = table(here / "out")
    expected = sorted(f"{row['case']}.seg.nrrd" for row in rows)
    assert names(here / "out" / "segmentations") == expected
    assert len(expected) == 8
    for path in (here / "out" / "segmentations").iterdir():
        segments, _ = read_segmentation(path)
        (row,) = [row for row in rows if path.name.startswith(row["case"])]
        assert int(segments[0].mask.sum()) == int(row["voxels"])
    assert names(here / "out" / ".drafts") == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_whole_files_and_a_table(here: Path) -> None:
    write_studies(here / "in", good=6)
    process = run_apart(here)
    wait_for_records(here, 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "repeat with --resume" in err
    assert "Traceback" not in err
    done = table(here / "out")
    assert 2 <= len(done) < 6
    assert names(here / "out" / "segmentations") == sorted(f"{row['case']}.seg.nrrd" for row in done)
    assert all(read_segmentation(path)[0] for path in (here / "out" / "segmentations").iterdir())


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["cohort", "none", "--concept", "liver", "--output", "out"], "none does not exist"),
        (["cohort", "in", "--concept", "liver"], "--output"),
        (["cohort", "in", "--output", "out"], "No concept"),
        (["cohort", "in", "--concept", "liver", "--output", "a/b/out"], "does not exist"),
        (["cohort", "in", "--concept", "liver", "--inside", "x.seg.nrrd", "--output", "out"], "one image only"),
        (["cohort", "empty", "--concept", "liver", "--output", "out"], "no image"),
    ],
)
def test_bad_usage_is_one_sentence_and_leaves_nothing(
    here: Path, stand_in: StandIn, capsys: pytest.CaptureFixture[str], words: list[str], word: str
) -> None:
    del stand_in
    write_studies(here / "in", good=1)
    (here / "empty").mkdir()
    assert main(words) == 2
    err = capsys.readouterr().err
    assert word in err
    assert len(err.strip().splitlines()) == 1
    assert names(here) == ["empty", "in"]


def test_dicom_segmentations_are_written_and_lie_on_their_series(cohort: Cohort) -> None:
    import pydicom

    (folder,) = write_studies(Path("in"), good=1)
    assert cohort("--format", "dicom-seg") == 0
    (path,) = Path("out/segmentations").iterdir()
    volume = read_volume(folder)
    segments, grid = read_segmentation(path)
    placed = placed_on(volume.grid, segments[0].mask, grid)
    assert placed is not None
    np.testing.assert_array_equal(placed, volume.array > 0)
    image = pydicom.dcmread(next(folder.iterdir()))
    assert pydicom.dcmread(path).ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID


def test_dicom_segmentations_of_other_images_fail_with_their_sentence(cohort: Cohort) -> None:
    write_studies(Path("in"), good=1)
    write_phantom(Path("in") / "ct.nii.gz", 1)
    assert cohort("--format", "dicom-seg") == 0
    (failed,) = [row for row in table() if row["status"] == "failed"]
    assert "is not DICOM" in failed["messages"]
