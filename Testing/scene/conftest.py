"""Fixtures for tests of the scene library."""

from __future__ import annotations

from support.engine_server import engine
from support.slicer_fixtures import bench

__all__ = ["bench", "engine"]
