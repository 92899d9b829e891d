"""One client's way to a service: HTTP with a token, and one sentence for whatever goes wrong on the way."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from MedSAM3SegmentLib.engine.protocol.challenge import HELLO, challenge_response
from MedSAM3SegmentLib.engine.protocol.events import refusal_in
from MedSAM3SegmentLib.engine.protocol.messages import PROTOCOL
from MedSAM3SegmentLib.errors import EngineError, InputError, MedSAM3Error

if TYPE_CHECKING:
    import requests

#: Seconds to wait for a connection, and for the next bytes; a service gives a sign of life every few seconds.
TIMEOUT = (5.0, 60.0)


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
        parts = urlsplit(self.address)
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
        host = urlsplit(self.address).hostname or ""
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

    @contextmanager
    def _answer(self, method: str, path: str, **options: Any) -> Iterator[requests.Response]:
        import requests

        options = {"timeout": TIMEOUT, **options}
        with requests.Session() as session:
            # No proxy, and no password file that would take the token's place.
            session.trust_env = False
            session.verify = self.certificate or True
            headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
            try:
                answer = session.request(
                    method, self.address.rstrip("/") + path, headers=headers, allow_redirects=False, **options
                )
            except (requests.RequestException, OSError) as error:
                raise _unreachable(self.address, error) from None
            with answer:
                if answer.status_code >= 300:
                    raise _refusal(self.address, answer)
                yield answer


def knows_token(connection: HttpConnection) -> bool:
    """Whether what answers is the service that the token is of, without sending the token.

    After a crash another program, even another user's, may listen at the same port.
    """
    import requests

    challenge = secrets.token_hex(16)
    try:
        with requests.Session() as session:
            session.trust_env = False
            address = connection.address.rstrip("/") + HELLO
            answer = session.get(address, params={"challenge": challenge}, timeout=(2.0, 10.0), allow_redirects=False)
            plain = answer.json()
        proof, protocol = str(plain["proof"]), plain["protocol"]
    except (requests.RequestException, OSError, ValueError, KeyError, TypeError):
        return False
    return protocol == PROTOCOL and hmac.compare_digest(
        proof.encode(), challenge_response(connection.token, challenge).encode()
    )


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


def _refusal(address: str, answer: requests.Response) -> MedSAM3Error:
    """The error that a service answered with."""
    try:
        return refusal_in(answer.json()).error
    except (OSError, ValueError, KeyError, TypeError):
        return _bare_refusal(address, answer.status_code)


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
