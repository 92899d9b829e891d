"""The agent's shell commands; ``medsam3`` finds them here by name where the agent is installed."""

from __future__ import annotations

from MedSAM3AgentLib.cli import ask, edit, mcp

#: Modules with ``add_parser``, in the order in which ``medsam3 --help`` lists them.
COMMANDS = (ask, edit, mcp)
