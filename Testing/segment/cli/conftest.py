"""Fixtures for tests of the shell's commands."""

from __future__ import annotations

from support.cli_runs import architecture, here, image, segment

__all__ = ["architecture", "here", "image", "segment"]
