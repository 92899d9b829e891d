"""The service: what each HTTP request does. ``serving`` puts it on a socket."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.engine.process_id import ParentWatch, ProcessId
from MedSAM3SegmentLib.engine.protocol.challenge import HELLO, challenge_response
from MedSAM3SegmentLib.engine.protocol.codec import decode
from MedSAM3SegmentLib.engine.protocol.events import Failed, FailureKind, refusal_body
from MedSAM3SegmentLib.engine.protocol.messages import (
    PROTOCOL,
    JobRequest,
    VolumeRef,
    VolumeUpload,
)
from MedSAM3SegmentLib.engine.protocol.status import EngineStatus
from MedSAM3SegmentLib.errors import InputError, MedSAM3Error
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.resolve import installed_source
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.volume import Volume

from .auth import (
    TokenAuthMiddleware,
    TooLargeError,
    body_of,
    pieces_of,
)
from .event_stream import EventStream, EventStreamResponse
from .job_queue import JobQueue, QueuedJob
from .model_cache import ModelCache
from .volume_store import VolumeStore
from .worker import Worker

_log = logging.getLogger(__name__)

#: Most bytes of a job's order, packed: prompts and masks are sent as bits.
MAX_REQUEST_BYTES = 256 * 2**20

#: Bytes of a volume that are written at a time.
_CHUNK_BYTES = 2**20

_ID = re.compile(r"[0-9a-f]{32}")


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
                Route("/jobs/{job}", self._cancel, methods=["DELETE"]),
                Route("/parents/{pid:int}", self._join, methods=["POST"]),
                Route("/parents/{pid:int}", self._leave, methods=["DELETE"]),
                Route("/unload", self._unload, methods=["POST"]),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
                Middleware(TokenAuthMiddleware, token=token),
            ],
            exception_handlers={
                MedSAM3Error: _refuse,
                HTTPException: _refuse_http,
                MemoryError: _refuse_size,
                Exception: _refuse_defect,
            },
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
        if not _ID.fullmatch(challenge):
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
            caches=(*self._shelf.uses(), self._store.use()),
            running=running,
            queued=queued,
            finished=self._queue.finished,
        )
        return JSONResponse(asdict(status))

    async def _proof(self, request: Request) -> Response:
        del request
        return JSONResponse({"path": str(self._store.proof_path())})

    async def _offer(self, request: Request) -> Response:
        offer = decode(await body_of(request, 2**16), VolumeUpload, most_bytes=2**16, finite=True)
        if self._store.holds(offer.content_hash):
            return JSONResponse({"known": True})
        ticket, path = self._store.expect(offer)
        local = self._store.is_proof(offer.proof)
        return JSONResponse({"known": False, "ticket": ticket, "path": str(path) if local else None})

    async def _receive(self, request: Request) -> Response:
        ticket = request.path_params["ticket"]
        gathered = bytearray()
        try:
            async for piece in pieces_of(request, self._store.budget):
                gathered += piece
                if len(gathered) >= _CHUNK_BYTES:
                    await run_in_threadpool(self._store.append, ticket, bytes(gathered))
                    gathered.clear()
            await run_in_threadpool(self._store.append, ticket, bytes(gathered))
        except MedSAM3Error:
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
        data = await body_of(request, MAX_REQUEST_BYTES)
        order = await run_in_threadpool(_read_order, data, self._store.budget)
        volume = self._volume(order.volume)
        examples = {
            concept: tuple(Example(self._volume(one.volume), one.mask, one.slices) for one in group)
            for concept, group in order.examples.items()
        }
        _check_masks(order, volume)
        asked = replace(order.request, examples=examples)
        model = order.model if self._store.is_proof(order.proof) else installed_source(order.model)
        await run_in_threadpool(self._shelf.check, model, asked)
        frames = EventStream(order.compress)
        self._queue.put(QueuedJob(order, volume, asked, model, frames.tell))
        _log.info("job %s: submitted, %d concepts", order.id[:8], len(order.request.concepts))
        return EventStreamResponse(frames.until_the_end(request), lambda: self._queue.cancel(order.id))

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
        self._parents.add(ProcessId.of(request.path_params["pid"]))
        return JSONResponse({})

    async def _leave(self, request: Request) -> Response:
        self._parents.remove(request.path_params["pid"])
        ending = self._parents.are_gone
        if ending:
            self._end()
        return JSONResponse({"ending": ending})

    async def _unload(self, request: Request) -> Response:
        del request
        self._worker.unload()
        return JSONResponse({})


def _read_order(data: bytes, most_bytes: int) -> JobRequest:
    order = decode(data, JobRequest, most_bytes, finite=True)
    if not _ID.fullmatch(order.id) or not _ID.fullmatch(order.client):
        raise InputError("A job's id and its client have 32 hexadecimal digits; send them.")
    if not order.model.isprintable() or not order.device.isprintable():
        raise InputError("The name of a model or a device holds odd characters; choose another one.")
    return order


def _check_masks(order: JobRequest, volume: Volume) -> None:
    request = order.request
    masks = [mark.mask for prompts in request.prompts.values() for mark in prompts.masks]
    for mask in (*masks, *([request.inside] if isinstance(request.inside, np.ndarray) else [])):
        if mask.shape != volume.grid.shape:
            raise InputError(
                "A mask has shape {size}, its volume {volume_size}; draw it on this volume.",
                size=str(mask.shape),
                volume_size=str(volume.grid.shape),
            )


async def _refuse(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, MedSAM3Error)
    status = 413 if isinstance(error, TooLargeError) else 400
    return _refusal(Failed.of(error), status)


async def _refuse_http(request: Request, error: Exception) -> Response:
    del request
    status = getattr(error, "status_code", 400)
    return _refusal(
        Failed(
            message(
                "The engine does not do that (HTTP status {status}); use the same version at both ends.", status=status
            )
        ),
        status,
    )


async def _refuse_size(request: Request, error: Exception) -> Response:
    del request, error
    words = message(
        "There is not enough memory in the engine for what was sent; send less, or close other programs there."
    )
    return _refusal(Failed(words, FailureKind.INPUT), 413)


async def _refuse_defect(request: Request, error: Exception) -> Response:
    del request
    _log.warning("a request failed: %s", type(error).__name__)
    return _refusal(
        Failed(
            message(
                "Something went wrong in the engine that should not ({kind}); try again.", kind=type(error).__name__
            )
        ),
        500,
    )


def _refusal(failed: Failed, status: int) -> Response:
    return JSONResponse(refusal_body(failed), status_code=status)
