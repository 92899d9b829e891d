"""A segmenter that lives in another process: what panel, effect, console and agent call."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from ..errors import Cancelled
from ..request import CancelCheck, PartialCallback, ProgressCallback, SegmentRequest
from ..result import SegmentResult
from ..volume import Volume
from .connection import Connection
from .events import Advanced, PartialArrived, WasCancelled
from .job import EngineJob
from .orders import JobOrder, read_events
from .records import encode
from .sending import read_proof, send_volume
from .status import EngineStatus, status_of

#: Seconds between two looks at a job that is waited for.
_LOOK = 0.02

_CANCELLED = "The segmentation was cancelled; nothing was written."


class EngineClient:
    """Asks one service.

    Args:
        address: such as ``http://127.0.0.1:8765``.
        token: the service's.
        certificate: a PEM file to check a TLS service by, or empty for the well-known authorities.
        model, device: what ``segment`` uses.

    Raises:
        InputError: the address is none, or leads to another machine without TLS.
    """

    def __init__(
        self, address: str, token: str, *, certificate: str = "", model: str = "demo", device: str = "auto"
    ) -> None:
        self.model, self.device = model, device
        self._connection = Connection(address, token, certificate)
        self._id = uuid.uuid4().hex

    def status(self) -> EngineStatus:
        """What the service holds and does. Takes as long as the network; call it from a thread in a GUI.

        Raises:
            EngineError: the service cannot be reached.
        """
        return status_of(self._connection.get("/status"))

    def submit(
        self,
        volume: Volume,
        request: SegmentRequest,
        *,
        model: str = "demo",
        device: str = "auto",
        partials: bool = True,
    ) -> EngineJob:
        """Ask for a segmentation; returns at once.

        Args:
            volume: must not be changed until the job has ended.
            model, device: as ``models.loading.load_model`` takes them.
            partials: whether to report slices as they are done.
        """
        return submit_to(lambda: self._connection, self._id, volume, request, model, device, partials)

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
        return follow(job, progress, cancel, partial)

    def unload(self) -> None:
        """Let go of models and features once the running job is done; volumes stay."""
        self._connection.send("POST", "/unload")

    def shutdown(self) -> None:
        """End the service; its jobs are cancelled."""
        self._connection.send("POST", "/shutdown")


def submit_to(
    connect: Callable[[], Connection],
    client: str,
    volume: Volume,
    request: SegmentRequest,
    model: str,
    device: str,
    partials: bool,
) -> EngineJob:
    """Start a job on the service that ``connect`` gives, which is called in the job's thread and may take its time."""
    known: list[Connection] = []

    def work(job: EngineJob) -> None:
        connection = connect()
        known.append(connection)
        proof = read_proof(connection)
        content_hash = send_volume(connection, volume, proof, lambda: job.cancel_wanted)
        order = JobOrder(
            id=job.id,
            client=client,
            volume=content_hash,
            volume_name=volume.name,
            volume_messages=volume.messages,
            volume_is_sequence=volume.is_sequence,
            model=_as_found_elsewhere(model),
            device=device,
            partials=partials,
            compress=not proof,
            proof=proof,
            request=request,
        )
        if job.cancel_wanted:
            raise Cancelled(_CANCELLED)
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
            job.report(WasCancelled(_CANCELLED))  # the service may take seconds to start, and needs not know
        for connection in known:
            connection.send("DELETE", f"/jobs/{job.id}")

    return EngineJob(work, send_cancel).start()


def _as_found_elsewhere(model: str) -> str:
    """A model's name with its paths made whole: the service runs in another folder."""
    pieces = [piece.strip() for piece in model.split("+")]
    if Path(model).expanduser().exists():
        pieces = [model]
    paths = [Path(piece).expanduser() for piece in pieces]
    is_path = [len(path.parts) > 1 and path.exists() for path in paths]
    return "+".join(
        str(path.absolute()) if there else piece for piece, path, there in zip(pieces, paths, is_path, strict=True)
    )


def follow(
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
