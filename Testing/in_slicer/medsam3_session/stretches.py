"""Times in which the window stood still, in which it drew, and in which the extension's code was at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
    """Notes when the extension's code begins on this thread, and when it is over again, with all that it calls.

    Not by Python's profiler, which makes all code several times slower.

    Args:
        entries: (class, name of a method) for each way in which it is called from outside.

    Attributes:
        stretches: one for each time.
        busiest: milliseconds that the processor was at work for this thread at most in one of them.
    """

    def __init__(self, *entries: tuple[type, str]) -> None:
        self._entries = entries
        self._before: list[Callable[..., Any]] = []
        self._is_inside = False
        self.stretches: list[Stretch] = []
        self.busiest = 0.0

    def start(self) -> None:
        """Note from now on; whoever has a bound method already is not heard."""
        self.stretches.clear()
        self.busiest = 0.0
        self._before = [getattr(owner, name) for owner, name in self._entries]
        for (owner, name), method in zip(self._entries, self._before, strict=True):
            setattr(owner, name, self._noted(method))

    def stop(self) -> None:
        """Note nothing any more."""
        for (owner, name), method in zip(self._entries, self._before, strict=True):
            setattr(owner, name, method)

    def _noted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            if self._is_inside:
                return method(*given, **named)
            self._is_inside = True
            began, worked = time.perf_counter(), time.thread_time()
            try:
                return method(*given, **named)
            finally:
                self._is_inside = False
                self.stretches.append((began, time.perf_counter()))
                self.busiest = max(self.busiest, (time.thread_time() - worked) * 1000)

        return noted


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
