"""How many threads a run computes with: by model and machine, unless the user says it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.models import threads
from MedSAM3SegmentLib.models.threads import choose_threads, count_usable_cores, threads_for
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.cli_runs import here, image

__all__ = ["here", "image"]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.VARIABLES:
        # Set first, so that what a test sets is taken back.
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


def _threads_within(segmenter: Segmenter) -> int:
    """PyTorch's threads in the middle of a run."""
    seen = []
    volume = _empty_volume()
    callbacks = RunCallbacks(progress=lambda _: seen.append(torch.get_num_threads()))
    segmenter.segment(volume, SegmentRequest(("liver",)), callbacks)
    assert len(set(seen)) == 1
    return int(seen[0])


def _empty_volume() -> Volume:
    return Volume(np.zeros((2, 16, 16), np.int16), VoxelGrid((2, 16, 16), np.eye(4)), "MR")


def test_a_small_model_runs_with_one_thread_and_leaves_the_number_as_it_was(tiny_model_folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert _threads_within(Segmenter.load(str(tiny_model_folder), "cpu")) == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_demo_model_is_small_and_sam_3_is_large() -> None:
    backbone = SimpleNamespace(hidden_size=1024, intermediate_size=4736, patch_size=14, image_size=1008)
    network = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(backbone_config=backbone)))
    large: Any = SimpleNamespace(device=torch.device("cpu"), network=network)
    assert threads.layer_size(Segmenter.load("demo", "cpu").model.network.config) < threads.LARGE_LAYER / 5
    assert threads.layer_size(large.network.config) > threads.LARGE_LAYER * 5
    with threads_for(large):
        assert torch.get_num_threads() == count_usable_cores()


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_variable_that_the_user_has_set_wins(
    name: str, monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    monkeypatch.setenv(name, "3")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)  # as PyTorch does when it starts with the variable
        assert _threads_within(segmenter) == 3
    finally:
        torch.set_num_threads(before)


def test_the_option_wins(here: Path, image: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = Segmenter._segment

    def noting(self: Segmenter, *arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return run(self, *arguments)

    monkeypatch.setattr(Segmenter, "_segment", noting)
    words = ["segment", str(image), "--concept", "liver", "--model", str(tiny_model_folder), "--device", "cpu"]
    assert main([*words, "--output", str(here / "a.seg.nrrd"), "--threads", "2"]) == 0
    assert seen == [2]


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_another_option_is_refused(count: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["segment", "x.nii", "--concept", "liver", "--output", str(here / "a.seg.nrrd"), "--threads", count]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--threads" in line


def test_cores_are_counted_within_what_the_process_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("Windows and macOS have no such call")
    for number, siblings in enumerate(["0,4", "1,5", "2,6", "3,7"] * 2):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings)
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    assert count_usable_cores() == 2
    assert choose_threads(1e12) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert count_usable_cores() == 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_usable_cores() == 4
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert count_usable_cores() == 1
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    assert count_usable_cores() == 3
