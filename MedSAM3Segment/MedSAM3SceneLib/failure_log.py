"""Failures in Slicer's log: where and of what kind, never what a user typed or what a node is called.

Slicer keeps the logs of its last sessions on disk, and people attach them to reports.
"""

from __future__ import annotations

import logging
import traceback


def log_failure(what: str, error: BaseException) -> None:
    """Log an error that is no answer to the user but a defect of the program.

    Args:
        what: a sentence without names of nodes, segments or phrases.
        error: of which the type and the lines that it passed are logged; its message may hold any of those.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    logging.error("MedSAM3: %s (%s)%s", what, type(error).__name__, lines)
