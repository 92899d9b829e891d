"""Fixtures for tests of the agent in the scene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.agent_scene import renew_hierarchy
from support.slicer_fixtures import bench

__all__ = ["bench"]


@pytest.fixture
def scene(scene: Any) -> Iterator[Any]:
    """The empty scene, with a subject hierarchy that is empty too."""
    renew_hierarchy(scene)
    return scene
