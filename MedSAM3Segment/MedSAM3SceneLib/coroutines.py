"""Long work cut into short steps, so that a window that shows it never stands still.

Steps are generators. They yield ``WORKING`` after a piece of work, and ``WAITING`` when there is nothing to do but to
come back later; what they return is the outcome. Whoever runs them decides how many steps go between two repaints.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

Outcome = TypeVar("Outcome")

#: What one step says to whoever runs it.
WORKING, WAITING = False, True

#: Work that yields ``WORKING`` or ``WAITING`` and returns its outcome.
StepGenerator = Generator[bool, None, Outcome]

#: Seconds a waiting step gives to other threads: Slicer's own keeps Python's lock while it idles, so that they get on
#: only meanwhile.
_PAUSE_S = 0.003

#: Seconds it gives to a thread that works for it, which the window does not feel yet.
_PAUSE_FOR_WORK_S = 0.01


def yield_to_interface() -> None:
    """Let other threads run for a moment."""
    time.sleep(_PAUSE_S)


def run_steps_to_end(steps: StepGenerator[Outcome], between: Callable[[], object] | None = None) -> Outcome:
    """Run all steps at once and return their outcome.

    Args:
        between: called between two steps, such as for the window to go on.
    """
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        if between is not None:
            between()


def in_budget(steps: StepGenerator[Outcome], budget_s: float) -> StepGenerator[Outcome]:
    """The same work in fewer steps, of about ``budget_s`` seconds each, for a timer that takes one at a time."""
    try:
        while True:
            until = time.monotonic() + budget_s
            waits = next(steps)
            while waits is WORKING and time.monotonic() < until:
                waits = next(steps)
            yield waits
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        steps.close()


def run_in_thread(work: Callable[[], Outcome], meanwhile: Callable[[], None] = lambda: None) -> StepGenerator[Outcome]:
    """Do ``work`` on a thread of its own; steps wait for it. It must not touch scene or widgets.

    Args:
        meanwhile: called before each step that waits, on the thread of whoever runs the steps.

    Raises:
        Exception: what ``work`` raised.
    """
    outcomes: list[Outcome] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            outcomes.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="MedSAM3", daemon=True).start()
    while not ended.wait(_PAUSE_FOR_WORK_S):
        meanwhile()
        yield WAITING
    if errors:
        raise errors[0]
    return outcomes[0]


def release(large: list[object]) -> None:
    """Empty a list that holds the last references to large arrays, on a thread: giving memory back takes a while."""
    threading.Thread(target=large.clear, name="MedSAM3 release", daemon=True).start()
