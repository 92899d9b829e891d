"""One client's way to a service: HTTP with a token, and one sentence for whatever goes wrong on the way."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from MedSAM3SegmentLib.engine.protocol.challenge import HELLO
from MedSAM3SegmentLib.engine.protocol.events import refusal_in
from MedSAM3SegmentLib.errors import EngineError, InputError, MedSAM3Error

if TYPE_CHECKING:
    import requests

#: Seconds to wait for a connection, and for the next bytes; a service gives a sign of life every few seconds.
TIMEOUT = (5.0, 60.0)

#: Seconds to wait for the proof of a service that may be none.
_PROOF_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class HttpConnection:
    """Where a service is, and what opens it.

    Attributes:
        address: such as ``http://127.0.0.1:8765``.
        token: the service's.
        certificate: a PEM file to check a TLS service by, or empty for the well-known authorities.

    Raises:
        InputError: the address is none or would send images in the clear, or token or certificate cannot be used.
    """

    address: str
    token: str
    certificate: str = ""

    def __post_init__(self) -> None:
        parts = _parts_of(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
            raise InputError(
                "'{address}' is no engine's address; give one such as http://127.0.0.1:8765.", address=self.address
            )
        if not self.token.isascii() or not self.token.isprintable() or not self.token:
            raise InputError("The engine's token is empty or holds odd characters; copy it again.")
        if parts.scheme == "http" and not self.is_loopback:
            # A token and a patient's images must not travel in the clear.
            raise InputError(
                "The engine at {address} is on another machine; use an address with https://.", address=self.address
            )
        if self.certificate and not Path(self.certificate).is_file():
            raise InputError(
                "The certificate {certificate} does not exist; give the engine's PEM file.",
                certificate=self.certificate,
            )

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine."""
        host = _parts_of(self.address).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def get(self, path: str, timeout: tuple[float, float] = TIMEOUT) -> dict[str, Any]:
        """The JSON object at ``path``.

        Raises:
            EngineError: the service cannot be reached.
            MedSAM3Error: what the service answers, by its kind.
        """
        with self._answer("GET", path, timeout=timeout) as answer:
            return _object_in(self.address, answer)

    def send(
        self, method: str, path: str, data: bytes | Iterable[bytes] = b"", encoding: str = "", patience: float = 0.0
    ) -> dict[str, Any]:
        """Send bytes and take a JSON object; raises as ``get`` does.

        Args:
            patience: seconds to wait for the answer beyond the usual ones.
        """
        headers = {"Content-Encoding": encoding} if encoding else {}
        timeout = (TIMEOUT[0], TIMEOUT[1] + patience)
        with self._answer(method, path, data=data, headers=headers, timeout=timeout) as answer:
            return _object_in(self.address, answer)

    @contextmanager
    def stream(self, path: str, data: bytes) -> Iterator[Iterator[bytes]]:
        """Send bytes and read what comes back piece by piece; raises as ``get`` does."""
        import requests

        with self._answer("POST", path, data=data, stream=True) as answer:

            def pieces() -> Iterator[bytes]:
                try:
                    # As they come: the service flushes each event.
                    yield from answer.raw.stream(2**20, decode_content=False)
                except (requests.RequestException, OSError, _transport_errors()) as error:
                    raise EngineError(
                        "The engine at {address} ended before the job was done, or the line to it was cut "
                        "({kind}); try again.",
                        address=self.address,
                        kind=type(error).__name__,
                    ) from None

            yield pieces()

    def prove(self) -> None:
        """Have the service show that it knows the token, and send it nothing.

        Raises:
            EngineError: it cannot be reached, or does not.
        """
        with self._session(_PROOF_TIMEOUT_S) as session, self._errors_in_words():
            # Opening the connection is what asks for the proof.
            session.get(self.address.rstrip("/") + HELLO, timeout=(2.0, _PROOF_TIMEOUT_S), allow_redirects=False)

    @contextmanager
    def _answer(self, method: str, path: str, **options: Any) -> Iterator[requests.Response]:
        options = {"timeout": TIMEOUT, **options}
        with self._session(TIMEOUT[1]) as session:
            headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
            with self._errors_in_words():
                answer = session.request(
                    method, self.address.rstrip("/") + path, headers=headers, allow_redirects=False, **options
                )
            with answer:
                if answer.status_code >= 300:
                    raise _refusal(self.address, answer.status_code, _body_of(answer))
                yield answer

    @contextmanager
    def _session(self, seconds: float) -> Iterator[requests.Session]:
        """What opens connections, each of which must prove within ``seconds`` that the token is known there."""
        import requests

        from .token_proof import Challenger, ProvingAdapter

        with requests.Session() as session:
            # No proxy, and no password file that would take the token's place.
            session.trust_env = False
            session.verify = self.certificate or True
            adapter = ProvingAdapter(Challenger(self.address, self.token, seconds, partial(_refusal, self.address)))
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            yield session

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        import requests

        try:
            yield
        except (requests.RequestException, _transport_errors(), OSError, ValueError) as error:
            raise _unreachable(self.address, error) from None


def knows_token(connection: HttpConnection) -> bool:
    """Whether what answers is the service that the token is of, without sending the token."""
    try:
        connection.prove()
    except MedSAM3Error:
        return False
    return True


def _parts_of(address: str) -> SplitResult:
    """The parts of an address, without any where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _transport_errors() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _has_port(parts: SplitResult) -> bool:
    """Whether the port, if one is given, can be one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _object_in(address: str, answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineError("What answers at {address} is no engine; check the address.", address=address)
    return found


def _unreachable(address: str, error: Exception) -> EngineError:
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return EngineError(
            "The certificate of the engine at {address} is not trusted here, or is for another name; use the "
            "name it was made for, and give its PEM file if no well-known authority signed it.",
            address=address,
        )
    return EngineError(
        "The engine at {address} does not answer ({kind}); see that it runs there and try again.",
        address=address,
        kind=type(error).__name__,
    )


def _body_of(answer: requests.Response) -> bytes:
    try:
        return answer.content
    except OSError:
        return b""


def _refusal(address: str, status: int, body: bytes) -> MedSAM3Error:
    """The error that a service answered with."""
    try:
        return refusal_in(json.loads(body)).error
    except (ValueError, KeyError, TypeError, RecursionError):
        return _bare_refusal(address, status)


def _bare_refusal(address: str, status: int) -> EngineError:
    """What an answer without a sentence means. It comes from a proxy, or from where nothing is read yet."""
    match status:
        case 400:
            return EngineError(
                "The engine at {address} does not go by that name; use another one, or start it with that name after "
                "--name.",
                address=address,
            )
        case 413:
            return EngineError(
                "The engine at {address} is behind a proxy that lets no volume through; raise its limit (nginx: "
                "client_max_body_size).",
                address=address,
            )
        case 502 | 504:
            return EngineError(
                "The engine at {address} does not answer the proxy that it is behind; start it there and try again.",
                address=address,
            )
        case 503:
            return EngineError(
                "The engine at {address} has too many connections, or does not answer the proxy that it is behind; "
                "try again in a moment.",
                address=address,
            )
    return EngineError(
        "The engine at {address} answered with HTTP status {status}, as no engine does; check the address.",
        address=address,
        status=status,
    )
