"""Another Python process that runs this library: the engine, and what a window must not wait for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: For ``subprocess`` on Windows, where each process would otherwise open a window.
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def own_environment() -> dict[str, str]:
    """This process's environment, in which another one finds this library and writes UTF-8 at once."""
    library = Path(__file__).resolve().parents[1]
    paths = [str(library), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONUNBUFFERED": "1",
    }
