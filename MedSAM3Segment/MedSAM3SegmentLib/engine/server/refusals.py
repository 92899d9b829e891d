"""What a service answers where it refuses: one sentence, and a status that says whose fault it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from MedSAM3SegmentLib.engine.protocol.events import Failed, FailureKind, refusal_body
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.messages.message import message

from .body import BusyError, TooLargeError

_log = logging.getLogger(__name__)


async def _refuse(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, MedSAM3Error)
    status = 413 if isinstance(error, TooLargeError) else 503 if isinstance(error, BusyError) else 400
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


#: By the errors that an app raises.
REFUSALS: Mapping[Any, Any] = {
    MedSAM3Error: _refuse,
    HTTPException: _refuse_http,
    MemoryError: _refuse_size,
    Exception: _refuse_defect,
}
