"""Jobs in this process, for a segmenter that is here already: the same words as the engine process speaks.

For tests, self-tests and scripts. A real model belongs into the engine process, which a window never waits for.
"""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from MedSAM3SegmentLib.engine.events import (
    Advanced,
    Done,
    Event,
    Failed,
    FailureKind,
    PartialArrived,
    Queued,
    WasCancelled,
)
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.request import CancelCheck, PartialCallback, ProgressCallback, SegmentRequest
from MedSAM3SegmentLib.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume


class AnySegmenter(Protocol):
    """Whatever answers a request."""

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult: ...


class Job(Protocol):
    """A request that was handed in."""

    def poll(self) -> list[Event]:
        """What happened since the last call; never waits."""
        ...

    def cancel(self) -> None:
        """Ask it to end; it says so by an event."""
        ...


class JobSource(Protocol):
    """Whoever takes requests: the client of the engine process, or ``LocalJobs``."""

    def submit(self, volume: Volume, request: SegmentRequest, *, model: str, device: str) -> Job:
        """Hand in a request. May take a while; must not touch the scene.

        Raises:
            MedSAM3Error: it cannot be taken, in words.
        """
        ...


class LocalJobs:
    """Runs each request on a thread of this process.

    Args:
        segmenter: has its model already, so that ``model`` and ``device`` of a request change nothing.
    """

    def __init__(self, segmenter: AnySegmenter) -> None:
        self._segmenter = segmenter

    def submit(self, volume: Volume, request: SegmentRequest, *, model: str = "", device: str = "") -> LocalJob:
        """Start the segmenter on a thread."""
        del model, device
        return LocalJob(self._segmenter, volume, request)


class LocalJob:
    """One request on a thread of its own."""

    def __init__(self, segmenter: AnySegmenter, volume: Volume, request: SegmentRequest) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._work = (segmenter, volume, request)
        self._events.put(Queued(0))
        threading.Thread(target=self._run, name="MedSAM3 job", daemon=True).start()

    def poll(self) -> list[Event]:
        """What happened since the last call."""
        events = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except queue.Empty:
                return events

    def cancel(self) -> None:
        """End the run before its next batch of slices."""
        self._cancelled.set()

    def _run(self) -> None:
        segmenter, volume, request = self._work
        try:
            result = segmenter.segment(
                volume,
                request,
                lambda progress: self._events.put(Advanced(progress)),
                self._cancelled.is_set,
                lambda partial: self._events.put(PartialArrived(partial)),
            )
        except Cancelled as stopped:
            self._events.put(WasCancelled(str(stopped)))
        except InputError as error:
            self._events.put(Failed(str(error), FailureKind.INPUT))
        except ModelError as error:
            self._events.put(Failed(str(error), FailureKind.MODEL))
        except Exception as error:
            self._events.put(Failed(f"The segmenter broke off ({type(error).__name__}: {error}); try again."))
        else:
            self._events.put(Done(result))
