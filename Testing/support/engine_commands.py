"""Engines in processes of their own, with the slow segmenter; for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from MedSAM3SegmentLib.engine.process.start_process import StartedProcess, start_process

from .slow_segmenter import SLOW_COMMAND


class Commands:
    """Starts engines with the slow segmenter, and remembers how."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []
        self.environments: list[Mapping[str, str]] = []

    def __call__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> StartedProcess:
        assert list(command[1:4]) == ["-m", "MedSAM3SegmentLib", "serve"]
        self.commands.append(command)
        self.environments.append(environment)
        return start_process([command[0], *SLOW_COMMAND, *command[3:]], environment, log)
