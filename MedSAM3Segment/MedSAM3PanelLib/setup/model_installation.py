"""A model on its way into the store: how much of it is there, and the user's wish to end it."""

from __future__ import annotations

import threading
from pathlib import Path

from MedSAM3SegmentLib.model_store.install_process import PlannedModel, install_in_process


class ModelInstallation:
    """Bytes are counted on the thread that waits for them and read on the window's.

    Args:
        planned: what was agreed to.

    Attributes:
        planned: as given.
        done: bytes that are there.
    """

    def __init__(self, planned: PlannedModel) -> None:
        self.planned = planned
        self.done = 0
        self._cancelled = threading.Event()

    @property
    def total(self) -> int:
        """Bytes in all; 0 where that is not known."""
        return self.planned.size

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask it to end; nothing of it is kept."""
        self._cancelled.set()

    def install(self) -> Path:
        """Fetch, check and keep the model; call it on a thread.

        Raises:
            MedSAM3Error: it cannot be had, or was cancelled.
        """
        return install_in_process(self.planned, progress=self._count, cancel=self._cancelled.is_set)

    def _count(self, _file: str, more: int) -> None:
        self.done += more
