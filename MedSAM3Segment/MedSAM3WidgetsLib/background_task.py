"""Something that takes a while beside the window: steps that a timer advances, with what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread

from .window_timer import WindowTimer

#: Milliseconds between two looks at the thread, which gets on in Slicer only while it is looked at.
_INTERVAL_MS = 20


class BackgroundTask:
    """Does one thing at a time, in steps or on a thread, and tells how it ended, on the thread of the window."""

    def __init__(self) -> None:
        self._steps: StepGenerator[Any] | None = None
        self._done: Callable[[Any], None] | None = None
        self._failed: Callable[[Exception], None] | None = None
        self._meanwhile: Callable[[], None] | None = None
        self._timer = WindowTimer(self._advance)

    @property
    def is_busy(self) -> bool:
        return self._steps is not None

    def start(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Do ``work`` on a thread; what was begun before is not heard of any more.

        Args:
            work: must touch neither scene nor widgets.
            done: called with its outcome.
            failed: called with what it raised.
            meanwhile: called now and then until it has ended.
        """
        self.start_steps(run_in_thread(work), done, failed, meanwhile)

    def start_steps(
        self,
        steps: StepGenerator[Any],
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Take ``steps`` one by one, each on the thread of the window; see ``start``."""
        self.stop()
        self._steps, self._done, self._failed, self._meanwhile = steps, done, failed, meanwhile
        self._timer.start(_INTERVAL_MS)

    def stop(self) -> None:
        """Hear nothing any more of what was begun."""
        self._timer.stop()
        steps, self._steps = self._steps, None
        self._done = self._failed = self._meanwhile = None
        if steps is not None:
            steps.close()

    def _advance(self) -> None:
        if self._steps is None:
            return
        done, failed = self._done, self._failed
        steps = self._steps
        try:
            next(steps)
        except StopIteration as end:
            self.stop()
            done(end.value)
        except Exception as error:
            self.stop()
            failed(error)
        else:
            # A step can end the task, as when it lets the window close.
            if self._steps is steps and self._meanwhile is not None:
                self._meanwhile()
