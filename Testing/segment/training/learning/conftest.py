"""Fixtures for tests of learning from segmentations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume
from MedSAM3SegmentLib.synthetic.phantom import make_phantom, tilted_grid

#: Slices that are said to be labelled.
LABELLED = frozenset(range(8))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="session")
def segmented() -> list[SegmentedVolume]:
    """Two small phantoms, each with two organs and one that is absent."""
    grid = tilted_grid((8, 40, 40), (9.0, 9.0, 24.0))
    phantoms = [make_phantom(seed, grid) for seed in range(2)]
    absent = np.zeros(grid.shape, bool)
    return [
        SegmentedVolume(
            one.volume, {"liver": one.masks["liver"], "spleen": one.masks["spleen"], "gallbladder": absent}, LABELLED
        )
        for one in phantoms
    ]
