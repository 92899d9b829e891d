"""Fixtures for tests of the agent's scene library."""

from __future__ import annotations

from support.slicer_fixtures import bench

__all__ = ["bench"]
