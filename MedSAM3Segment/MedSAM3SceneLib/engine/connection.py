"""The engine that this Slicer uses: its own process, or one elsewhere whose address is in the application's settings.

One engine serves panel, effect, console and agent, so that volumes and features are kept once.
"""

from __future__ import annotations

import atexit
import logging
from functools import cache, lru_cache

import slicer

from MedSAM3SegmentLib.engine.client.engine_client import EngineClient
from MedSAM3SegmentLib.engine.process.engine_process import EngineProcess
from MedSAM3SegmentLib.messages.message import Message

from . import token_store
from .requirements import require_packages

_ADDRESS = "MedSAM3/RemoteAddress"
_TOKEN = "MedSAM3/RemoteToken"
_CERTIFICATE = "MedSAM3/RemoteCertificate"


def engine_from_settings() -> EngineClient | EngineProcess:
    """Who takes requests: the remote engine of the settings, or the one on this computer.

    Raises:
        ModelError: the engine cannot start here because a package is missing.
        InputError: the remote address cannot be used.
    """
    engine = engine_in_use()
    if isinstance(engine, EngineProcess):
        require_packages()
    return engine


def engine_in_use() -> EngineClient | EngineProcess:
    """As ``engine_from_settings``, whether it can start or not, to ask it for its status or to unload.

    Call it on the thread of the window, which the settings belong to, and the engine's methods on another one.

    Raises:
        InputError: the remote address cannot be used.
    """
    return _remote() or _local()


def engine_on_this_computer() -> EngineProcess:
    """The engine that sees this computer's disk, also where the settings name a remote one.

    Raises:
        ModelError: the engine cannot start here because a package is missing.
    """
    require_packages()
    return _local()


def unload_local() -> bool:
    """Let the engine on this computer free its models and features, whichever is used; call it on a thread.

    Returns:
        Whether one runs. What it is at it ends first.

    Raises:
        EngineError: it does not answer.
    """
    return _local().unload()


def stop() -> None:
    """End the engine on this computer; a remote one is left alone. Call it on a thread."""
    _local().stop()


def stop_for_good() -> None:
    """As ``stop``, because Slicer quits: nothing is left to do when Python ends."""
    atexit.unregister(_stop_when_python_ends)
    if _local.cache_info().currsize:
        _local().stop()


def remote_address() -> str:
    """The remote engine's address, empty for none."""
    return _setting(_ADDRESS)


def remote_token() -> str:
    """What opens the remote engine. Waits a few seconds at most for the system's keyring."""
    address, plain = remote_address(), _setting(_TOKEN)
    if not address or (plain and address in _refused):
        return plain
    if plain:
        # It was kept before there was a keyring, or by an older version.
        _keep_token(address, plain)
        return plain
    if address not in _known:
        # Not asked twice either where it has nothing or does not answer: the window waits for it.
        _known[address] = token_store.find(address)
    return _known[address]


def token_place() -> Message | None:
    """One sentence about where the remote engine's token is kept; None without one."""
    if not remote_token():
        return None
    return token_store.where_kept(in_keyring=not _setting(_TOKEN))


def remote_certificate() -> str:
    """The PEM file that the remote engine is checked by, empty for the well-known authorities."""
    return _setting(_CERTIFICATE)


def set_remote(address: str, token: str, certificate: str = "") -> None:
    """Keep where the remote engine is in the application's settings, where no scene and no saved file has it.

    The token goes into the system's keyring. Where there is none that answers within seconds, it goes into the settings
    too; ``token_place`` tells.

    Args:
        address: such as ``https://gpu.example.org:8765``, or empty for the engine on this computer.
        token: what opens it.
        certificate: a PEM file to check it by, or empty for the well-known authorities.
    """
    before = remote_address()
    settings = slicer.app.userSettings()
    settings.setValue(_ADDRESS, address)
    settings.setValue(_CERTIFICATE, certificate)
    if address and before and before != address:
        _forget_token(before)
    if address and token:
        _keep_token(address, token)
        return
    # Without an address the token is of no use now; the keyring has it for when the address comes back.
    if address:
        _forget_token(address)
    settings.setValue(_TOKEN, "")


#: What the keyring has told or been told, by address, and addresses whose tokens it did not take: it is asked once.
_known: dict[str, str] = {}
_refused: set[str] = set()


def _keep_token(address: str, token: str) -> None:
    settings = slicer.app.userSettings()
    if _known.get(address) == token or (address in _refused and _setting(_TOKEN) == token):
        return
    _known.pop(address, None)
    _refused.discard(address)
    if token_store.keep(address, token):
        _known[address] = token
        settings.setValue(_TOKEN, "")
    else:
        _refused.add(address)
        settings.setValue(_TOKEN, token)


def _forget_token(address: str) -> None:
    _refused.discard(address)
    # One that did not answer keeps what it has.
    if _known.pop(address, ""):
        token_store.forget(address)


def _setting(name: str) -> str:
    settings = getattr(slicer.app, "userSettings", None)
    return str(settings().value(name) or "") if settings is not None else ""


def _remote() -> EngineClient | None:
    address = remote_address()
    return _client(address, remote_token(), remote_certificate()) if address else None


@lru_cache(maxsize=1)
def _client(address: str, token: str, certificate: str) -> EngineClient:
    """One client for all jobs of this Slicer: the engine lets clients take turns."""
    return EngineClient(address, token, certificate=certificate)


@cache
def _local() -> EngineProcess:
    # Slicer's root logger hears everything: the HTTP library tells of every request, with its address, and the lock's
    # of every try.
    for name in ("urllib3", "filelock"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    atexit.register(_stop_when_python_ends)
    return EngineProcess()


def _stop_when_python_ends() -> None:
    """End the engine where Slicer did not quit as it does, by ``stop_for_good``; its log may be gone."""
    logging.disable(logging.CRITICAL)
    _local().stop()
