"""Connections to a service: those of strangers have a time limit and give way, those that show the token do not.

A connection is a stranger's until a request on it has the token, and again once that request is answered. Strangers
are counted from the moment the system accepts them, so that one that never begins TLS is one of them too.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Most connections at once whose request has the token; each running or waiting job holds one.
MOST_CONNECTIONS = 1200

#: Most connections at once without it; what is asked for in time passes this by within milliseconds.
MOST_STRANGERS = 400

#: Seconds for a connection to send a whole head with the token.
TIMEOUT_S = 30.0

#: Seconds between two looks at strangers, and at what else is late.
_INTERVAL_S = 1.0

#: Under which name the app finds a connection in the state of a request.
CONNECTION = "connection"

#: What stands for a connection: a socket, or asyncio's view of one.
_Socket = Any


@dataclass(frozen=True, eq=False)
class _Stranger:
    socket: _Socket
    host: str
    since: float


class Strangers:
    """The connections that have not shown the token yet. All methods are called in the service's event loop.

    Args:
        most: how many there may be; a new one takes the place of the oldest of the machine that has most of them.
        tidy: called about once a second, while there is a loop.
    """

    def __init__(self, most: int = MOST_STRANGERS, tidy: Callable[[], None] = lambda: None) -> None:
        self.most = most
        self._tidy = tidy
        self._known: dict[int, _Stranger] = {}
        self._is_looking = False

    def __len__(self) -> int:
        self._forget_closed()
        return len(self._known)

    def watch(self, connection: _Socket, host: str) -> None:
        """Count a connection as a stranger's from now on."""
        number = connection.fileno()
        if number < 0:
            return
        self._known.pop(number, None)
        self._known[number] = _Stranger(connection, host, time.monotonic())
        if len(self._known) > self.most:
            self._forget_closed()
        while len(self._known) > self.most:
            self._close(self._oldest())
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_later(_INTERVAL_S, self._look)

    def is_watched(self, connection: _Socket) -> bool:
        return connection.fileno() in self._known

    def forget(self, connection: _Socket) -> None:
        """Leave a connection alone: it showed the token, or is closed."""
        self._known.pop(connection.fileno(), None)

    def _look(self) -> None:
        asyncio.get_running_loop().call_later(_INTERVAL_S, self._look)
        self._forget_closed()
        for number in [n for n, one in self._known.items() if time.monotonic() - one.since > TIMEOUT_S]:
            self._close(number)
        self._tidy()

    def _oldest(self) -> int:
        hosts = Counter(one.host for one in self._known.values())
        crowd = hosts.most_common(1)[0][0]
        return next(number for number, one in self._known.items() if one.host == crowd)

    def _close(self, number: int) -> None:
        """Close a connection for both ends; asyncio then lets go of it."""
        with suppress(OSError):
            self._known.pop(number).socket.shutdown(socket.SHUT_RDWR)

    def _forget_closed(self) -> None:
        for number in [n for n, one in self._known.items() if one.socket.fileno() != n]:
            del self._known[number]


class Listener(socket.socket):
    """A listening socket that counts what it accepts.

    Args:
        strangers: where connections are counted; set before the first is accepted.
    """

    strangers: Strangers | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self.strangers is not None:
            self.strangers.watch(connection, str(address[0]))
        return connection, address


class Admitted:
    """How many connections there are whose request has the token.

    Args:
        most: how many there may be.
    """

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self.most = most
        self.count = 0


class WatchedProtocol(H11Protocol):
    """uvicorn's HTTP, which itself waits for the head of a connection's first request for as long as it takes.

    Args:
        strangers, admitted: where the connection is counted.
        given: what uvicorn gives to a protocol.
    """

    def __init__(self, strangers: Strangers, admitted: Admitted, **given: Any) -> None:
        super().__init__(**given)
        self._strangers, self._admitted = strangers, admitted
        self._is_admitted = False
        self.app_state = {**self.app_state, CONNECTION: self}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Not a second time: the handshake of TLS is a part of the time there is.
        if not self._strangers.is_watched(self._socket()):
            self._watch()

    def admit(self) -> bool:
        """Count the connection as one whose request has the token; returns whether there is room."""
        if self._is_admitted:
            return True
        if self._admitted.count >= self._admitted.most:
            return False
        self._is_admitted = True
        self._admitted.count += 1
        self._strangers.forget(self._socket())
        return True

    def on_response_complete(self) -> None:
        if self._dismiss() and not self.transport.is_closing():
            self._watch()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dismiss()
        self._strangers.forget(self._socket())
        super().connection_lost(exc)

    def _dismiss(self) -> bool:
        was_admitted, self._is_admitted = self._is_admitted, False
        self._admitted.count -= was_admitted
        return was_admitted

    def _watch(self) -> None:
        self._strangers.watch(self._socket(), self.client[0] if self.client else "")

    def _socket(self) -> _Socket:
        return self.transport.get_extra_info("socket")
