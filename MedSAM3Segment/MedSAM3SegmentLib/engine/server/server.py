"""A service on a socket, in threads of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message

from .app import EngineApp
from .model_cache import ModelCache
from .volume_store import VolumeStore

#: Most connections at once; each running or waiting job holds one.
_MOST_CONNECTIONS = 1200

#: Seconds for a connection to ask for something; one that never does would take its place for good.
_TIMEOUT_S = 30.0

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Binding:
    """Where a service listens.

    Attributes:
        host: an address of this machine.
        port: 0 for any that is free.
        certificate, key: PEM files for TLS, or empty.
        names: other names that clients call the machine by.
    """

    host: str = "127.0.0.1"
    port: int = 0
    certificate: str = ""
    key: str = ""
    names: Sequence[str] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ((address := self._numbers()) is not None and address.is_loopback)

    @property
    def is_everywhere(self) -> bool:
        """Whether that is every address of this machine, which is no name to call it by."""
        return not self.host or ((address := self._numbers()) is not None and address.is_unspecified)

    def _numbers(self) -> IPv4Address | IPv6Address | None:
        try:
            # As the system takes it: ``0`` is an address too.
            found = socket.getaddrinfo(self.host, None, flags=socket.AI_NUMERICHOST)[0][4][0]
            return ip_address(str(found))
        except (OSError, ValueError):
            return None


class _ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP, which itself waits for the head of a connection's first request for as long as it takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_TIMEOUT_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()


class EngineServer:
    """A service that answers on a socket until it is stopped.

    Args:
        binding: where.
        token: what clients must know.
        shelf, store: what the service keeps.
        parents: processes that use the service.

    Attributes:
        address: for clients on this machine.

    Raises:
        InputError: the address cannot be listened at, or the certificate not be used.
    """

    def __init__(
        self, binding: Binding, token: str, shelf: ModelCache, store: VolumeStore, parents: ParentWatch
    ) -> None:
        _check_certificate(binding)
        self._socket = _listening(binding)
        _allow_many_files()
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if binding.certificate else "http"
        self.address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        self.ended = threading.Event()
        hosts = (*_LOOPBACK, "[::1]", binding.host, *binding.names)
        self._service = EngineApp(token, shelf, store, parents, hosts, self._ask_to_end)
        config = uvicorn.Config(
            self._service.app,
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            loop="asyncio",
            http=_ImpatientProtocol,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=3,
            ssl_certfile=binding.certificate or None,
            ssl_keyfile=binding.key or None,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="engine service", daemon=True)

    def start(self) -> None:
        self._service.start()
        self._thread.start()

    def stop(self) -> bool:
        """Cancel all jobs, answer nothing more and remove what was kept; returns whether all work ended in time."""
        self._ask_to_end()
        self._thread.join(10.0)
        return self._service.stop() and not self._thread.is_alive()

    def _ask_to_end(self) -> None:
        self._service.cancel_all()
        self._server.should_exit = True

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.ended.set()


def _allow_many_files() -> None:
    """Each connection takes a file number, and some systems give a program 256 unless it asks for more."""
    try:
        import resource
    except ImportError:
        return  # Windows has no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * _MOST_CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_certificate(binding: Binding) -> None:
    """Load what TLS needs once: the server itself does so in a thread, when its address has been announced.

    Raises:
        InputError: it cannot be used.
    """
    if not binding.certificate:
        return
    try:
        # Without a password, a key that has one would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(binding.certificate, binding.key or None, password="")
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            raise InputError(
                "The certificate {certificate} cannot be used with the key {key}; give two PEM files that belong "
                "together, the key without a password.",
                certificate=binding.certificate,
                key=binding.key,
            ) from None
        raise InputError(
            "The certificate {certificate} cannot be used with the key {key} ({why}); give two PEM files that belong "
            "together, the key without a password.",
            certificate=binding.certificate,
            key=binding.key,
            why=str(error.strerror),
        ) from None


def _listening(binding: Binding) -> socket.socket:
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((binding.host, binding.port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or message("ports are numbers up to 65535")
        raise InputError(
            "The engine cannot listen at {host} port {port} ({why}); choose another --host or --port.",
            host=binding.host,
            port=binding.port,
            why=why,
        ) from None
    return listener
