"""A segmenter that lives in another process: requests become jobs of a service, and are waited for or not."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable

from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.events import Advanced, PartialArrived, WasCancelled
from MedSAM3SegmentLib.engine.protocol.messages import (
    JobOrder,
    OrderedExample,
    SentVolume,
    read_events,
)
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.few_shot.examples import Examples, check_examples
from MedSAM3SegmentLib.request import (
    CancelCheck,
    PartialCallback,
    ProgressCallback,
    SegmentRequest,
)
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

from .http import Connection
from .job import EngineJob
from .volume_upload import read_proof, send_volume

#: Seconds between two looks at a job that is waited for.
_LOOK = 0.02


class RemoteSegmenter(ABC):
    """Segments through a service, wherever that is.

    Args:
        model, device: what ``segment`` uses.
    """

    def __init__(self, model: str, device: str) -> None:
        self.model, self.device = model, device
        self._id = uuid.uuid4().hex

    @abstractmethod
    def connect(self) -> Connection:
        """The way to the service; called in the job's thread.

        Raises:
            EngineError: there is none.
        """

    def _way(self) -> Callable[[], Connection]:
        """``connect`` for a job that is submitted now; its thread may begin later."""
        return self.connect

    def submit(
        self,
        volume: Volume,
        request: SegmentRequest,
        *,
        model: str = "demo",
        device: str = "auto",
        partials: bool = True,
        examples: Examples | None = None,
    ) -> EngineJob:
        """Ask for a segmentation; returns at once. Finding the service may take its time, in the job's thread.

        Args:
            volume: must not be changed until the job has ended, nor those of the examples.
            model, device: as ``models.loading.load_model`` takes them.
            partials: whether to report slices as they are done.
            examples: what shows each concept in place of words, as for ``segment_like``.

        Raises:
            InputError: the request does not go with examples.
        """
        shown: Examples = {}
        if examples is not None:
            check_examples(request, examples)
            shown = {concept: examples[concept] for concept in request.concepts}
        known: list[Connection] = []
        way = self._way()

        def work(job: EngineJob) -> None:
            connection = way()
            known.append(connection)
            proof = read_proof(connection)
            for each in (*(example.volume for group in shown.values() for example in group), volume):
                send_volume(connection, each, proof, lambda: job.cancel_wanted)
            order = JobOrder(
                id=job.id,
                client=self._id,
                volume=SentVolume.of(volume),
                examples={
                    concept: tuple(OrderedExample(SentVolume.of(one.volume), one.mask, one.slices) for one in group)
                    for concept, group in shown.items()
                },
                model=_as_found_there(model, proof),
                device=device,
                partials=partials,
                compress=not proof,
                proof=proof,
                request=request,
            )
            if job.cancel_wanted:
                raise Cancelled()
            told = False
            with connection.stream("/jobs", encode(order)) as pieces:
                for event in read_events(pieces):
                    if event is not None:
                        job.report(event)
                    if job.ended:
                        return
                    if job.cancel_wanted and not told:
                        # The first word of it may have come before the job did.
                        told = True
                        send_cancel(job)

        def send_cancel(job: EngineJob) -> None:
            if not known:
                job.report(WasCancelled())  # the service may take seconds to start, and needs not know
            for connection in known:
                connection.send("DELETE", f"/jobs/{job.id}")

        return EngineJob(work, send_cancel).start()

    def segment(
        self,
        volume: Volume,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult:
        """Segment and wait, as ``segmenter.Segmenter.segment`` does; callbacks run in the calling thread.

        Raises:
            Cancelled: ``cancel`` said so.
            MedSAM3Error: it failed.
        """
        job = self.submit(volume, request, model=self.model, device=self.device, partials=partial is not None)
        return _follow(job, progress, cancel, partial)

    def segment_like(
        self,
        volume: Volume,
        examples: Examples,
        request: SegmentRequest,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        partial: PartialCallback | None = None,
    ) -> SegmentResult:
        """Segment what ``examples`` show and wait, as ``segmenter.Segmenter.segment_like`` does; else as ``segment``.

        The volumes of the examples are sent once, as any other.
        """
        job = self.submit(
            volume, request, model=self.model, device=self.device, partials=partial is not None, examples=examples
        )
        return _follow(job, progress, cancel, partial)


def _as_found_there(model: str, proof: str) -> str:
    """A model's name as the service finds it, which runs in another folder, and sees this disk if there is a proof."""
    from MedSAM3SegmentLib.model_store.resolve import with_whole_paths

    return with_whole_paths(model) if proof else model


def _follow(
    job: EngineJob,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    partial: PartialCallback | None = None,
) -> SegmentResult:
    """Wait for a job, with callbacks in the calling thread; raises as ``EngineJob.wait`` does."""
    try:
        while True:
            ended = job.ended
            for event in job.poll():
                if progress is not None and isinstance(event, Advanced):
                    progress(event.progress)
                elif partial is not None and isinstance(event, PartialArrived):
                    partial(event.partial)
            if ended:
                return job.wait(0)
            if cancel is not None and cancel():
                job.cancel()
            job.wait_for_news(_LOOK)
    except BaseException:
        job.cancel()
        raise
