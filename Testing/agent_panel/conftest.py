"""Fixtures for tests of the agent's panel."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from support.slicer_fixtures import bench, letters

__all__ = ["bench", "letters"]


class _Line:
    """Stands in for the line that commands are typed into, where that is not there."""

    def __init__(self, place: Any, get_target: Any) -> None:
        del place
        self.get_target = get_target

    def set_enabled(self, enabled: bool) -> None:
        self.enabled = enabled


if importlib.util.find_spec("MedSAM3AgentWidgetsLib.command_line") is None:
    _module = ModuleType("MedSAM3AgentWidgetsLib.command_line")
    _module.CommandLine = _Line  # type: ignore[attr-defined]
    sys.modules[_module.__name__] = _module
