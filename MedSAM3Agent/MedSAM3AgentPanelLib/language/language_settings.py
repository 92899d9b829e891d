"""Who is asked, as the application's settings keep it. No scene has any of it, and keys are in no settings either."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import slicer

from MedSAM3SceneLib.engine import token_store

_PREFIX = "MedSAM3Agent"


class LanguageChoice(StrEnum):
    """Who is asked where checks are unsure."""

    RULES = "rules"
    LOCAL = "local"
    SERVER = "server"
    RECORDED = "recorded"


@dataclass(frozen=True)
class LanguageSettings:
    """What a user entered.

    Attributes:
        choice: who is asked.
        folder: of the model on this computer.
        address, model, certificate: of the server; the certificate is a PEM file or empty.
        record: transcript whose replies are given again.
    """

    choice: LanguageChoice = LanguageChoice.RULES
    folder: str = ""
    address: str = ""
    model: str = ""
    certificate: str = ""
    record: str = ""

    @property
    def host(self) -> str:
        """The server's host, empty where the address has none."""
        try:
            return urlsplit(self.address).hostname or ""
        except ValueError:
            return ""


def read_settings() -> LanguageSettings:
    """What was entered last; call it on the thread of the window."""
    values = {name: _value(name) for name in ("folder", "address", "model", "certificate", "record")}
    known = {choice.value for choice in LanguageChoice}
    choice = _value("choice")
    return LanguageSettings(LanguageChoice(choice) if choice in known else LanguageChoice.RULES, **values)


def keep_settings(settings: LanguageSettings) -> None:
    """Keep what was entered for the next session."""
    user = slicer.app.userSettings()
    user.setValue(f"{_PREFIX}/choice", settings.choice.value)
    for name in ("folder", "address", "model", "certificate", "record"):
        user.setValue(f"{_PREFIX}/{name}", getattr(settings, name))


class KeyRing:
    """Keys of servers, each for the server that it was entered for alone.

    They are in the computer's keyring. Where that does not answer, they are kept until Slicer ends, and nowhere else.
    Its methods may wait for the keyring for seconds; call them on a thread.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def is_known(self, settings: LanguageSettings) -> bool:
        """Whether the keyring was asked for this server; answers at once."""
        return _account(settings) in self._known

    def known(self, settings: LanguageSettings) -> str:
        """The server's key, as far as it is known; answers at once."""
        return self._known.get(_account(settings), "")

    def find(self, settings: LanguageSettings) -> str:
        """The server's key, empty for none."""
        account = _account(settings)
        if account not in self._known:
            self._known[account] = token_store.find(account)
        return self._known[account]

    def keep(self, settings: LanguageSettings, key: str) -> bool:
        """Keep the server's key, or forget it where it is empty; returns whether it is where it will be found again."""
        account = _account(settings)
        before = self._known.get(account, "")
        self._known[account] = key
        if key:
            return token_store.keep(account, key)
        if before:
            token_store.forget(account)
        return True


def language_options(settings: LanguageSettings, key: str) -> dict[str, Any]:
    """What ``MedSAM3AgentLogic.ask`` takes of a language model: ``language``, and of a server certificate and key.

    Args:
        key: of the server; where it is empty, the one in the environment is used.
    """
    if settings.choice is LanguageChoice.LOCAL:
        return {"language": f"local:{settings.folder}"}
    if settings.choice is LanguageChoice.RECORDED:
        return {"language": {"replay": settings.record}}
    if settings.choice is LanguageChoice.SERVER:
        return {
            "language": f"{settings.address}#{settings.model}",
            "certificate": settings.certificate or None,
            "key": key or None,
        }
    return {"language": "rules"}


def _account(settings: LanguageSettings) -> str:
    """What the keyring has the key under: the server, whatever follows in its address."""
    parts = urlsplit(settings.address)
    return f"language model at {parts.scheme}://{parts.netloc.lower()}"


def _value(name: str) -> str:
    return str(slicer.app.userSettings().value(f"{_PREFIX}/{name}") or "")
