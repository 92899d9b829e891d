"""Running ``medsam3`` in an empty folder, on a small volume and with small models; for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from support.images import image_on_grid

from .paths import ROOT
from .tiny_model import TINY_ARCHITECTURE, TINY_SCORE

LIBRARY = ROOT / "MedSAM3Segment"

#: Of the small volume.
GRID = tilted_grid((10, 24, 20), (14.0, 15.0, 18.0), (4.0, -3.0, 5.0))

#: Runs a command with further words, and gives its exit code.
Shell = Callable[..., int]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small oblique CT-like volume in a folder of its own."""
    return write_phantom(tmp_path / "in" / "ct.nii.gz", seed=31)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands run in."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def segment(image: Path, here: Path, tiny_model_folder: Path) -> Shell:
    """``medsam3 segment`` on the small volume with the tiny model; further words may replace these."""
    assert Path.cwd() == here

    def run(*words: str, threshold: float = TINY_SCORE) -> int:
        options = ["--model", str(tiny_model_folder), "--threshold", str(threshold), "--output", "out.seg.nrrd"]
        return main(["segment", str(image), *options, *words])

    return run


def write_phantom(path: Path, seed: int) -> Path:
    """A synthetic abdomen on ``GRID`` as a file; its path is returned."""
    import SimpleITK

    path.parent.mkdir(exist_ok=True)
    phantom = make_phantom(seed, GRID)
    SimpleITK.WriteImage(image_on_grid(phantom.volume.array, GRID), str(path))
    return path


def files_in(folder: Path) -> list[str]:
    """Everything in ``folder``, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def start(*words: str, cwd: Path, stdout: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
    """``medsam3`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), **variables}
    command = [sys.executable, "-m", "MedSAM3SegmentLib", *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    """The size of the tiny model as a file."""
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY_ARCHITECTURE))
    return path
