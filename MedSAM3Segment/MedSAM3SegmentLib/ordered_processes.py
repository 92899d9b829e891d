"""Functions are called in processes of their own, and what they return is taken in the order of the calls.

So what comes out is what one process gives, and an error of a call comes after what those before it returned. A process
that dies costs time only; what it had is done here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, Generic, TypeVar

#: Calls that are handed out for each process; more would only fill the memory.
_AHEAD = 2

Made = TypeVar("Made")

#: Of a process: what all of its work needs, which is sent once.
_shared: list[Any] = []


class InOrder(Generic[Made]):
    """Calls functions in processes and gives what they return in the order of the calls.

    Args:
        processes: how many; 0 to call here.
        shared: first argument of each call.
    """

    def __init__(self, processes: int, shared: Any = None) -> None:
        self._shared, self._most = shared, processes * _AHEAD
        self._pool: ProcessPoolExecutor | None = None
        if processes:
            # A process that is forked would take a GPU and its locks with it.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(shared,))
        self._waiting: deque[tuple[str, Future[Made] | None, Callable[..., Made], tuple[Any, ...]]] = deque()

    def add(self, name: str, work: Callable[..., Made], *given: Any) -> Iterator[tuple[str, Made]]:
        """Call ``work(shared, *given)``; give what is done by now, and wait where too much is not."""
        future = None
        if self._pool is not None:
            try:
                future = self._pool.submit(_call, work, given)
            except BrokenProcessPool:
                self._stop()
        self._waiting.append((name, future, work, given))
        while self._waiting and (len(self._waiting) > self._most or _is_done(self._waiting[0][1])):
            yield self._take()

    def rest(self) -> Iterator[tuple[str, Made]]:
        """Give all that is left."""
        while self._waiting:
            yield self._take()

    def _take(self) -> tuple[str, Made]:
        name, future, work, given = self._waiting.popleft()
        if future is not None:
            try:
                return name, future.result()
            except BrokenProcessPool:
                self._stop()
        return name, work(self._shared, *given)

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            self._most = 0

    def close(self) -> None:
        """End the processes; what they are at is lost."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def processes_in_order(processes: int, shared: Any = None) -> Iterator[InOrder[Any]]:
    """Within, there are processes to call functions in; 0 for none but this one."""
    made: InOrder[Any] = InOrder(processes, shared)
    try:
        yield made
    finally:
        made.close()


def _is_done(future: Future[Any] | None) -> bool:
    return future is None or future.done()


def _begin(shared: Any) -> None:
    """Prepare a process: Ctrl-C is for the one that started it, and it ends with that one, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared[:] = [shared]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[..., Made], given: tuple[Any, ...]) -> Made:
    return work(_shared[0], *given)
