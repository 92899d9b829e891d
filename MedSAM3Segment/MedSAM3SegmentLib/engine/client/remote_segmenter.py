"""A segmenter that lives in another process: requests become jobs of a service, and are waited for or not."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from MedSAM3SegmentLib.engine.protocol.codec import encode
from MedSAM3SegmentLib.engine.protocol.events import Advanced, PartialArrived, WasCancelled
from MedSAM3SegmentLib.engine.protocol.messages import (
    ExampleRequest,
    JobRequest,
    QuestionRequest,
    VolumeRef,
    read_events,
)
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.language.question import LanguageAnswer, LanguageQuestion
from MedSAM3SegmentLib.progress import NO_CALLBACKS, CancelCheck, RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume

from .http import HttpConnection
from .job import RemoteJob
from .volume_upload import read_proof, send_volume

#: Seconds between two looks at a job that is waited for.
_POLL_INTERVAL_S = 0.02


class RemoteSegmenter(ABC):
    """Segments through a service, wherever that is.

    Args:
        model, device: what ``segment`` uses.
    """

    def __init__(self, model: str, device: str) -> None:
        self.model, self.device = model, device
        self._id = uuid.uuid4().hex

    @abstractmethod
    def connect(self) -> HttpConnection:
        """The way to the service; called in the job's thread.

        Raises:
            EngineError: there is none.
        """

    def _way(self) -> Callable[[], HttpConnection]:
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
    ) -> RemoteJob:
        """Ask for a segmentation; returns at once. Finding the service may take its time, in the job's thread.

        Args:
            volume: must not be changed until the job has ended, nor those of the examples.
            model, device: as ``models.loading.load_model`` takes them.
            partials: whether to report slices as they are done.
        """
        shown = {concept: request.examples[concept] for concept in request.concepts if request.examples}

        def prepare(connection: HttpConnection, job: RemoteJob) -> tuple[str, bytes]:
            proof = read_proof(connection)
            for each in (*(example.volume for group in shown.values() for example in group), volume):
                send_volume(connection, each, proof, lambda: job.cancel_wanted)
            order = JobRequest(
                id=job.id,
                client=self._id,
                volume=VolumeRef.of(volume),
                examples={
                    concept: tuple(ExampleRequest(VolumeRef.of(one.volume), one.mask, one.slices) for one in group)
                    for concept, group in shown.items()
                },
                model=_as_found_there(model, proof),
                device=device,
                partials=partials,
                compress=not proof,
                proof=proof,
                request=request,
            )
            return "/jobs", encode(order)

        return self._start_job(prepare)

    def submit_question(self, question: LanguageQuestion, folder: Path, device: str = "auto") -> RemoteJob:
        """Ask an image-text model that the service loads beside SAM 3; returns at once.

        Args:
            folder: of the model, on a disk that this process and the service share.
            device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        """

        def prepare(connection: HttpConnection, job: RemoteJob) -> tuple[str, bytes]:
            proof = read_proof(connection)
            return "/questions", encode(
                QuestionRequest(job.id, self._id, str(folder.resolve()), device, proof, question)
            )

        return self._start_job(prepare)

    def _start_job(self, prepare: Callable[[HttpConnection, RemoteJob], tuple[str, bytes]]) -> RemoteJob:
        """Start a job.

        Args:
            prepare: sends what the job needs, and gives the path that it is submitted to and its packet.
        """
        known: list[HttpConnection] = []
        way = self._way()

        def work(job: RemoteJob) -> None:
            connection = way()
            known.append(connection)
            path, packet = prepare(connection, job)
            if job.cancel_wanted:
                raise Cancelled()
            told = False
            with connection.stream(path, packet) as pieces:
                for event in read_events(pieces):
                    if event is not None:
                        job.report(event)
                    if job.ended:
                        return
                    if job.cancel_wanted and not told:
                        # The first word of it may have come before the job did.
                        told = True
                        send_cancel(job)

        def send_cancel(job: RemoteJob) -> None:
            if not known:
                job.report(WasCancelled())  # the service may take seconds to start, and needs not know
            for connection in known:
                connection.send("DELETE", f"/jobs/{job.id}")

        return RemoteJob(work, send_cancel).start()

    def answer(
        self, question: LanguageQuestion, folder: Path, device: str = "auto", cancel: CancelCheck | None = None
    ) -> LanguageAnswer:
        """Ask and wait, as ``language.model.LanguageModel.answer`` does.

        Raises:
            Cancelled: ``cancel`` said so.
            MedSAM3Error: it failed.
        """
        job = self.submit_question(question, folder, device)
        _follow(job, RunCallbacks(cancel=cancel))
        return job.wait_for_answer(0)

    def segment(self, volume: Volume, request: SegmentRequest, callbacks: RunCallbacks = NO_CALLBACKS) -> SegmentResult:
        """Segment and wait, as ``segmenter.Segmenter.segment`` does; callbacks run in the calling thread.

        The volumes of examples are sent once, as any other.

        Raises:
            Cancelled: ``callbacks.cancel`` said so.
            MedSAM3Error: it failed.
        """
        partials = callbacks.partial is not None
        job = self.submit(volume, request, model=self.model, device=self.device, partials=partials)
        _follow(job, callbacks)
        return job.wait(0)


def _as_found_there(model: str, proof: str) -> str:
    """A model's name as the service finds it, which runs in another folder, and sees this disk if there is a proof."""
    from MedSAM3SegmentLib.model_store.resolve import with_whole_paths

    return with_whole_paths(model) if proof else model


def _follow(job: RemoteJob, callbacks: RunCallbacks) -> None:
    """Wait for the end of a job, with callbacks in the calling thread."""
    progress, partial, cancel = callbacks.progress, callbacks.partial, callbacks.cancel
    try:
        while True:
            ended = job.ended
            for event in job.poll():
                if progress is not None and isinstance(event, Advanced):
                    progress(event.progress)
                elif partial is not None and isinstance(event, PartialArrived):
                    partial(event.partial)
            if ended:
                return
            if cancel is not None and cancel():
                job.cancel()
            job.wait_for_news(_POLL_INTERVAL_S)
    except BaseException:
        job.cancel()
        raise
