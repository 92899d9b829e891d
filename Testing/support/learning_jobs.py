"""Small learning jobs, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume
from MedSAM3SegmentLib.engine.learning.case_file import write_case
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.volume import Volume

from .tiny_model import make_tiny_model

GRID = VoxelGrid((10, 40, 40), np.diag([-2.0, -2.0, 3.0, 1.0]))


def make_hesitant_model(folder: Path) -> Path:
    """A model that finds nothing before, and everything after a few steps on a large structure."""
    make_tiny_model(folder, semantic_bias=-0.0005)
    return folder


def large_structure() -> SegmentedVolume:
    """A volume most of which is liver, on eight of its ten slices."""
    array = np.zeros(GRID.shape, np.int16)
    array[1:9, 2:38, 2:38] = 400
    return SegmentedVolume(Volume(array, GRID, "MR", "Doe^Jane"), {"liver": array > 0})


def new_job_folder() -> JobFolder:
    """A folder with that volume."""
    folder = JobFolder.make()
    write_case(folder.data, 1, large_structure())
    return folder


def wait_until(is_so: Callable[[], object], seconds: float = 240.0) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It was not so after {seconds} s.")
        time.sleep(0.05)
