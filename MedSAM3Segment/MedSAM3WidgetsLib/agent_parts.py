"""Parts of the MedSAM3 Agent module that panel and effect show where it is installed beside this one."""

from __future__ import annotations

import importlib
from typing import Any

from MedSAM3SceneLib.failure_log import log_failure

#: The agent's libraries all begin so.
_AGENT = "MedSAM3Agent"


def new_command_line(get_target: Any, **options: Any) -> Any | None:
    """A MedSAM3AgentWidgetsLib.command_line.CommandLine that is in no layout yet; None without the agent's module.

    Args:
        get_target, options: as that takes them.
    """
    module = _command_line()
    return module.CommandLine(None, get_target, **options) if module is not None else None


def new_command_target(*fields: Any) -> Any | None:
    """A MedSAM3AgentWidgetsLib.command_line.CommandTarget; None without the agent's module."""
    module = _command_line()
    return module.CommandTarget(*fields) if module is not None else None


def _command_line() -> Any | None:
    try:
        # By its name: the agent stands on these libraries, and they know of it nowhere else.
        return importlib.import_module(f"{_AGENT}WidgetsLib.command_line")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(_AGENT):
            log_failure("the line for commands cannot be shown.", error)
        return None
