"""Slicer's error log and Python's loggers while a session goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import slicer

from .lines import Checks
from .log_kinds import Records, kinds, with_names


class ErrorLog:
    """What is logged from now on; the log is cleared first."""

    def __init__(self) -> None:
        slicer.app.processEvents()
        slicer.app.errorLogModel().clear()
        self._records = Records()
        logging.getLogger().addHandler(self._records)

    def check(self, checks: Checks, names: Sequence[str]) -> None:
        """Tell of each kind how many lines there are, and look for names; the end of listening.

        Args:
            names: phrases, and names of segments and nodes.
        """
        slicer.app.processEvents()
        logging.getLogger().removeHandler(self._records)
        model = slicer.app.errorLogModel()
        # Slicer joins what comes at once in one entry.
        entries = [model.logEntryDescription(row) for row in range(model.logEntryCount())]
        lines = [line for entry in entries for line in str(entry).splitlines()]
        found = kinds(lines)
        for kind, count in found.most_common():
            checks.note("lines in the error log", f"{count} x {kind}")
        checks.equal("lines of ours in the error log", found.total(), 0)
        talk = kinds(self._records.heard)
        for kind, count in talk.most_common():
            checks.note("records of Python's loggers", f"{count} x {kind}")
        low = [record for record in self._records.heard if not record.startswith("MedSAM3") and " DEBUG: " in record]
        checks.equal("records of urllib3, requests and ours below INFO", len(low), 0)
        named = with_names([*lines, *self._records.heard], names)
        checks.equal("lines with a phrase or a name in any log", len(named), 0)
