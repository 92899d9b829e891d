"""Fixtures for tests of learning jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.learning_jobs import make_hesitant_model


@pytest.fixture(scope="session")
def hesitant_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds nothing before, and everything after a few steps on a large structure."""
    return make_hesitant_model(tmp_path_factory.mktemp("hesitant") / "tiny")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSAM3_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("MEDSAM3_RUN", str(tmp_path / "run"))
