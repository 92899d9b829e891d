"""The one thread that runs models: takes jobs from the queue and reports what happens to each."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.engine.protocol.events import (
    Advanced,
    Answered,
    Done,
    Event,
    Failed,
    FailureKind,
    Loading,
    PartialArrived,
    TokensArrived,
    WasCancelled,
)
from MedSAM3SegmentLib.engine.protocol.messages import QuestionRequest
from MedSAM3SegmentLib.engine.protocol.status import CacheUse
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error, PackageError
from MedSAM3SegmentLib.language.kept_model import KeptLanguageModel
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.progress import PartialMask, Progress, RunCallbacks
from MedSAM3SegmentLib.reporting.packages import find_broken_package
from MedSAM3SegmentLib.request import PICK_ADAPTER

from .job_queue import JobQueue, QueuedJob, SegmentWork
from .model_cache import ModelCache

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector

_log = logging.getLogger(__name__)


class Worker:
    """Runs the jobs of a queue in a thread of its own.

    GPU libraries keep plans by thread, so that one thread must do all the work.

    Args:
        queue: where jobs come from.
        shelf: where their models come from; only the worker's thread uses it.

    Attributes:
        language: the image-text model that answers questions, loaded beside them where there is room.
    """

    def __init__(self, queue: JobQueue, shelf: ModelCache) -> None:
        self._queue = queue
        self._shelf = shelf
        self.language = KeptLanguageModel(shelf.clear)
        self._unload = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def unload(self) -> None:
        """Let go of models and features once the running job is done."""
        self._unload.set()
        self._queue.wake()

    def language_use(self) -> tuple[CacheUse, ...]:
        """The image-text model that is loaded, or nothing."""
        size = self.language.size
        return (CacheUse("language model", self.language.place, size, size, 1),) if size else ()

    def join(self, seconds: float) -> bool:
        """Wait for the end of a closed queue's last job; returns whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            job = self._queue.take()
            if self._unload.is_set():
                self._unload.clear()
                self._free_memory()
            if job is None:
                if self._queue.closed:
                    return
                continue
            self._run_one(job)
            # The next one may be long in coming, and this one's arrays large.
            del job

    def _run_one(self, job: QueuedJob) -> None:
        started = time.monotonic()
        end = self._end_of(job)
        if job.cancelled.is_set() and isinstance(end, Done | Answered):
            end = WasCancelled()  # packing a long answer takes time that the next job may have
        self._queue.done()
        job.tell(end)
        _log.info("job %s: %s after %.1f s", job.id[:8], type(end).__name__, time.monotonic() - started)

    def _end_of(self, job: QueuedJob) -> Event:
        """Run a job; returns its last event. No error of a job ends the service."""
        end = self._tried(job)
        if end is None and self.language.is_loaded and isinstance(job.work, SegmentWork):
            # What was missing may be what the language model holds.
            self.language.clear()
            end = self._tried(job)
        if end is not None:
            return end
        # Outside the handler, whose traceback would keep the job's arrays alive.
        self._free_memory()
        return Failed(
            message(
                "Memory ran out in the engine and its caches were emptied; try again with fewer slices or a smaller "
                "model."
            ),
            FailureKind.INPUT,
        )

    def _tried(self, job: QueuedJob) -> Event | None:
        """A job's last event, None where memory ran out."""
        try:
            if isinstance(job.work, QuestionRequest):
                return self._answer_to(job, job.work)
            return self._result_of(job, job.work)
        except Cancelled as error:
            return WasCancelled(error.message)
        except MedSAM3Error as error:
            return Failed.of(error)
        except Exception as error:
            _log.warning("job %s: %s", job.id[:8], type(error).__name__)
            broken = error if isinstance(error, PackageError) else find_broken_package()
            if broken is not None:
                return Failed.of(broken)
            from MedSAM3SegmentLib.models.memory import is_out_of_memory  # needs PyTorch, as what failed does

            if not is_out_of_memory(error):
                return Failed(
                    message(
                        "Something went wrong in the engine that should not ({kind}); try again.",
                        kind=type(error).__name__,
                    )
                )
        return None

    def _free_memory(self) -> None:
        """Let go of models and features. Where that fails, as after an error of the GPU, the next job still comes."""
        try:
            self._shelf.clear()
            self.language.clear()
        except Exception as error:
            _log.warning("memory could not be given back: %s", type(error).__name__)

    def _result_of(self, job: QueuedJob, work: SegmentWork) -> Event:
        order = work.order
        job.can_be_left = work.model == PICK_ADAPTER or not self._shelf.has(
            work.model, order.device, work.request.draft
        )
        if job.cancelled.is_set():
            raise Cancelled()
        if job.can_be_left:
            job.tell(Loading(order.model))
            if self.language.leave_room(order.device):
                _log.info("the language model was unloaded to make room")
        source, said = self._picked(work) if work.model == PICK_ADAPTER else (work.model, ())
        model = self._shelf.get(source, order.device, work.request.draft)
        job.can_be_left = False
        if job.cancelled.is_set():
            raise Cancelled()

        def progress(step: Progress) -> None:
            job.tell(Advanced(step))

        def partial(mask: PartialMask) -> None:
            job.tell(PartialArrived(mask))

        callbacks = RunCallbacks(progress, partial if order.partials else None, job.cancelled.is_set)
        result = model.segmenter.segment(work.volume, work.request, callbacks)
        return Done(replace(result, messages=(*said, *result.messages)) if said else result)

    def _picked(self, work: SegmentWork) -> tuple[str, tuple[Message, ...]]:
        """The adapter that fits a volume, and why.

        Raises:
            ModelError: none does.
        """
        # They need PyTorch, as the models do.
        from MedSAM3SegmentLib.features.pick_adapter import pick_adapter, require_adapter
        from MedSAM3SegmentLib.models.load_model import load_model
        from MedSAM3SegmentLib.segmenter import Segmenter

        def load(base: str, device: str) -> Sam3Detector:
            segmenter = self._shelf.get(base, device).segmenter
            return segmenter.model if isinstance(segmenter, Segmenter) else load_model(base, device)

        asked = [concept for concept in work.request.concepts if work.request.is_asked(concept)]
        choice = pick_adapter(work.volume, asked, work.order.device, load=load)
        return require_adapter(choice), (choice.sentence,)

    def _answer_to(self, job: QueuedJob, order: QuestionRequest) -> Event:
        job.can_be_left = True
        if job.cancelled.is_set():
            raise Cancelled()
        folder = Path(order.folder)
        if not self.language.has(folder, order.device):
            job.tell(Loading(folder.name))
        model = self.language.get(folder, order.device)
        if job.cancelled.is_set():
            raise Cancelled()

        def count(tokens: int, most: int) -> None:
            job.tell(TokensArrived(tokens, most))

        return Answered(model.answer(order.question, job.cancelled.is_set, count))
