"""A timer of the window, for those who begin and end it often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


class WindowTimer:
    """Calls something at intervals from ``start`` to ``stop``.

    Qt's timer is there only while it is needed, since in Slicer what a signal calls lives as long as the timer; and Qt
    owns it, since Python may free what it owns on any thread that happens to collect garbage.

    Args:
        call: called with nothing.
        is_once: whether it is called once for each start.
    """

    def __init__(self, call: Callable[[], None], is_once: bool = False) -> None:
        self._call = call
        self._is_once = is_once
        self._timer: Any = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._timer is not None

    def start(self, interval_ms: int) -> None:
        """Begin, anew where it runs."""
        self.stop()
        self._timer = qt.QTimer(slicer.app)
        self._timer.setSingleShot(self._is_once)
        self._timer.setInterval(interval_ms)
        self._timer.connect("timeout()", self._fire)
        self._timer.start()

    def stop(self) -> None:
        """Call no more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.disconnect("timeout()", self._fire)
            self._timer.deleteLater()
            self._timer = None

    def _fire(self) -> None:
        """The one way in from the window, where a script can measure what takes how long."""
        self._call()
