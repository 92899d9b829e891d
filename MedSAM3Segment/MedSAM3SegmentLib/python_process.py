"""Another Python process that runs this library: the engine, and what a window must not wait for."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

#: For ``subprocess`` on Windows, where each process would otherwise open a window.
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def child_environment() -> dict[str, str]:
    """This process's environment, in which another one finds this library and writes UTF-8 at once."""
    library = Path(__file__).resolve().parents[1]
    paths = [str(library), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }


def kill_process_tree(process: subprocess.Popen[Any]) -> None:
    """Kill a process that was started with a session of its own, and what it started.

    Slicer's Python is a launcher, and the real one, its child, would outlive it.
    """
    if os.name == "posix":
        # A session holds also those whose parent has ended, which are nobody's children.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        kill_children(process.pid)
    process.kill()


def kill_children(pid: int) -> None:
    """Kill what a process started, and what that started; nothing where psutil is not installed yet."""
    try:
        import psutil
    except ImportError:
        return
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
