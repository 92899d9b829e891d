"""Times in which the window stood still, in which it drew, and in which the extension's code was at work."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

#: (begin, end) in seconds.
Stretch = tuple[float, float]


def longest(stretches: Iterable[Stretch]) -> float:
    """Milliseconds of the longest one, 0 of none."""
    return max(((end - begin) * 1000 for begin, end in stretches), default=0.0)


def longer_than(stretches: Iterable[Stretch], milliseconds: float) -> int:
    """How many are longer."""
    return sum((end - begin) * 1000 > milliseconds for begin, end in stretches)


def inside(stretch: Stretch, others: Iterable[Stretch]) -> float:
    """Milliseconds of ``stretch`` that ``others`` take, which do not overlap."""
    begin, end = stretch
    return sum(max(0.0, min(end, other[1]) - max(begin, other[0])) for other in others) * 1000


class OwnCode:
    """Notes when this thread enters files of a folder, and when it is out of them again, with all that they call.

    Args:
        folder: of the code.

    Attributes:
        stretches: one for each time.
        busiest: milliseconds that the processor was at work for this thread at most in one of them.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._outer: FrameType | None = None
        self._began = self._worked = 0.0
        self.stretches: list[Stretch] = []
        self.busiest = 0.0

    def start(self) -> None:
        """Note from now on."""
        self.stretches.clear()
        self.busiest = 0.0
        sys.setprofile(self._hear)

    def stop(self) -> None:
        """Note nothing any more."""
        sys.setprofile(None)
        self._outer = None

    def _hear(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            if self._outer is None and frame.f_code.co_filename.startswith(self._folder):
                self._outer, self._began, self._worked = frame, time.perf_counter(), time.thread_time()
        elif event == "return" and frame is self._outer:
            self.stretches.append((self._began, time.perf_counter()))
            self.busiest = max(self.busiest, (time.thread_time() - self._worked) * 1000)
            self._outer = None


@dataclass(frozen=True)
class Measured:
    """What an action cost.

    Attributes:
        seconds: from the click to the end.
        gaps: between two ticks of a timer of the window that were due at once.
        drawn: in which a view drew.
        own: of the extension's code.
        busiest: see ``OwnCode``; on a computer with other work it is less than ``own``.
    """

    seconds: float
    gaps: list[Stretch]
    drawn: list[Stretch]
    own: list[Stretch]
    busiest: float

    @property
    def own_alone(self) -> float:
        """Milliseconds of the longest stretch of the extension's code, without what views drew meanwhile."""
        return max(((end - begin) * 1000 - inside((begin, end), self.drawn) for begin, end in self.own), default=0.0)

    def in_words(self) -> str:
        """All but that."""
        return (
            f"{self.busiest:.0f} ms of processor; window {longest(self.gaps):.0f} ms, {longer_than(self.gaps, 100)}"
            f" over 100; a view's drawing {longest(self.drawn):.0f} ms; {self.seconds:.1f} s"
        )
