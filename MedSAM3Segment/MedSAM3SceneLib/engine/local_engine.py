"""Jobs in this process, for a segmenter that is here already: the same words as the engine process speaks.

For tests, self-tests and scripts. A real model belongs into the engine process, which a window never waits for.
"""

from __future__ import annotations

from typing import Protocol

from MedSAM3SegmentLib.backend import AnySegmenter
from MedSAM3SegmentLib.engine.client.job import EngineJob
from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Done,
    Event,
    PartialArrived,
    Queued,
)
from MedSAM3SegmentLib.few_shot.examples import Examples, check_examples
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


class JobSource(Protocol):
    """Whoever takes requests: the client of the engine process, or ``LocalJobs``."""

    def submit(
        self, volume: Volume, request: SegmentRequest, *, model: str, device: str, examples: Examples | None = None
    ) -> Job:
        """Hand in a request. May take a while; must not touch the scene.

        Args:
            examples: what shows each concept in place of words; given only where there are any.

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

    def submit(
        self,
        volume: Volume,
        request: SegmentRequest,
        *,
        model: str = "",
        device: str = "",
        examples: Examples | None = None,
    ) -> EngineJob:
        """Start the segmenter on a thread; raises InputError where the request does not go with the examples."""
        del model, device
        if examples is not None:
            check_examples(request, examples)

        def work(job: EngineJob) -> None:
            told = (
                lambda progress: job.report(Advanced(progress)),
                lambda: job.cancel_wanted,
                lambda partial: job.report(PartialArrived(partial)),
            )
            job.report(Queued(0))
            if examples is None:
                job.report(Done(self._segmenter.segment(volume, request, *told)))
            else:
                job.report(Done(self._segmenter.segment_like(volume, examples, request, *told)))

        # The segmenter asks whether to stop; nobody has to be told.
        return EngineJob(work, send_cancel=lambda _: None).start()
