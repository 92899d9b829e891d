"""One way to a language model's server: TLS or loopback, no proxies, no saved logins, no redirects, bounded answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dialects import chat_url
from .protocol import BackendError

if TYPE_CHECKING:
    import requests

#: Where the key is read from; it is never an argument and never written anywhere.
KEY_VARIABLE = "MEDSAM3_LANGUAGE_KEY"

#: Seconds: to connect, and to wait for the next bytes.
_CONNECT_S, _READ_S = 5.0, 120.0

#: Retries on 429 and 5xx, and the longest pause that a server may ask for, seconds.
_RETRIES, _LONGEST_PAUSE_S = 2, 30.0

#: More of an answer than this is not read.
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Transport:
    """Sends questions to one server.

    Attributes:
        address: of the server.
        host: its name, for sentences.
        model: name of the model, for sentences.
        key: goes to this host only; empty for none.
        certificate: PEM file of the authority that signed it, or None for the well-known ones.
    """

    address: str
    host: str
    model: str
    key: str
    certificate: Path | None

    def post(self, body: Mapping[str, Any], given_up: threading.Event) -> tuple[int, Mapping[str, Any], str]:
        """Status, JSON object and text of an answer to a question; 429 and 5xx are tried again.

        Args:
            given_up: set where nobody waits for the answer any more.

        Raises:
            BackendError: there is none that can be read.
        """
        import requests

        for attempt in range(_RETRIES + 1):
            try:
                answer, text = self._exchange("POST", chat_url(self.address), json.dumps(body).encode())
            except requests.RequestException as error:
                if attempt < _RETRIES and isinstance(error, requests.ConnectionError) and not _is_final(error):
                    given_up.wait(0.3)
                    continue
                raise self._unreachable(error) from None
            if answer.status_code not in (429, 500, 502, 503, 504) or attempt == _RETRIES or given_up.is_set():
                break
            given_up.wait(_pause(answer.headers.get("Retry-After"), attempt))
        if 300 <= answer.status_code < 400:
            raise BackendError(
                "{host} redirects elsewhere, which is not followed; give the final address.", host=self.host
            )
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            if answer.status_code < 400:
                raise BackendError("{host} answered with something else than JSON; check the address.", host=self.host)
            data = {}
        if answer.status_code < 400 and isinstance(data.get("error"), dict | str) and "choices" not in data:
            return 400, data, text
        return answer.status_code, data, text

    def get(self, url: str) -> None:
        """Make sure that a GET is answered at all.

        Raises:
            BackendError: it is not, or the key is refused.
        """
        import requests

        try:
            answer, text = self._exchange("GET", url, None)
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        if answer.status_code in (401, 403):
            raise self.refusal(answer.status_code, text)

    def _exchange(self, method: str, url: str, data: bytes | None) -> tuple[requests.Response, str]:
        import requests

        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
            if self.host.endswith(".azure.com"):
                headers["api-key"] = self.key
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=(_CONNECT_S, _READ_S),
                allow_redirects=False,
                stream=True,
                verify=str(self.certificate) if self.certificate else True,
            )
            stream = BytesIO()
            for piece in answer.iter_content(65536):
                stream.write(piece)
                if stream.tell() > _MOST_BYTES:
                    raise BackendError(
                        "{host} sends more than {most} MB; that is no answer.",
                        host=self.host,
                        most=_MOST_BYTES // 2**20,
                    )
            return answer, stream.getvalue().decode("utf-8", "replace")

    def refusal(self, status: int, text: str) -> BackendError:
        """The sentence for an answer with an error's status."""
        said = " ".join(text.split())[:160]
        if status in (401, 403):
            return BackendError(
                "{host} does not accept the key; put the right one into {name}.", host=self.host, name=KEY_VARIABLE
            )
        if status == 404:
            return BackendError(
                "{host} has no model '{model}', or the address is wrong ({said}).",
                host=self.host,
                model=self.model,
                said=said,
            )
        if status == 429:
            return BackendError("{host} takes no more questions now (429); try again later.", host=self.host)
        return BackendError(
            "{host} answered with HTTP status {status} ({said}).", host=self.host, status=status, said=said
        )

    def _unreachable(self, error: Exception) -> BackendError:
        import requests

        if isinstance(error, requests.exceptions.SSLError):
            return BackendError(
                "The certificate of {host} is not trusted here; give its authority (--certificate).", host=self.host
            )
        return BackendError(
            "The language model at {host} does not answer ({kind}).", host=self.host, kind=type(error).__name__
        )


def _is_final(error: Exception) -> bool:
    """Whether another try would say the same: a wrong certificate, a refused connection."""
    import requests

    return isinstance(error, requests.exceptions.SSLError | requests.exceptions.ConnectTimeout) or "refused" in str(
        error
    )


def _pause(asked: str | None, attempt: int) -> float:
    try:
        seconds = float(asked) if asked is not None else 0.5 * 2**attempt
    except ValueError:
        seconds = 0.5 * 2**attempt
    return min(max(seconds, 0.0), _LONGEST_PAUSE_S) if seconds == seconds else 1.0
