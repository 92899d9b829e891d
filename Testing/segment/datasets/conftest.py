"""Fixtures for tests of data sets."""

from __future__ import annotations

from support.cli_runs import here

__all__ = ["here"]
