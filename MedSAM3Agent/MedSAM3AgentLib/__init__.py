"""The agent: plans, segments, checks and refines what a sentence describes. Imports neither slicer nor qt.

What it offers by name is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MedSAM3AgentLib.agent import Agent as Agent
    from MedSAM3AgentLib.editing.apply import apply_commands as apply_commands
    from MedSAM3AgentLib.session import AgentRequest as AgentRequest

#: What programs need, and where it is; other places may change.
_OFFERED = {"Agent": "agent", "AgentRequest": "session", "apply_commands": "editing.apply"}


def __getattr__(name: str) -> Any:
    if name not in _OFFERED:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_OFFERED[name]}"), name)
