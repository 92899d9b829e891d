"""Ctrl-C: first a polite request, then an order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from MedSAM3SegmentLib.progress import CancelCheck


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, as Python's own exception but of another type.

    Where Python's own passes through a string that is being executed, as the imports of large libraries do by the
    thousand, the interpreter notes that nobody caught it, and a program run with ``python -m`` ends by the signal in
    place of its exit code, although it did catch it (CPython's ``run_eval_code_obj``, which compares the exact type).
    """


class Interruption:
    """Turns the terminal's Ctrl-C, and a scheduler's request to end, into a clean stop.

    Usually that raises ``Interrupted`` at once. Within ``gently`` the first only sets a flag, which long work
    asks for between its steps; the second is an order again.

    Attributes:
        happened: whether any came. Libraries sometimes turn the exception into one of their own.
    """

    def __init__(self) -> None:
        self.happened = False
        self._gentle = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Listen to the signals until the end of the block; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def gently(self) -> Iterator[CancelCheck]:
        """Let the block end by itself: it gets a check that says whether it should."""
        before, self._gentle = self._gentle, True
        try:
            yield lambda: self.happened
        finally:
            self._gentle = before

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let the first signal end the block also within ``gently``, as where a person is asked something."""
        before, self._gentle = self._gentle, False
        try:
            yield
        finally:
            self._gentle = before

    def _receive(self, number: int, frame: FrameType | None) -> Any:
        del number, frame
        repeated, self.happened = self.happened, True
        if repeated or not self._gentle:
            raise Interrupted
