"""The remote engine's token in the system's keyring, where there is one that answers.

The keyring is asked on a thread of its own and waited for a few seconds: it may have a person unlock it, talk to a
service that hangs, or be none at all.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from MedSAM3SegmentLib.messages.message import Message, message

#: What entries in the keyring are called; each is for one address.
SERVICE = "MedSAM3 for 3D Slicer"

#: Seconds to wait for the keyring.
_TIMEOUT_S = 5.0

#: Keyrings that keep nothing, or keep it in a file that they ask a password for on a terminal.
_NO_KEYRINGS = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")

#: Keyrings of a desktop, which ask a person to unlock them.
_DESKTOP_KEYRINGS = ("keyring.backends.SecretService", "keyring.backends.libsecret", "keyring.backends.kwallet")

KEPT_IN_KEYRING = message("The token is kept in this computer's keyring.")
KEPT_IN_SETTINGS = message(
    "This computer has no keyring that answers, so the token is kept in the application's settings, where programs of "
    "yours can read it."
)


def keep(address: str, token: str) -> bool:
    """Put the token for an address into the keyring; returns whether it is there."""

    def put(keyring: Any) -> bool:
        if keyring.get_password(SERVICE, address) != token:
            keyring.set_password(SERVICE, address, token)
        # Some keep nothing and say nothing.
        return bool(keyring.get_password(SERVICE, address) == token)

    return _asked(put) is True


def find(address: str) -> str:
    """The token for an address, empty where the keyring has none or does not answer."""
    return str(_asked(lambda keyring: keyring.get_password(SERVICE, address)) or "")


def forget(address: str) -> None:
    """Take the token for an address out of the keyring, if it is there."""

    def delete(keyring: Any) -> None:
        if keyring.get_password(SERVICE, address) is not None:
            keyring.delete_password(SERVICE, address)

    _asked(delete)


def where_kept(in_keyring: bool) -> Message:
    """One sentence for people."""
    return KEPT_IN_KEYRING if in_keyring else KEPT_IN_SETTINGS


def _asked(question: Callable[[Any], Any]) -> Any:
    """What the keyring answers, or None where there is none, it refuses, or it takes too long."""
    answers: list[Any] = []

    def ask() -> None:
        # Keyrings raise whatever the system's libraries do, and what went wrong may name what is kept.
        try:
            keyring = _keyring()
            answers.append(None if keyring is None else question(keyring))
        except Exception:
            answers.append(None)

    thread = threading.Thread(target=ask, name="keyring", daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return answers[0] if answers else None


def _keyring() -> Any:
    """The keyring that the system has or a user has chosen; None where there is none to rely on."""
    # The panel imports this module before it has installed any package.
    try:
        chosen = importlib.import_module("keyring").get_keyring()
    except ImportError:
        return None
    # A chain of several asks each of them; only the first that can be relied on is asked here.
    several = list(getattr(chosen, "backends", ()) or ()) if _is_of(chosen, ("keyring.backends.chainer",)) else [chosen]
    refused = (*_NO_KEYRINGS, *(() if _has_desktop() else _DESKTOP_KEYRINGS))
    return next((one for one in several if not _is_of(one, refused)), None)


def _is_of(keyring: Any, modules: tuple[str, ...]) -> bool:
    module = type(keyring).__module__
    return any(module == name or module.startswith(f"{name}.") for name in modules)


def _has_desktop() -> bool:
    """Whether a person could see a question."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
