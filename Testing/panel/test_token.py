"""Where the panel keeps the remote engine's token: in the system's keyring, else in the settings and with a word."""

from __future__ import annotations

import keyring
import pytest
from keyring.backend import KeyringBackend

from MedSAM3SceneLib.engine import connection, token_store

ADDRESS, TOKEN = "https://gpu.example.org:8765", "a-token-that-nobody-must-find-...."


class MemoryKeyring(KeyringBackend):
    """A keyring of this process."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch):
    """As when Slicer starts."""
    monkeypatch.setattr(connection, "_known", {})
    monkeypatch.setattr(connection, "_refused", set())


@pytest.fixture
def system_keyring():
    before, mine = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


def enter(widget, address, token):
    widget.ui.remoteAddressEdit.text = address
    widget.ui.remoteTokenEdit.text = token
    widget.panel.setup.engine.keep_remote()


def restart(monkeypatch):
    monkeypatch.setattr(connection, "_known", {})
    monkeypatch.setattr(connection, "_refused", set())


def test_with_a_keyring_the_token_is_in_no_setting(bench, system_keyring, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    enter(widget, ADDRESS, TOKEN)
    assert not bench.settings.value("MedSAM3/RemoteToken")
    assert system_keyring.kept == {(token_store.SERVICE, ADDRESS): TOKEN}
    assert "keyring" in widget.ui.remoteTokenEdit.toolTip

    restart(monkeypatch)
    reopened = bench.open_panel("MedSAM3Segment").ui
    assert reopened.remoteTokenEdit.text == TOKEN
    assert connection.remote_token() == TOKEN
    assert connection.engine_in_use() is connection.engine_in_use()


def test_another_address_or_an_empty_token_takes_the_old_one_out(bench, system_keyring):
    widget = bench.open_panel("MedSAM3Segment")
    enter(widget, ADDRESS, TOKEN)
    enter(widget, "https://other.example.org", TOKEN)
    assert list(system_keyring.kept) == [(token_store.SERVICE, "https://other.example.org")]
    enter(widget, "", TOKEN)
    assert not bench.settings.value("MedSAM3/RemoteToken")
    enter(widget, "https://other.example.org", TOKEN)
    enter(widget, "https://other.example.org", "")
    assert system_keyring.kept == {}
    assert connection.remote_token() == ""


def test_without_a_keyring_the_token_is_in_the_settings_and_that_is_said(bench, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    before = widget.ui.remoteTokenEdit.toolTip
    enter(widget, ADDRESS, TOKEN)
    assert bench.settings.value("MedSAM3/RemoteToken") == TOKEN
    assert widget.ui.remoteTokenEdit.toolTip == str(token_store.KEPT_IN_SETTINGS) != before

    restart(monkeypatch)
    reopened = bench.open_panel("MedSAM3Segment").ui
    assert reopened.remoteTokenEdit.text == TOKEN
    enter(widget, ADDRESS, "")
    assert widget.ui.remoteTokenEdit.toolTip == before


def test_a_token_of_an_older_version_moves_into_the_keyring(bench, system_keyring):
    bench.settings.setValue("MedSAM3/RemoteAddress", ADDRESS)
    bench.settings.setValue("MedSAM3/RemoteToken", TOKEN)
    assert bench.open_panel("MedSAM3Segment").ui.remoteTokenEdit.text == TOKEN
    assert not bench.settings.value("MedSAM3/RemoteToken")
    assert list(system_keyring.kept.values()) == [connection.remote_token()] == [TOKEN]


def test_a_keyring_that_does_not_answer_is_asked_once(bench, monkeypatch):
    asked = []
    monkeypatch.setattr(token_store, "find", lambda address: asked.append(address) or "")
    bench.settings.setValue("MedSAM3/RemoteAddress", ADDRESS)
    for _ in range(3):
        assert connection.remote_token() == ""
    assert asked == [ADDRESS]
