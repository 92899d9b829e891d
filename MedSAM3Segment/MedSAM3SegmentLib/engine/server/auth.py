"""Who may talk to a service: whoever sends the token, in a head of usual size."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from MedSAM3SegmentLib.engine.protocol.challenge import HELLO
from MedSAM3SegmentLib.engine.protocol.events import Failed, refusal_body
from MedSAM3SegmentLib.messages.message import Message, message

from .connections import CONNECTION

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: Most bytes of a request's line and header fields, and most fields; a client's have a few hundred bytes.
MOST_HEAD_BYTES = 16 * 2**10
MOST_FIELDS = 64


class TokenAuthMiddleware:
    """Lets nothing through without the token.

    Args:
        app: what is behind it.
        token: what ``Authorization: Bearer`` must hold.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            status, words = refusal
            await JSONResponse(refusal_body(Failed(words)), status_code=status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, Message] | None:
        """The status and the sentence that a request is refused with; None lets it through."""
        if _is_long(scope):
            return 431, message("The head of a request is longer than the engine takes; send shorter header fields.")
        if scope["path"] == HELLO:
            return None
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._expected):
            return 401, message("The token is missing or wrong; copy it from where the engine was started.")
        connection = scope.get("state", {}).get(CONNECTION)
        if connection is not None and not connection.admit():
            return 503, message("The engine has too many connections; try again in a moment.")
        return None


def _is_long(scope: Scope) -> bool:
    fields = scope["headers"]
    length = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return len(fields) > MOST_FIELDS or length + sum(len(name) + len(value) for name, value in fields) > MOST_HEAD_BYTES
