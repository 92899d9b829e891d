"""The service at one address, here or on another machine: what panel, effect, console and agent call."""

from __future__ import annotations

from MedSAM3SegmentLib.engine.protocol.status import EngineStatus, status_of

from .http import HttpConnection
from .remote_segmenter import RemoteSegmenter


class EngineClient(RemoteSegmenter):
    """Asks one service.

    Args:
        address: such as ``http://127.0.0.1:8765``.
        token: the service's.
        certificate: a PEM file to check a TLS service by, or empty for the well-known authorities.
        model, device: what ``segment`` uses.

    Raises:
        InputError: the address is none, or leads to another machine without TLS.
    """

    def __init__(
        self, address: str, token: str, *, certificate: str = "", model: str = "demo", device: str = "auto"
    ) -> None:
        super().__init__(model, device)
        self._connection = HttpConnection(address, token, certificate)

    def connect(self) -> HttpConnection:
        """The one connection there is; the service is asked only by what is sent."""
        return self._connection

    def status(self) -> EngineStatus:
        """What the service holds and does. Takes as long as the network; call it from a thread in a GUI.

        Raises:
            EngineError: the service cannot be reached.
        """
        return status_of(self._connection.get("/status"))

    def unload(self) -> None:
        """Let go of models and features once the running job is done; volumes stay."""
        self._connection.send("POST", "/unload")
