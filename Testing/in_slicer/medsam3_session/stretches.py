"""Times in which the window stood still, in which it drew, and in which the extension's code was at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
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
        work: the same by the clock that runs while the processor is at work for this thread.
    """

    def __init__(self, *entries: tuple[type, str]) -> None:
        self._entries = entries
        self._before: list[Callable[..., Any]] = []
        self._is_inside = False
        self.stretches: list[Stretch] = []
        self.work: list[Stretch] = []

    def start(self) -> None:
        """Note from now on; whoever has a bound method already is not heard."""
        self.stretches.clear()
        self.work.clear()
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
                self.work.append((worked, time.thread_time()))

        return noted


def longest_without(stretches: Iterable[Stretch], others: Sequence[Stretch]) -> float:
    """Milliseconds of the longest one without what ``others`` take of it, which do not overlap; 0 of none."""
    return max(((end - begin) * 1000 - inside((begin, end), others) for begin, end in stretches), default=0.0)


@dataclass(frozen=True)
class Measured:
    """What an action cost.

    Attributes:
        seconds: from the click to the end.
        gaps: between two ticks of a timer of the window that were due at once.
        drawn: in which a view drew.
        own: of the extension's code.
        drawn_work, own_work: the same by the clock of the processor's work for this thread, so that other programs on a
            busy computer do not count.
    """

    seconds: float
    gaps: list[Stretch]
    drawn: list[Stretch]
    own: list[Stretch]
    drawn_work: list[Stretch]
    own_work: list[Stretch]

    @property
    def own_alone(self) -> float:
        """Milliseconds of the longest stretch of the extension's code, without what views drew meanwhile."""
        return longest_without(self.own, self.drawn)

    def in_words(self) -> str:
        """All but that."""
        work = longest_without(self.own_work, self.drawn_work)
        return (
            f"{work:.0f} ms of processor; window {longest(self.gaps):.0f} ms, {longer_than(self.gaps, 100)} over 100;"
            f" a view's drawing {longest(self.drawn):.0f} ms; {self.seconds:.1f} s"
        )
