"""A service on a socket, in threads of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

import uvicorn

from MedSAM3SegmentLib.engine.process_id import ParentWatch
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message

from .app import EngineApp
from .connections import MOST_CONNECTIONS, MOST_STRANGERS, Admitted, Listener, Strangers, WatchedProtocol
from .model_cache import ModelCache
from .volume_store import MOST_MAPPED, VolumeStore

#: File numbers for all but connections and mapped volumes, which take one each: for a model's files while it is loaded,
#: the log, and what is written.
_OTHER_FILES = 128

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
        share = _share_of_files()
        strangers = Strangers(int(MOST_STRANGERS * share), store.forget_late_ones)
        admitted = self._admitted = Admitted(int(MOST_CONNECTIONS * share))
        store.count_files(int(MOST_MAPPED * share))
        self._socket.strangers = strangers
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
            http=partial(WatchedProtocol, strangers, admitted),  # type: ignore[arg-type]
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


def _share_of_files() -> float:
    """Ask for as many file numbers as may be needed; some systems give a program 256 unless it does.

    Returns:
        The part of them that there is, 1 for all.
    """
    try:
        import resource
    except ImportError:
        return 1.0  # Windows has no such limit
    wanted = MOST_STRANGERS + MOST_CONNECTIONS + MOST_MAPPED + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1.0 if soft == resource.RLIM_INFINITY else min(max(soft - _OTHER_FILES, 16) / (wanted - _OTHER_FILES), 1.0)


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


def _listening(binding: Binding) -> Listener:
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    # asyncio sends at once where it is told the protocol; else an answer in two parts waits 40 ms for the client.
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
