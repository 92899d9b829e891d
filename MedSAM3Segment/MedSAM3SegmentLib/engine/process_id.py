"""Whether another process still lives, on any system, also when its number was given to a new one.

psutil tells processes apart. It is imported late: the panel imports this module before it has installed any package.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True)
class ProcessId:
    """One process, told apart from a later one with the same number.

    Attributes:
        started: when, in the system's own unit, or empty where that cannot be told.
    """

    pid: int
    started: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has the number now."""
        return cls(pid, _find_process(pid)[1])

    @property
    def is_alive(self) -> bool:
        import psutil

        process = self._process
        try:
            # A zombie has ended, only its parent has not looked.
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True  # somebody else's

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        import psutil

        with suppress(psutil.Error):
            if self._process is not None:
                self._process.kill()

    @cached_property
    def _process(self) -> psutil.Process | None:
        """The process, which knows by itself whether its number was given away since; None where it has ended."""
        process, started = _find_process(self.pid)
        return process if not self.started or not started or started == self.started else None


class ParentWatch:
    """The processes that a service was started for or was found by.

    Args:
        first: what it was started for, or None for a service that was started by hand and ends when it is told to.
    """

    def __init__(self, first: ProcessId | None = None) -> None:
        self._ends_with_them = first is not None
        self._marks = {first.pid: first} if first is not None else {}
        self._lock = threading.Lock()

    def add(self, mark: ProcessId) -> None:
        with self._lock:
            self._marks[mark.pid] = mark

    def remove(self, pid: int) -> None:
        with self._lock:
            self._marks.pop(pid, None)

    @property
    def are_gone(self) -> bool:
        """Whether a service that ends with its parents should end."""
        with self._lock:
            return self._ends_with_them and not any(mark.is_alive for mark in self._marks.values())


def _find_process(pid: int) -> tuple[psutil.Process | None, str]:
    """The process that has a number now and when it was started, empty where that cannot be told; None if none has."""
    import psutil

    try:
        # Number 0 belongs to the system, if to anybody.
        process = psutil.Process(pid) if pid > 0 else None
        return process, _start_of(process) if process is not None else ""
    except psutil.NoSuchProcess:
        return None, ""


def _start_of(process: psutil.Process) -> str:
    """When a process was started: the same figure whoever asks, also after the clock was set."""
    import psutil

    try:
        if not psutil.LINUX:
            return repr(process.create_time())
        # In ticks since the system started, as in its /proc; psutil adds a time that moves when the clock is set.
        since_boot = process.create_time() - psutil.boot_time()
        return str(round(since_boot * os.sysconf("SC_CLK_TCK")))
    except (psutil.AccessDenied, OSError, RuntimeError):
        return ""
