"""The engine that this Slicer uses: its own process, or one elsewhere whose address is in the application's settings.

One engine serves panel, effect, console and agent, so that volumes and features are kept once.
"""

from __future__ import annotations

import atexit
from functools import cache

import slicer

from MedSAM3SegmentLib.engine.client import EngineClient
from MedSAM3SegmentLib.engine.process import EngineProcess
from MedSAM3SegmentLib.engine.status import EngineStatus

from .engine_packages import require_packages

_ADDRESS = "MedSAM3/RemoteAddress"
_TOKEN = "MedSAM3/RemoteToken"


def engine_of_settings() -> EngineClient | EngineProcess:
    """Who takes requests: the remote engine of the settings, or the one on this computer.

    Raises:
        ModelError: the engine cannot start here because a package is missing.
        InputError: the remote address cannot be used.
    """
    client = _remote()
    if client is not None:
        return client
    require_packages()
    return _local()


def status_of_settings() -> EngineStatus | None:
    """What the engine holds, or None when it is not running. Takes as long as the network; call it on a thread."""
    client = _remote()
    if client is not None:
        return client.status()
    return _local().status()


def unload() -> None:
    """Let the engine free its models and features; call it on a thread."""
    (_remote() or _local()).unload()


def stop() -> None:
    """End the engine on this computer; a remote one is left alone. Call it on a thread."""
    _local().stop()


def remote_address() -> str:
    """The remote engine's address, empty for none."""
    return _setting(_ADDRESS)


def remote_token() -> str:
    """What opens the remote engine."""
    return _setting(_TOKEN)


def set_remote(address: str, token: str) -> None:
    """Keep address and token in the application's settings, where no scene and no saved file has them."""
    settings = slicer.app.userSettings()
    settings.setValue(_ADDRESS, address)
    settings.setValue(_TOKEN, token)


def _setting(name: str) -> str:
    settings = getattr(slicer.app, "userSettings", None)
    return str(settings().value(name) or "") if settings is not None else ""


def _remote() -> EngineClient | None:
    address = remote_address()
    return EngineClient(address, remote_token()) if address else None


@cache
def _local() -> EngineProcess:
    process = EngineProcess()
    atexit.register(process.stop)
    return process
