"""Learning jobs in their own process: what they leave, cancelled, killed, found again, and whose data they keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume
from MedSAM3SegmentLib.engine.learning.case_file import read_cases, write_case
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.engine.learning.learning_process import end_own_jobs, find_jobs, start_learning
from MedSAM3SegmentLib.engine.learning.records import (
    HeldOutPicture,
    JobStage,
    LearningOrder,
    LearningResult,
    LearningStatus,
    TaskFigures,
)
from MedSAM3SegmentLib.engine.learning.run_job import run_job
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.training.learning.learn import LearnStage
from support.learning_jobs import GRID, large_structure, new_job_folder, wait_until


def own_process() -> ProcessId:
    return ProcessId.of(os.getpid())


def test_a_job_learns_installs_and_keeps_no_volume(hesitant_model: Path, tmp_path: Path) -> None:
    folder = new_job_folder()
    job = start_learning(folder, LearningOrder("mine", str(hesitant_model), steps=6, tune="detector", modality="MR"))
    stages = set()
    wait_until(lambda: stages.add(job.status.stage) or job.result() is not None)
    result = job.result()
    assert result is not None
    assert result.is_installed, (result.reason, folder.log.read_text())
    assert JobStage.STARTING in stages
    assert load_adapter(tmp_path / "store" / "mine").card.modality == "MR"
    (task,) = result.tasks
    assert task.dice[0] == 0
    assert task.dice[1] is not None
    assert task.dice[1] > 0.5
    assert list(job.curve)[-1] == 6
    assert 1 <= len(result.pictures) <= 3
    picture = np.asarray(Image.open(folder.path / result.pictures[0].file))
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    assert not (left == (60, 190, 255)).all(axis=2).any()
    assert (right == (60, 190, 255)).all(axis=2).any()
    assert (left == (255, 255, 255)).all(axis=2).any()
    assert not list(folder.path.rglob("*.npz"))
    assert b"Doe" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    # Found again by somebody else, and discarded for good; the adapter stays.
    (found,) = find_jobs()
    assert found.result() == result
    found.discard()
    assert find_jobs() == []
    assert not folder.path.exists()
    assert (tmp_path / "store" / "mine").is_dir()


def test_cancelling_leaves_nothing(hesitant_model: Path, tmp_path: Path) -> None:
    folder = new_job_folder()
    order = LearningOrder("mine", str(hesitant_model), steps=10_000, tune="detector", parent=own_process())
    job = start_learning(folder, order)
    wait_until(lambda: job.status.stage is JobStage.TRAINING or job.result())
    process = folder.process
    assert process is not None
    end_own_jobs()
    assert not process.is_alive
    assert find_jobs() == []
    assert not folder.path.exists()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_killed_process_says_so_and_its_data_are_deleted(hesitant_model: Path) -> None:
    folder = new_job_folder()
    job = start_learning(folder, LearningOrder("mine", str(hesitant_model)))
    wait_until(lambda: folder.process is not None)
    assert job.result() is None
    process = folder.process
    assert process is not None
    process.kill()
    wait_until(lambda: not process.is_alive)
    result = job.result()
    assert result is not None
    assert result.is_failure
    assert "ended early" in result.reason
    assert not folder.data.exists()
    assert [one.result() for one in find_jobs()] == [result]


def test_what_cannot_be_learnt_ends_in_its_sentence(hesitant_model: Path) -> None:
    folder = JobFolder.make()
    one = large_structure()
    write_case(folder.data, 1, replace(one, labelled_slices=frozenset({4})))
    folder.write_order(LearningOrder("mine", str(hesitant_model)))
    run_job(folder)
    result = folder.read_result()
    assert result is not None
    assert result.is_failure
    assert "too few" in result.reason
    assert not folder.data.exists()


def dead_process() -> ProcessId:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    known = ProcessId.of(process.pid)
    process.kill()
    process.wait()
    return known


def test_jobs_of_another_slicer_that_lives_are_its_own_and_remains_are_deleted() -> None:
    living = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        for parent in (ProcessId.of(living.pid), dead_process(), None):
            folder = JobFolder.make()
            folder.write_order(LearningOrder("mine", "base", parent=parent))
            folder.write_result(LearningResult.failed("It broke off."))
        being_written = JobFolder.make()
        abandoned = new_job_folder()
        (abandoned.path / "owner.json").write_text(json.dumps(asdict(dead_process())))
        assert {job.order.parent is None for job in find_jobs()} == {True, False}
        assert len(find_jobs()) == 2
        assert being_written.path.exists()
        assert not abandoned.path.exists()
    finally:
        living.kill()
        living.wait()


@pytest.mark.parametrize("labelled", ["all", "drawn", frozenset({1, 3})])
def test_a_case_is_read_as_it_was_written_and_then_gone(tmp_path: Path, labelled: object) -> None:
    rng = np.random.default_rng(1)
    one = large_structure()
    masks = {"liver": rng.random(GRID.shape) > 0.5, "left kidney": rng.random(GRID.shape) > 0.9}
    for number in range(1, 12):
        volume = replace(one.volume, array=one.volume.array + number)
        write_case(tmp_path, number, SegmentedVolume(volume, masks, labelled, Plane.CORONAL))  # type: ignore[arg-type]
    cases = read_cases(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [int(case.volume.array.max()) for case in cases] == [400 + number for number in range(1, 12)]
    (read, *_) = cases
    assert (read.labelled_slices, read.plane, read.volume.modality) == (labelled, Plane.CORONAL, "MR")
    assert np.array_equal(read.volume.grid.ijk_to_ras, GRID.ijk_to_ras)
    assert list(read.masks) == list(masks)
    assert all(np.array_equal(read.masks[name], mask) for name, mask in masks.items())


def test_a_damaged_case_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "volume-1.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        read_cases(tmp_path)


def test_records_come_back_as_they_were_and_damaged_ones_are_nothing() -> None:
    folder = JobFolder.make()
    order = LearningOrder("mine", "base", steps=3, parent=own_process())
    folder.write_order(order)
    assert folder.read_order() == order
    status = LearningStatus(JobStage.TRAINING, 1, 3, 2.5, {"mask": 0.5})
    folder.write_status(status)
    assert folder.read_status() == status
    figures = TaskFigures("this task", ("liver",), False, 3, (None, 0.5), (0.5, 1.0))
    reason = message("Dice is {after}.", after="0.5")
    result = LearningResult(True, reason, False, (reason,), (figures,), (HeldOutPicture("slice-1.png", (0.1, 0.2)),))
    folder.write_result(result)
    read = folder.read_result()
    assert read == result
    assert read is not None
    assert read.reason.template == reason.template
    for name in ("order", "status", "outcome", "process", "owner"):
        (folder.path / f"{name}.json").write_text('{"stage": 3')
    assert (folder.read_order(), folder.read_result(), folder.process) == (None, None, None)
    assert folder.read_status() == LearningStatus()
    assert {one.value for one in JobStage} - {one.value for one in LearnStage} == {"starting"}
