"""Fixtures for tests of training on a base."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid
from MedSAM3SegmentLib.training.dataset import LabelledStack, stack_with_labels


@pytest.fixture(scope="session")
def stacks() -> list[LabelledStack]:
    grid = tilted_grid((8, 40, 40), (9.0, 9.0, 24.0))
    phantoms = [make_phantom(seed, grid) for seed in range(2)]
    wanted = ("liver", "spleen", "aorta")
    return [stack_with_labels(one.volume, {name: one.masks[name] for name in wanted}) for one in phantoms]


@pytest.fixture
def tiny(tiny_model_folder: Path) -> Sam3Detector:
    return load_model(str(tiny_model_folder), "cpu", dtype="float32")
