"""The service: what each HTTP request does. ``serving`` puts it on a socket."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import psutil
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.engine.process_id import ParentWatch, ProcessId
from MedSAM3SegmentLib.engine.protocol.arrays import unpacked_bytes
from MedSAM3SegmentLib.engine.protocol.challenge import HELLO, challenge_response
from MedSAM3SegmentLib.engine.protocol.codec import decode
from MedSAM3SegmentLib.engine.protocol.messages import (
    PROTOCOL,
    VolumeRef,
    VolumeUpload,
)
from MedSAM3SegmentLib.engine.protocol.status import EngineStatus
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.model_store.resolve import installed_source
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.request import PICK_ADAPTER
from MedSAM3SegmentLib.volume import Volume

from .auth import TokenAuthMiddleware
from .body import BodyMemory, BodyShare, Unpacker, read_body, read_pieces
from .event_stream import EventStream, EventStreamResponse
from .job_order import ID, MAX_QUESTION_BYTES, MAX_REQUEST_BYTES, check_masks, read_order, read_question
from .job_queue import JobQueue, QueuedJob, SegmentWork
from .model_cache import ModelCache
from .refusals import REFUSALS
from .volume_store import VolumeStore
from .worker import Worker

_log = logging.getLogger(__name__)

#: Most bytes of an offer of a volume.
_MAX_OFFER_BYTES = 2**16

#: Most bytes that all orders may take that are sent, wait or run: this, or a quarter of the memory of a small machine.
_MOST_ORDER_BYTES = 4 * 2**30


class EngineApp:
    """Keeps volumes and models, and runs the jobs of all clients.

    Args:
        token: what clients must know.
        shelf: loads and keeps models.
        store: keeps volumes.
        parents: processes that use the service.
        hosts: names that clients may call this machine by.
        end: called when a client asks the service to end.
    """

    def __init__(
        self,
        token: str,
        shelf: ModelCache,
        store: VolumeStore,
        parents: ParentWatch,
        hosts: Sequence[str],
        end: Callable[[], None],
    ) -> None:
        self._token = token
        self._shelf = shelf
        self._store = store
        self._end = end
        self._parents = parents
        self._queue = JobQueue()
        self._worker = Worker(self._queue, shelf)
        self._memory = BodyMemory(min(_MOST_ORDER_BYTES, psutil.virtual_memory().total // 4))
        self.app = Starlette(
            routes=[
                Route(HELLO, self._hello),
                Route("/status", self._status),
                Route("/proof", self._proof),
                Route("/volumes", self._offer, methods=["POST"]),
                Route("/volumes/{ticket}", self._receive, methods=["PUT"]),
                Route("/volumes/{ticket}", self._drop, methods=["DELETE"]),
                Route("/volumes/{ticket}/complete", self._complete, methods=["POST"]),
                Route("/jobs", self._submit, methods=["POST"]),
                Route("/questions", self._ask, methods=["POST"]),
                Route("/jobs/{job}", self._cancel, methods=["DELETE"]),
                Route("/parents/{pid}", self._join, methods=["POST"]),
                Route("/parents/{pid}", self._leave, methods=["DELETE"]),
                Route("/unload", self._unload, methods=["POST"]),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
                Middleware(TokenAuthMiddleware, token=token),
            ],
            exception_handlers=REFUSALS,
        )

    def start(self) -> None:
        """Begin to run jobs."""
        self._worker.start()

    def stop(self, seconds: float = 5.0) -> bool:
        """Cancel all jobs and remove what was kept; returns whether the running job ended within ``seconds``."""
        self._queue.close()
        ended = self._worker.join(seconds)
        self._store.close()
        return ended

    def cancel_all(self) -> None:
        """Cancel all jobs and take no more."""
        self._queue.close()

    async def _hello(self, request: Request) -> Response:
        challenge = request.query_params.get("challenge", "")
        if not ID.fullmatch(challenge):
            raise InputError("A challenge has 32 hexadecimal digits; send one.")
        return JSONResponse({"proof": challenge_response(self._token, challenge), "protocol": PROTOCOL})

    async def _status(self, request: Request) -> Response:
        del request
        model = self._shelf.last_used
        running, queued = self._queue.counts()
        status = EngineStatus(
            version=__version__,
            pid=os.getpid(),
            model=model.name if model else None,
            device=model.device if model else None,
            has_tracker=model.has_tracker if model else None,
            caches=(*self._shelf.uses(), *self._worker.language_use(), self._store.use()),
            running=running,
            queued=queued,
            finished=self._queue.finished,
        )
        return JSONResponse(asdict(status))

    async def _proof(self, request: Request) -> Response:
        del request
        return JSONResponse({"path": str(self._store.proof_path())})

    async def _offer(self, request: Request) -> Response:
        share = self._memory.share()
        try:
            data = await read_body(request, _MAX_OFFER_BYTES, share)
        finally:
            share.give_back()
        offer = decode(data, VolumeUpload, most_bytes=_MAX_OFFER_BYTES, finite=True)
        if self._store.holds(offer.content_hash):
            return JSONResponse({"known": True})
        ticket, path = await run_in_threadpool(self._store.expect, offer)
        local = self._store.is_proof(offer.proof)
        return JSONResponse({"known": False, "ticket": ticket, "path": str(path) if local else None})

    async def _receive(self, request: Request) -> Response:
        ticket = request.path_params["ticket"]
        self._store.check_expected(ticket)
        unpacker = Unpacker(request, self._store.budget)

        def append(gathered: bytes) -> None:
            for piece in unpacker.unpack(gathered):
                self._store.append(ticket, piece)

        try:
            async for gathered in read_pieces(request):
                await run_in_threadpool(append, gathered)
            unpacker.end()
        except InputError:
            self._store.drop(ticket)
            raise
        return JSONResponse({})

    async def _drop(self, request: Request) -> Response:
        self._store.drop(request.path_params["ticket"])
        return JSONResponse({})

    async def _complete(self, request: Request) -> Response:
        await run_in_threadpool(self._store.complete, request.path_params["ticket"])
        return JSONResponse({})

    async def _submit(self, request: Request) -> Response:
        share = self._memory.share()
        try:
            return await self._submitted(request, share)
        except BaseException:
            share.give_back()
            raise

    async def _submitted(self, request: Request, share: BodyShare) -> Response:
        data = await read_body(request, MAX_REQUEST_BYTES, share)
        share.add(unpacked_bytes(data))
        order = await run_in_threadpool(read_order, data, self._store.budget)
        volume = self._volume(order.volume)
        examples = {
            concept: tuple(Example(self._volume(one.volume), one.mask, one.slices) for one in group)
            for concept, group in order.examples.items()
        }
        check_masks(order, volume)
        asked = replace(order.request, examples=examples)
        model = order.model if self._store.is_proof(order.proof) else installed_source(order.model)
        if model != PICK_ADAPTER:  # what it will be able to do is known when it is picked
            await run_in_threadpool(self._shelf.check, model, asked, volume)
        frames = EventStream(order.compress)
        self._queue.put(QueuedJob(order.id, order.client, SegmentWork(order, volume, asked, model), frames.tell))
        _log.info("job %s: submitted, %d concepts", order.id[:8], len(order.request.concepts))

        return self._stream(frames, request, order.id, share)

    async def _ask(self, request: Request) -> Response:
        share = self._memory.share()
        try:
            data = await read_body(request, MAX_QUESTION_BYTES, share)
            share.add(unpacked_bytes(data))
            order = await run_in_threadpool(read_question, data)
            if not self._store.is_proof(order.proof):
                raise InputError(
                    "A language model is named by its folder, which only a client on the engine's own machine can do; "
                    "use the rules or a server."
                )
            frames = EventStream(False)
            self._queue.put(QueuedJob(order.id, order.client, order, frames.tell))
            _log.info("job %s: submitted, a question", order.id[:8])
            return self._stream(frames, request, order.id, share)
        except BaseException:
            share.give_back()
            raise

    def _stream(self, frames: EventStream, request: Request, job: str, share: BodyShare) -> Response:
        def end() -> None:
            self._queue.cancel(job)
            share.give_back()

        return EventStreamResponse(frames.until_the_end(request), end)

    def _volume(self, sent: VolumeRef) -> Volume:
        """A volume that was sent, under the name that a job has for it.

        Raises:
            InputError: it is not there, or no more.
        """
        return self._store.get(sent.content_hash).renamed(sent.name, sent.messages, sent.is_sequence)

    async def _cancel(self, request: Request) -> Response:
        return JSONResponse({"known": self._queue.cancel(request.path_params["job"])})

    async def _join(self, request: Request) -> Response:
        if self._queue.closed:
            raise InputError("The engine is ending; start it again.")
        self._parents.add(ProcessId.of(_process_number(request)))
        return JSONResponse({})

    async def _leave(self, request: Request) -> Response:
        self._parents.remove(_process_number(request))
        ending = self._parents.are_gone
        if ending:
            self._end()
        return JSONResponse({"ending": ending})

    async def _unload(self, request: Request) -> Response:
        del request
        self._worker.unload()
        return JSONResponse({})


def _process_number(request: Request) -> int:
    """The process that a path names.

    Raises:
        InputError: no process can have that number.
    """
    text = request.path_params["pid"]
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise InputError("A process is named by its number; send that.")
    return int(text)
