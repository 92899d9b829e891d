"""What is done when Slicer quits: runs are dropped and the engine is ended, before Slicer takes its log away.

Slicer's log handler writes into an object that is gone by the time Python ends. Whatever logs then, if only a library
that is about to send a request, ends Slicer with a crash.
"""

from __future__ import annotations

import sys

from MedSAM3SegmentLib.messages.message import message


def end_all() -> None:
    """End what this project has begun; nothing of it talks to an engine or logs afterwards.

    Called on ``aboutToQuit()``. What was never used is not imported for it.
    """
    runs, engine = (sys.modules.get(f"{__package__}.{name}") for name in ("runs.run", "engine.connection"))
    learning = sys.modules.get("MedSAM3SegmentLib.engine.learning.learning_process")
    if runs is not None:
        runs.abandon_all(message("Slicer was closed; nothing was written."))
    if learning is not None:
        learning.end_own_jobs()
    if engine is not None:
        engine.stop_for_good()
