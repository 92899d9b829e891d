"""A language model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, LM Studio, OpenAI, Gemini, Azure.

Each question stands alone. Proxies, saved logins and redirects are off, the key goes to its host only, and a call is
abandoned within a second when the user cancels.
"""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from MedSAM3SegmentLib.errors import Cancelled, EngineError, InputError
from MedSAM3SegmentLib.progress import CancelCheck

from .dialects import (
    body_of,
    content_of,
    models_url,
    parameters_of,
    usage_of,
    with_more_tokens,
    without_refused,
    without_schema,
)
from .protocol import BackendError, Question, Reply
from .questions import color_question
from .transport import KEY_VARIABLE, Transport
from .waiting import wait_for

#: Seconds for a whole question.
_WHOLE_S = 300.0

#: Bodies that are tried for one question: each refused field once, a higher cap, no schema.
_MOST_BODIES = 6


class ServerBackend:
    """Asks a server.

    Args:
        address: of the server, with or without ``/v1`` and ``/chat/completions``.
        model: name of the model, as the server knows it; for Azure the deployment.
        certificate: PEM file of the authority that signed it, or None for the well-known ones.
        votes: how often a verdict is asked for.
        key: the server's key; from the environment by default.

    Raises:
        InputError: the address is none, holds a key, or would send in the clear.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        certificate: Path | None = None,
        votes: int = 3,
        key: str | None = None,
    ) -> None:
        parts = urlsplit(address)
        try:
            port_fits = parts.port is None or parts.port > 0
        except ValueError:
            port_fits = False
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits or not model.strip():
            raise InputError(
                "'{address}' is no address of a language model; give URL#MODEL, such as http://127.0.0.1:11434/v1#model.",
                address=f"{parts.scheme}://{parts.hostname or ''}",
            )
        if parts.username or parts.password or parts.query:
            raise InputError(
                "The address of the language model holds a login or a query; leave it out and put the key into {name}.",
                name=KEY_VARIABLE,
            )
        self.host = parts.hostname
        if parts.scheme == "http" and not self.is_loopback:
            raise InputError(
                "The language model at {host} is on another machine; use an address with https://.", host=self.host
            )
        if certificate is not None and not certificate.is_file():
            raise InputError("The certificate {path} does not exist; give a PEM file.", path=certificate)
        self.name = f"{model} at {self.host}"
        self.votes = votes
        self.sees_pictures = True
        self.answers = True
        self._address, self._model = address, model
        key = os.environ.get(KEY_VARIABLE, "") if key is None else key
        self._transport = Transport(address, self.host, model, key, certificate)
        # Fields that the server refused once are left out from then on.
        self._refused: list[str] = []

    @property
    def is_loopback(self) -> bool:
        """Whether the server is this computer; an address in the local network counts as elsewhere."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def sends_to(self) -> str:
        """The host that questions leave this computer for; whoever asks sees to it that somebody agreed."""
        return "" if self.is_loopback else self.host

    def probe(self) -> None:
        """Find out at the start whether the server answers, and whether its model sees pictures (a red square does).

        Raises:
            EngineError: it does not answer.
        """
        try:
            self._transport.get(models_url(self._address))
            reply = self.ask(color_question(_red_square()))
        except BackendError as error:
            if "picture" in str(error):
                self.sees_pictures, self.votes = False, 0
                return
            raise EngineError(str(error)) from None
        if not reply.text.strip():
            return
        if "red" not in reply.text.lower():
            self.sees_pictures, self.votes = False, 0

    def ask(self, question: Question, cancel: CancelCheck | None = None) -> Reply:
        """The reply to a question.

        Raises:
            BackendError: the server does not answer, or refuses.
            Cancelled: ``cancel`` said so; the call is abandoned.
        """
        try:
            return wait_for(lambda given_up: self._converse(question, given_up), cancel, _WHOLE_S)
        except (BackendError, Cancelled):
            raise
        except TimeoutError:
            raise BackendError(
                "{host} did not answer within {count} seconds.", host=self.host, count=round(_WHOLE_S)
            ) from None
        except Exception as error:  # whatever an answer leads to ends the questions, not the session
            raise BackendError(
                "{host} gave an answer that cannot be read ({kind}).", host=self.host, kind=type(error).__name__
            ) from None

    def _converse(self, question: Question, given_up: threading.Event) -> Reply:
        """Ask until there is a text, with what the server refuses left out."""
        body = body_of(question, self._model, self.host)
        for refusal in self._refused:
            body = without_refused(body, refusal) or body
        started = time.monotonic()
        asked_for_more = False
        answer: Mapping[str, Any] = {}
        used: list[tuple[int, int] | None] = []
        for _ in range(_MOST_BODIES):
            status, answer, text = self._transport.post(body, given_up)
            if status in (400, 404, 422):
                changed = without_refused(body, text)
                if changed is not None:
                    self._refused.append(text)
                    body = changed
                    continue
                if question.picture and any(
                    word in text.lower() for word in ("image", "vision", "multimodal", "mmproj")
                ):
                    raise BackendError("The model at {host} takes no pictures.", host=self.host)
            if status >= 400:
                raise self._transport.refusal(status, text)
            used.append(usage_of(answer))
            said, ended = content_of(answer)
            if said.strip() or "choices" not in answer:
                break
            if ended == "length" and not asked_for_more:
                body, asked_for_more = with_more_tokens(body), True
            elif "response_format" in body:
                body = without_schema(body)
            else:
                break
        if "choices" not in answer:
            raise BackendError("{host} answered, but not as /chat/completions does; check the address.", host=self.host)
        said, _ = content_of(answer)
        model = answer.get("model")
        milliseconds = round(1000 * (time.monotonic() - started))
        name = model[:200] if isinstance(model, str) else ""
        reported = [one for one in used if one is not None]
        usage = (sum(one[0] for one in reported), sum(one[1] for one in reported)) if reported else None
        if len(reported) < len(used):
            usage = None
        return Reply(said, name, usage, milliseconds, parameters_of(body), len(used))


def _red_square() -> bytes:
    from PIL import Image

    stream = BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(stream, "PNG")
    return stream.getvalue()
