"""Whether another process still lives, on any system, also when its number was given to a new one."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

_SYNCHRONIZE = 0x00100000
_WAIT_TIMEOUT = 0x102


@dataclass(frozen=True)
class ProcessMark:
    """One process, told apart from a later one with the same number.

    Attributes:
        started: when, in the system's own unit, or empty where that cannot be told.
    """

    pid: int
    started: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessMark:
        """The process that has the number now."""
        return cls(pid, _linux_state(pid)[1])

    @property
    def is_alive(self) -> bool:
        if not 0 < self.pid < 2**31:
            return False
        if sys.platform == "win32":
            return _is_alive_on_windows(self.pid)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # somebody else's
        state, started = _linux_state(self.pid)
        return state != "Z" and (not self.started or not started or started == self.started)


class Parents:
    """The processes that a service was started for or was found by.

    Args:
        first: what it was started for, or None for a service that was started by hand and ends when it is told to.
    """

    def __init__(self, first: ProcessMark | None = None) -> None:
        self._ends_with_them = first is not None
        self._marks = {first.pid: first} if first is not None else {}
        self._lock = threading.Lock()

    def add(self, mark: ProcessMark) -> None:
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


def _linux_state(pid: int) -> tuple[str, str]:
    """State and start time where /proc tells them, else empty; a zombie has ended, only its parent has not looked."""
    try:
        # The name before the last bracket may hold anything.
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return after_name[0], after_name[19]
    except (OSError, IndexError):
        return "", ""


def _is_alive_on_windows(pid: int) -> bool:
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
    finally:
        kernel.CloseHandle(handle)
