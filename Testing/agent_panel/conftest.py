"""Fixtures for tests of the agent's panel."""

from __future__ import annotations

from support.slicer_fixtures import bench, letters

__all__ = ["bench", "letters"]
