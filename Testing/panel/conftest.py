"""Fixtures for tests of the panel."""

from __future__ import annotations

from support.engine_server import engine
from support.slicer_fixtures import bench, letters

__all__ = ["bench", "engine", "letters"]
