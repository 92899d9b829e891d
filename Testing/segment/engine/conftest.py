"""Fixtures for tests of the engine's service."""

from __future__ import annotations

from support.engine_server import engine

__all__ = ["engine"]
