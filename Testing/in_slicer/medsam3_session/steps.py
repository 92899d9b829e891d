"""Plays a script in Slicer: from step to step on a timer, so that Slicer's own event loop runs in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import qt
import slicer

#: Milliseconds between two looks at what is waited for.
_INTERVAL = 5


@dataclass(frozen=True)
class Until:
    """What a script waits for.

    Attributes:
        is_so: asked again and again.
        what: in words, for when it never comes.
        seconds: after which that is an error.
    """

    is_so: Callable[[], Any]
    what: str
    seconds: float = 120.0


#: A script, or a part of one that gives something at its end.
Steps = Generator[Until, None, Any]


def pause(seconds: float) -> Until:
    """Let the window go on for a while."""
    end = time.monotonic() + seconds
    return Until(lambda: time.monotonic() >= end, "the end of a pause", seconds + 60)


class Player:
    """Takes a script on whenever what it waits for is there.

    Args:
        steps: the script.
        ended: called at its end with None, or with what it was ended by.
    """

    def __init__(self, steps: Steps, ended: Callable[[Exception | None], None]) -> None:
        self._steps, self._ended = steps, ended
        self._until: Until | None = None
        self._deadline = 0.0
        self._is_stepping = False
        self._timer = qt.QTimer(slicer.app)
        self._timer.setInterval(_INTERVAL)
        self._timer.connect("timeout()", self.look)
        self._timer.start()

    def look(self) -> None:
        """Go on if it is time."""
        if self._is_stepping:
            return  # a step shows a dialog, which has an event loop of its own
        self._is_stepping = True
        try:
            if self._until is None:
                self._await(next(self._steps))
            elif self._until.is_so():
                self._await(self._steps.send(None))
            elif time.monotonic() > self._deadline:
                late = TimeoutError(f"after {self._until.seconds:.0f} s there was not {self._until.what}")
                self._await(self._steps.throw(late))
        except StopIteration:
            self._end(None)
        except Exception as error:
            self._end(error)
        finally:
            self._is_stepping = False

    def _await(self, until: Until) -> None:
        self._until = until
        self._deadline = time.monotonic() + until.seconds

    def _end(self, error: Exception | None) -> None:
        self._timer.stop()
        self._timer.disconnect("timeout()", self.look)
        self._timer.deleteLater()
        self._ended(error)
