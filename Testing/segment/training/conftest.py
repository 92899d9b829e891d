"""Fixtures for tests of training."""

from __future__ import annotations

from support.cli_runs import here

__all__ = ["here"]
