"""Which worker does which case, whatever becomes of the workers; knows nothing of where they run.

A worker has at most ``PER_WORKER`` cases at once: one that it segments, and one that it reads or writes beside that.
What else is to be done waits here. Where a worker is lost, any of its cases may have been the reason; each of them is
done again at the end, by a worker that has nothing else. A case whose worker is lost then too is not tried again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from MedSAM3SegmentLib.errors import Cancelled, EngineError
from MedSAM3SegmentLib.progress import CancelCheck

from .case import Case

#: Cases that a worker has at once.
PER_WORKER = 2

#: Workers that may be lost one after another before any of them could begin.
_LOST_STARTS = 3

#: How often it is asked whether to stop, and how long workers have to end what they are at when it is so.
_POLL_INTERVAL_S, _END_S = 0.2, 60.0

#: From when on it is said that no worker has begun.
_LONG_START_S = 120.0

Done = TypeVar("Done")


@dataclass(frozen=True)
class Began:
    """A worker is ready for cases."""

    worker: int


@dataclass(frozen=True)
class Answered(Generic[Done]):
    """A worker has done a case.

    Attributes:
        done: what is known of the case now; None where the worker was told to stop before.
        seconds: that the worker took.
    """

    worker: int
    case: Case
    done: Done | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Lost:
    """A worker is no more, with all cases that it had."""

    worker: int


Event = Began | Answered[Done] | Lost


class WorkerPool(Protocol[Done]):
    """Workers somewhere. What should end all of the work is raised by ``wait``."""

    def start(self) -> int:
        """Ask for one more worker; its number, which an event will tell of."""

    def submit(self, worker: int, case: Case) -> None:
        """Give a case to a worker that began."""

    def wait(self, seconds: float) -> Sequence[Event[Done]]:
        """What happened, for which it waits up to so long."""

    def stop(self) -> None:
        """Ask all workers to end after the slice that is looked at; what is being written is written to its end."""


class CaseScheduler(Generic[Done]):
    """Gives cases to the workers of a pool until all are done.

    Args:
        pool: where workers are.
        workers: how many there should be.
        written: what is known of a case that a lost worker had written before it was lost; None where it had not.
        failed: what is known of a case whose worker was lost twice.
        say: told sentences.
    """

    def __init__(
        self,
        pool: WorkerPool[Done],
        workers: int,
        written: Callable[[Case], Done | None],
        failed: Callable[[Case], Done],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pool, self._count, self._written, self._failed, self._say = pool, workers, written, failed, say
        self._waiting: deque[Case] = deque()
        #: Cases that lost a worker, by id, and those of them that are to be tried once more.
        self._lost: set[str] = set()
        self._suspected: deque[Case] = deque()
        self._starting: set[int] = set()
        self._busy: dict[int, list[Case]] = {}
        self._lost_starts = 0

    def begin(self, cases: int) -> None:
        """Ask for workers, and wait for the first that is ready.

        Args:
            cases: how many there are at most.

        Raises:
            EngineError: no worker could begin.
        """
        started, is_late = time.monotonic(), False
        for _ in range(min(self._count, cases)):
            self._starting.add(self._pool.start())
        while not self._busy:
            if not self._starting:
                self._starting.add(self._pool.start())
            for event in self._pool.wait(_POLL_INTERVAL_S):
                list(self._take(event))
            if not self._busy and not is_late and time.monotonic() - started > _LONG_START_S:
                is_late = True
                self._say("No worker has begun yet; the cluster may have none that is free.")

    def run(self, cases: Sequence[Case], cancel: CancelCheck) -> Iterator[tuple[Case, Done, float]]:
        """Give each case when it is done, with the seconds that it took; after ``begin``.

        Raises:
            Cancelled: ``cancel`` said so; what was being written then is written to its end, and given.
            EngineError: no worker is left, and none could begin.
        """
        self._waiting = deque(cases)
        while self._waiting or self._suspected or any(self._busy.values()):
            if cancel():
                yield from self._end()
                raise Cancelled()
            if not self._busy and not self._starting:
                self._starting.add(self._pool.start())
            self._submit()
            for event in self._pool.wait(_POLL_INTERVAL_S):
                yield from self._take(event)

    def _submit(self) -> None:
        for worker, cases in self._busy.items():
            if any(case.id in self._lost for case in cases):
                continue
            while self._waiting and len(cases) < PER_WORKER:
                self._give(worker, self._waiting.popleft())
            if not cases and self._suspected:
                self._give(worker, self._suspected.popleft())

    def _give(self, worker: int, case: Case) -> None:
        self._busy[worker].append(case)
        self._pool.submit(worker, case)

    def _take(self, event: Event[Done]) -> Iterator[tuple[Case, Done, float]]:
        if isinstance(event, Began):
            self._starting.discard(event.worker)
            self._busy[event.worker] = []
            self._lost_starts = 0
        elif isinstance(event, Lost):
            yield from self._replace(event.worker)
        elif event.case in self._busy.get(event.worker, ()):
            self._busy[event.worker].remove(event.case)
            if event.done is not None:
                yield event.case, event.done, event.seconds

    def _replace(self, worker: int) -> Iterator[tuple[Case, Done, float]]:
        """Account for a worker that is lost, and ask for another where there is something to do for it."""
        # A worker that was lost at its work makes room for another, which may begin where those before it could not.
        self._lost_starts = self._lost_starts + 1 if worker in self._starting else 0
        self._starting.discard(worker)
        cases = self._busy.pop(worker, [])
        for case in cases:
            written = self._written(case)
            if written is not None:
                yield case, written, 0.0
            elif case.id in self._lost:
                yield case, self._failed(case), 0.0
            else:
                self._lost.add(case.id)
                self._suspected.append(case)
        there = len(self._busy) + len(self._starting)
        if self._lost_starts >= _LOST_STARTS:
            if not there:
                raise EngineError(
                    "Workers were lost {count} times while they began, before any case; there may be too little memory "
                    "for so many at once. Give fewer --workers, or a smaller model.",
                    count=self._lost_starts,
                )
            self._say("Some workers could not begin; the others do their cases.")
            return
        if cases:
            self._say("A worker was lost; what it had is done again at the end, by another one.")
        if there < min(self._count, len(self._waiting) + len(self._suspected)):
            self._starting.add(self._pool.start())

    def _end(self) -> Iterator[tuple[Case, Done, float]]:
        """Let workers end what they are at."""
        self._pool.stop()
        deadline = time.monotonic() + _END_S
        while any(self._busy.values()) and time.monotonic() < deadline:
            for event in self._pool.wait(_POLL_INTERVAL_S):
                if isinstance(event, Lost):
                    self._busy.pop(event.worker, None)
                elif isinstance(event, Answered):
                    yield from self._take(event)
