"""``medsam3 cohort --ray``: without Ray a sentence; with it a worker that is killed costs no case."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.cohort import ray_pool
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress
from MedSAM3SegmentLib.io.dicomweb.server import TOKEN_VARIABLE, DicomwebServer
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cohort_files import BAD, write_studies, write_study
from support.dicomweb_server import own_pacs
from support.paths import ROOT
from support.tiny_model import TINY_SCORE

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")

_LIMIT_S = 600


def test_without_ray_one_sentence_says_how_to_install_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_studies(here / "in", good=1)
    monkeypatch.setattr(ray_pool, "find_spec", lambda _: None)
    assert main(["cohort", "in", "--concept", "liver", "--output", "out", "--ray", "local"]) == 5
    err = capsys.readouterr().err.strip()
    assert "pip install 'medsam3-slicer[ray]'" in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["in"]


def test_workers_without_ray_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_studies(here / "in", good=1)
    assert main(["cohort", "in", "--concept", "liver", "--output", "out", "--workers", "2"]) == 2
    assert "--ray local" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["in"]


def start(*words: str) -> subprocess.Popen[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'MedSAM3Segment')!r}); from MedSAM3SegmentLib.cli.main import main"
    )
    line = [sys.executable, "-c", f"{code}; sys.exit(main())", "cohort", "in", "--concept", "liver", *words]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::_Actor"):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for_record(output: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not list((output / "records").glob("case-*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["case"])


@needs_ray
@pytest.mark.skipif(os.name == "nt", reason="Windows: processes are called otherwise")
def test_a_worker_that_is_killed_costs_no_case_and_all_is_as_from_one_process(
    here: Path, tiny_model_folder: Path
) -> None:
    # Of so many slices that there is time to kill a worker at its work.
    grid = VoxelGrid((80, 24, 20), np.diag([18.0, 15.0, 4.0, 1.0]))
    for seed in range(6):
        write_study(here / "in" / f"study{seed}", seed, grid)
    bad = here / "in" / "bad"
    write_study(bad, 9)
    BAD[1](sorted(bad.iterdir()))
    model = ("--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE))
    process = start("--output", "out", *model, "--ray", "local", "--workers", "2")
    wait_for_record(here / "out", process)
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 0, err
    assert "6 of 7 cases done, 1 failed" in out
    assert "A worker was lost" in err
    assert "study" not in out + err
    assert sum(line.startswith("[") and "case-" in line for line in err.splitlines()) == 7
    assert list((here / "out" / ".drafts").iterdir()) == []
    assert main(["cohort", "in", "--concept", "liver", "--output", "alone", *model]) == 0
    assert table(here / "out") == table(here / "alone")
    files = sorted(path.name for path in (here / "alone" / "segmentations").iterdir())
    assert sorted(path.name for path in (here / "out" / "segmentations").iterdir()) == files
    for name in files:
        (ours, own), (theirs, grid) = (
            read_segmentation(here / run / "segmentations" / name) for run in ("out", "alone")
        )
        assert own.same_as(grid)
        np.testing.assert_array_equal(ours[0].mask, theirs[0].mask)


@needs_ray
def test_images_come_from_a_pacs_and_results_go_back(
    here: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a-secret")
    with own_pacs() as pacs:
        server = DicomwebServer(DicomwebAddress.parse(pacs.address))
        for seed in (3, 4):
            write_study(tmp_path / "studies" / str(seed), seed)
            server.store(sorted((tmp_path / "studies" / str(seed)).glob("*.dcm")))
        model = ["--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE), "--output", "out"]
        options = ["--format", "dicom-seg", "--store", pacs.address, "--ray", "local", "--workers", "2"]
        assert main(["cohort", pacs.address, "--only-modality", "CT", "--concept", "liver", *model, *options]) == 0
        assert all(headers["Authorization"] == "Bearer a-secret" for headers in pacs.headers)
        assert [row["status"] for row in table(here / "out")] == ["done", "done"]
        segmented = {one.study for one in server.find_series() if one.modality == "SEG"}
        assert segmented == {one.study for one in server.find_series() if one.modality == "CT"}


@needs_ray
@pytest.mark.skipif(os.name == "nt", reason="Windows: processes are called otherwise")
def test_a_run_that_is_killed_leaves_no_process_and_goes_on(here: Path, tiny_model_folder: Path) -> None:
    grid = VoxelGrid((80, 24, 20), np.diag([18.0, 15.0, 4.0, 1.0]))
    for seed in range(4):
        write_study(here / "in" / f"study{seed}", seed, grid)
    model = ("--output", "out", "--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE))
    process = start(*model, "--ray", "local", "--workers", "2")
    wait_for_record(here / "out", process)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    # Ray's own helpers take a minute or two to notice.
    _, alive = psutil.wait_procs(children, timeout=300)
    assert alive == []
    done = {path.stem: path.read_bytes() for path in (here / "out" / "records").glob("case-*.json")}
    assert main(["cohort", "in", "--concept", "liver", *model, "--resume"]) == 0
    assert [row["status"] for row in table(here / "out")] == ["done"] * 4
    for name, record in done.items():
        assert (here / "out" / "records" / f"{name}.json").read_bytes() == record
    assert list((here / "out" / ".drafts").iterdir()) == []
