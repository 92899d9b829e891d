"""Waiting for an answer in a thread of its own, so that nobody who cancels waits for a server or a large model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.progress import CancelCheck

Answer = TypeVar("Answer")

#: Seconds between looks at the cancel check.
_POLL_S = 0.2


def wait_for(
    work: Callable[[threading.Event], Answer], cancel: CancelCheck | None, most_seconds: float = float("inf")
) -> Answer:
    """What ``work`` gives; it is left alone once nobody waits for it any more.

    Args:
        work: does it, in another thread; its argument is set where nobody waits any more.
        cancel: asked five times a second.

    Raises:
        Cancelled: ``cancel`` said so.
        TimeoutError: it took longer than ``most_seconds``.
        Exception: what ``work`` raised.
    """
    answers: queue.Queue[tuple[Answer | None, Exception | None]] = queue.Queue()
    given_up = threading.Event()

    def run() -> None:
        try:
            answers.put((work(given_up), None))
        except Exception as error:  # handed over to the thread that waits
            answers.put((None, error))

    threading.Thread(target=run, name="language model", daemon=True).start()
    deadline = time.monotonic() + most_seconds
    try:
        while True:
            try:
                answer, error = answers.get(timeout=_POLL_S)
            except queue.Empty:
                if cancel is not None and cancel():
                    raise Cancelled from None
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                continue
            if error is not None:
                raise error
            return answer  # type: ignore[return-value]
    except BaseException:
        given_up.set()
        raise
