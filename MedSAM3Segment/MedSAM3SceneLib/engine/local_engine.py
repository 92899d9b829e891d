"""Jobs in this process, for a segmenter that is here already: the same words as the engine process speaks.

For tests, self-tests and scripts. A real model belongs into the engine process, which a window never waits for.
"""

from __future__ import annotations

from typing import Protocol

from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.engine.client.job import RemoteJob
from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Done,
    Event,
    PartialArrived,
    Queued,
)
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.volume import Volume


class Job(Protocol):
    """A request that was handed in."""

    def poll(self) -> list[Event]:
        """What happened since the last call; never waits."""
        ...

    def cancel(self) -> None:
        """Ask it to end; it says so by an event."""
        ...


class Engine(Protocol):
    """Whoever takes requests: the client of the engine process, or ``LocalEngine``."""

    def submit(self, volume: Volume, request: SegmentRequest, *, model: str, device: str) -> Job:
        """Hand in a request. May take a while; must not touch the scene.

        Raises:
            MedSAM3Error: it cannot be taken, in words.
        """
        ...


class LocalEngine:
    """Runs each request on a thread of this process.

    Args:
        segmenter: has its model already, so that ``model`` and ``device`` of a request change nothing.
    """

    def __init__(self, segmenter: SegmenterProtocol) -> None:
        self._segmenter = segmenter

    def submit(self, volume: Volume, request: SegmentRequest, *, model: str = "", device: str = "") -> RemoteJob:
        """Start the segmenter on a thread."""
        del model, device

        def work(job: RemoteJob) -> None:
            callbacks = RunCallbacks(
                lambda progress: job.report(Advanced(progress)),
                lambda partial: job.report(PartialArrived(partial)),
                lambda: job.cancel_wanted,
            )
            job.report(Queued(0))
            job.report(Done(self._segmenter.segment(volume, request, callbacks)))

        # The segmenter asks whether to stop; nobody has to be told.
        return RemoteJob(work, send_cancel=lambda _: None).start()
