"""Starting the engine's program without a window, its output in a log."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from MedSAM3SegmentLib.python_process import NO_WINDOW, kill_process_tree

#: Bytes of the log after which a new one is begun.
MAX_LOG_BYTES = 2**20


class StartedProcess(Protocol):
    """What is needed of ``subprocess.Popen``."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        ...

    def kill(self) -> None: ...


class Starter(Protocol):
    """Starts a command with an environment, its output going to a file."""

    def __call__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> StartedProcess: ...


def start_process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> StartedProcess:
    """Start a command without a window, its output at the end of ``log``."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        # Windows keeps a file that another engine still writes to.
        with suppress(PermissionError):
            log.unlink()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # Slicer's own sys.stdout has no descriptor to hand on.
    with os.fdopen(descriptor, "ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            creationflags=NO_WINDOW,
            start_new_session=os.name == "posix",
            cwd=log.parent,
        )
    return _Launched(process)


class _Launched:
    """A command and what it started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        kill_process_tree(self._process)


def last_line(log: Path) -> str:
    """What the service said last, without the program's name."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return lines[-1].removeprefix("medsam3: ") if lines else ""
