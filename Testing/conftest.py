"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_on_socket import engine
from local_hub import hub
from slicer_scene import scene
from tiny_model import tiny_model_folder

__all__ = ["bench", "engine", "hub", "scene", "tiny_model_folder"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A Slicer for panels and effects; see ``slicer_bench``. Fails a test that leaves an error nobody was told of."""
    from slicer_bench import open_bench

    with open_bench(monkeypatch, tmp_path) as opened:
        yield opened
        left = list(opened.slot_errors)
    if left:
        raise left[0]
