"""The system's keyring: used where it gives back what it was given, and never waited for without an end."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null

from MedSAM3SceneLib.engine import token_store

ADDRESS, TOKEN = "https://gpu.example.org:8765", "a-token-that-nobody-must-find-...."


class MemoryKeyring(KeyringBackend):
    """A keyring of this process."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    known = keyring.get_keyring()
    yield
    keyring.set_keyring(known)


def test_a_token_is_kept_found_and_forgotten_by_its_address() -> None:
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    assert token_store.find(ADDRESS) == ""
    assert token_store.keep(ADDRESS, TOKEN)
    assert token_store.find(ADDRESS) == TOKEN
    assert token_store.find("https://other.example.org") == ""
    assert token_store.keep(ADDRESS, "another")
    assert token_store.find(ADDRESS) == "another"
    token_store.forget("https://other.example.org")
    token_store.forget(ADDRESS)
    assert backend.kept == {}


class Raises(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise RuntimeError(f"{service} {username} {TOKEN}")


class Forgets(MemoryKeyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        pass


class Refuses(MemoryKeyring):
    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.PasswordSetError(f"{service} {username} {password}")


class AsksOnTheTerminal(MemoryKeyring):
    def get_password(self, service: str, username: str) -> str | None:
        raise AssertionError(f"{service} was asked for {username}")


AsksOnTheTerminal.__module__ = "keyrings.alt.file"


@pytest.mark.parametrize(
    "backend",
    [null.Keyring(), fail.Keyring(), Raises(), Forgets(), Refuses(), AsksOnTheTerminal()],
    ids=lambda b: type(b).__name__,
)
def test_a_keyring_that_cannot_be_relied_on_keeps_nothing_and_says_nothing(
    backend: KeyringBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keyring.set_keyring(backend)
    assert not token_store.keep(ADDRESS, TOKEN)
    assert token_store.find(ADDRESS) == ""
    token_store.forget(ADDRESS)
    assert TOKEN not in caplog.text


def test_without_the_package_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert not token_store.keep(ADDRESS, TOKEN)
    assert token_store.find(ADDRESS) == ""


def test_a_keyring_that_hangs_is_waited_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may show a question that nobody sees."""
    answered = threading.Event()

    class Hangs(MemoryKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            answered.wait(60)
            return super().get_password(service, username)

    monkeypatch.setattr(token_store, "_TIMEOUT_S", 0.2)
    keyring.set_keyring(Hangs())
    assert not token_store.keep(ADDRESS, TOKEN)
    assert token_store.find(ADDRESS) == ""
    answered.set()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="Windows and macOS have a keyring without a desktop")
@pytest.mark.parametrize("variable", [None, "DISPLAY", "WAYLAND_DISPLAY"])
def test_a_desktops_keyring_is_asked_on_a_desktop_only(monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    """Elsewhere nobody sees that it wants to be unlocked."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, ":0")
    desktop = type("Keyring", (MemoryKeyring,), {"__module__": "keyring.backends.SecretService"})
    keyring.set_keyring(desktop())
    assert token_store.keep(ADDRESS, TOKEN) == (variable is not None)


def test_of_a_chain_the_first_that_can_be_relied_on_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryKeyring()
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [fail.Keyring(), AsksOnTheTerminal(), backend])
    keyring.set_keyring(chainer.ChainerBackend())
    assert token_store.keep(ADDRESS, TOKEN)
    assert backend.kept == {(token_store.SERVICE, ADDRESS): TOKEN}
