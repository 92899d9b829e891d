"""No connection carries the token before its other end has shown that it knows it.

After a crash another program, even another user's, may listen at the same port. So each connection begins with a
challenge (``protocol.challenge``), whatever opens it, and what comes back is read for a limited time only.
"""

from __future__ import annotations

import hmac
import io
import json
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from MedSAM3SegmentLib.engine.protocol.challenge import HELLO, challenge_response
from MedSAM3SegmentLib.engine.protocol.messages import PROTOCOL
from MedSAM3SegmentLib.errors import EngineError, MedSAM3Error

#: Most bytes of an answer to a challenge.
_MAX_ANSWER_BYTES = 2**16

#: How often a connection is tried that the other end closes at once: a service does so where strangers crowd in.
_TRIES = 3
_SECONDS_BETWEEN_TRIES = 0.2

#: Makes an error of a status and a body that are no answer to a challenge.
Refusal = Callable[[int, bytes], MedSAM3Error]


@dataclass(frozen=True)
class Challenger:
    """Asks whoever is at an address for a proof.

    Attributes:
        address: of the service.
        token: what it must know.
        seconds: for the whole answer.
        refusal: what a status other than 200 means.
    """

    address: str
    token: str
    seconds: float
    refusal: Refusal

    def ask(self, line: socket.socket, host: str) -> bool:
        """Ask over a connection that is open.

        Args:
            host: as the request calls the machine.

        Returns:
            Whether the other end closes the connection now, as some proxies do.

        Raises:
            EngineError: the token is not known there, or what answers is no engine of this version.
            OSError: nothing comes that could be an answer.
        """
        challenge = secrets.token_hex(16)
        url = self.address.rstrip("/") + HELLO
        path = requests.Request("GET", url, params={"challenge": challenge}).prepare().path_url
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n\r\n"
        usual = line.gettimeout()
        try:
            line.settimeout(self.seconds)
            line.sendall(head.encode())
            status, body, closes = _read_answer(line, time.monotonic() + self.seconds)
        finally:
            line.settimeout(usual)
        if status != 200:
            raise self.refusal(status, body)
        self._check(body, challenge)
        return closes

    def _check(self, body: bytes, challenge: str) -> None:
        try:
            plain = json.loads(body)
            proof, protocol = str(plain["proof"]), plain["protocol"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise EngineError(
                "What answers at {address} is no engine; check the address.", address=self.address
            ) from None
        if not hmac.compare_digest(proof.encode(errors="replace"), challenge_response(self.token, challenge).encode()):
            raise EngineError(
                "What answers at {address} does not know the token, which was therefore not sent; copy address and "
                "token again from where the engine was started.",
                address=self.address,
            )
        if protocol != PROTOCOL:
            raise EngineError(
                "The engine at {address} is of another version; use the same version at both ends.",
                address=self.address,
            )


class ProvingAdapter(HTTPAdapter):
    """Opens connections for requests, each of which has been challenged.

    Args:
        challenger: asks for the proof.
    """

    def __init__(self, challenger: Challenger) -> None:
        self._challenger = challenger
        super().__init__()

    def init_poolmanager(self, *given: Any, **named: Any) -> None:
        super().init_poolmanager(*given, **named)  # type: ignore[no-untyped-call]

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = _challenged(HTTPConnection, self._challenger)

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = _challenged(HTTPSConnection, self._challenger)

        self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


def _challenged(kind: type[Any], challenger: Challenger) -> type[Any]:
    class Challenged(kind):  # type: ignore[misc]
        def connect(self) -> None:
            for left in reversed(range(_TRIES)):
                super().connect()
                try:
                    if challenger.ask(self.sock, self._host()):
                        self._connect_again()
                    return
                except ConnectionError:
                    self.sock.close()
                    if not left:
                        raise
                    time.sleep(_SECONDS_BETWEEN_TRIES)
                except BaseException:
                    self.sock.close()
                    raise

        def _connect_again(self) -> None:
            """Only where the certificate says who is there; else another program could be by now."""
            if not self.is_verified:
                raise ConnectionError("The connection ended after the proof.")
            self.sock.close()
            super().connect()

        def _host(self) -> str:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return host if self.port == self.default_port else f"{host}:{self.port}"

    return Challenged


def _read_answer(line: socket.socket, deadline: float) -> tuple[int, bytes, bool]:
    """The status and the body that come, and whether the connection ends with them.

    Raises:
        OSError: nothing comes in time, or it is no HTTP.
    """
    # It takes nothing of a socket but a file.
    answer = HTTPResponse(cast(socket.socket, _LimitedLine(line, deadline)), method="GET")
    try:
        answer.begin()
        return answer.status, answer.read(_MAX_ANSWER_BYTES + 1), answer.will_close
    except TimeoutError:
        raise
    except (HTTPException, ValueError, OSError) as error:
        # TLS that ends early is no matter of certificates.
        raise ConnectionError(type(error).__name__) from None
    finally:
        answer.close()


class _LimitedLine(io.RawIOBase):
    """What comes over a connection until a moment, and up to a size."""

    def __init__(self, line: socket.socket, deadline: float) -> None:
        self._line = line
        self._deadline = deadline
        self._left = 2 * _MAX_ANSWER_BYTES

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if self._left <= 0:
            return 0
        self._line.settimeout(seconds)
        count = self._line.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count
