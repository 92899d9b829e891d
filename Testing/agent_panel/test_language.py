"""Who is asked, in the agent's panel: kept in settings, tested within seconds, with what would leave in words."""

from __future__ import annotations

import json
import logging
import threading

import keyring
import pytest
from keyring.backend import KeyringBackend

from MedSAM3SceneLib.engine import token_store
from support.agent_panel import begin, open_agent_panel, phantom
from support.language_server import Answer, language_server, said

KEY = "a-key-that-nobody-must-find"
RULES, LOCAL, SERVER, RECORDED = range(4)


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


@pytest.fixture
def system_keyring():
    before, mine = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


@pytest.fixture
def no_keyring(monkeypatch):
    monkeypatch.setattr(token_store, "_keyring", lambda: None)


def choose(bench, widget, address="", model="a-model"):
    """Choose a server, and wait for the keyring."""
    ui = widget.ui
    ui.languageSelector.setCurrentIndex(SERVER)
    ui.addressEdit.text, ui.modelNameEdit.text = address, model
    ui.addressEdit.editingFinished.emit()
    bench.wait(lambda: not widget.panel.language._key_task.is_busy)


def enter_key(bench, widget, key):
    widget.ui.keyEdit.text = key
    widget.ui.keyEdit.editingFinished.emit()
    bench.wait(lambda: not widget.panel.language._key_task.is_busy)


def run_test(bench, widget):
    """Press Test and give what it says."""
    widget.ui.testButton.click()
    assert not widget.ui.testButton.enabled
    bench.wait(lambda: widget.ui.testButton.enabled, 20)
    return widget.ui.testLabel.text


def test_without_a_model_nothing_is_tested_and_nothing_leaves(bench, monkeypatch):
    widget, _ = open_agent_panel(bench, monkeypatch)
    ui = widget.ui
    assert ui.languageSelector.currentText == "None: rules"
    assert ui.leavesLabel.text == "Nothing leaves this computer; checks decide."
    assert not ui.testButton.enabled
    shown = (ui.folderEdit, ui.addressEdit, ui.modelNameEdit, ui.keyEdit, ui.certificateEdit, ui.recordEdit)
    assert [widget.visible for widget in shown] == [False] * 6


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://llm.example.org/v1", "would leave this computer for llm.example.org; you are asked first"),
        ("https://192.168.0.7:8000/v1", "would leave this computer for 192.168.0.7"),
        ("http://127.0.0.1:11434/v1", "go to a server on this computer; they leave it only where"),
        ("http://localhost:1234", "go to a server on this computer"),
        ("", "would go to the server"),
        ("https://[::1", "would go to the server"),
    ],
)
@pytest.mark.usefixtures("no_keyring")
def test_one_line_says_what_would_leave(bench, monkeypatch, address, words):
    widget, _ = open_agent_panel(bench, monkeypatch)
    choose(bench, widget, address)
    assert words in widget.ui.leavesLabel.text


def test_the_choice_is_there_again_and_in_no_scene(bench, monkeypatch, system_keyring, tmp_path):
    widget, _ = open_agent_panel(bench, monkeypatch)
    choose(bench, widget, "https://llm.example.org/v1", "qwen3")
    enter_key(bench, widget, KEY)
    assert widget.ui.testLabel.text == "The key is kept in this computer's keyring."
    assert system_keyring.kept == {(token_store.SERVICE, "language model at https://llm.example.org"): KEY}
    bench.slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    bench.slicer.mrmlScene.Commit()
    text = (tmp_path / "scene.mrml").read_text()
    assert KEY not in text
    assert "llm.example.org" not in text
    assert KEY not in json.dumps([str(bench.settings.value(name)) for name in bench.settings.allKeys()])

    bench.close_panel(widget)
    again, _ = open_agent_panel(bench, monkeypatch)
    bench.wait(lambda: again.ui.keyEdit.text == KEY)
    assert again.ui.languageSelector.currentText == "Server"
    assert (again.ui.addressEdit.text, again.ui.modelNameEdit.text) == ("https://llm.example.org/v1", "qwen3")


def test_a_key_goes_to_its_server_only(bench, monkeypatch, system_keyring):
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    choose(bench, widget, "https://one.example.org/v1")
    enter_key(bench, widget, KEY)
    begin(widget)
    told = logic.asked[-1][3]
    assert (told["language"], told["key"]) == ("https://one.example.org/v1#a-model", KEY)
    logic.end()

    choose(bench, widget, "https://two.example.org/v1")
    assert widget.ui.keyEdit.text == ""
    begin(widget)
    told = logic.asked[-1][3]
    assert (told["language"], told["key"]) == ("https://two.example.org/v1#a-model", None)
    logic.end()
    choose(bench, widget, "https://one.example.org/v2")
    assert widget.ui.keyEdit.text == KEY
    enter_key(bench, widget, "")
    assert system_keyring.kept == {}


@pytest.mark.usefixtures("no_keyring")
def test_without_a_keyring_the_key_lasts_until_slicer_ends_and_that_is_said(bench, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    choose(bench, widget, "https://llm.example.org/v1")
    enter_key(bench, widget, KEY)
    assert "until Slicer ends" in widget.ui.testLabel.text
    begin(widget)
    assert logic.asked[-1][3]["key"] == KEY
    assert KEY not in json.dumps([str(bench.settings.value(name)) for name in bench.settings.allKeys()])
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (said("Red."), "a-model at 127.0.0.1 is there and reads pictures."),
        (said("I cannot see it."), "reads no pictures: it can plan and answer, but not judge"),
    ],
)
@pytest.mark.usefixtures("no_keyring")
def test_the_test_says_which_model_answers_and_whether_it_reads_pictures(bench, monkeypatch, reply, words):
    widget, _ = open_agent_panel(bench, monkeypatch)
    with language_server(lambda _body, _number: Answer(reply)) as server:
        choose(bench, widget, server.address)
        enter_key(bench, widget, KEY)
        assert words in run_test(bench, widget)
        assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}"]


@pytest.mark.usefixtures("no_keyring")
def test_a_server_that_refuses_or_is_not_there_is_said_in_one_sentence(bench, monkeypatch):
    widget, _ = open_agent_panel(bench, monkeypatch)
    with language_server(lambda _body, _number: Answer({"error": "no"}, status=401)) as server:
        choose(bench, widget, server.address)
        assert "does not accept the key" in run_test(bench, widget)
    choose(bench, widget, "http://127.0.0.1:9/v1")
    assert "does not answer" in run_test(bench, widget)
    choose(bench, widget, "http://far.example.org/v1")
    assert "use an address with https://" in run_test(bench, widget)


@pytest.mark.usefixtures("no_keyring")
def test_a_server_that_is_silent_is_given_up_and_the_window_lives_meanwhile(bench, monkeypatch):
    from MedSAM3AgentPanelLib.language import language_section

    monkeypatch.setattr(language_section, "_TEST_MS", 150)
    widget, _ = open_agent_panel(bench, monkeypatch)
    may_answer, ticks = threading.Event(), []
    timer = bench_timer(ticks)
    with language_server(lambda _body, _number: Answer(said("red"), before=may_answer.wait)) as server:
        choose(bench, widget, server.address)
        ticks.clear()
        assert "No answer within 5 seconds" in run_test(bench, widget)
        assert len(ticks) > 3
        may_answer.set()
        bench.spin(0.3)
        assert "No answer" in widget.ui.testLabel.text, "a late answer is not heard"
    timer.stop()


@pytest.mark.usefixtures("no_keyring")
def test_a_policy_keeps_the_test_from_a_server_that_is_not_allowed(bench, monkeypatch, tmp_path):
    from MedSAM3AgentLib.sending import consent

    policy = tmp_path / "agent-policy.json"
    policy.write_text('{"allowed_hosts": ["llm.hospital.example"]}')
    monkeypatch.setattr(consent, "site_policy", lambda: policy)
    widget, _ = open_agent_panel(bench, monkeypatch)
    choose(bench, widget, "https://llm.example.org/v1")
    assert "does not allow to send anything to llm.example.org" in run_test(bench, widget)


def test_a_model_on_this_computer_is_looked_at_and_not_loaded(bench, monkeypatch, tmp_path):
    widget, logic = open_agent_panel(bench, monkeypatch)
    phantom()
    widget.ui.languageSelector.setCurrentIndex(LOCAL)
    widget.ui.requestEdit.plainText = "liver"
    assert widget.ui.askButton.toolTip == "Choose the folder of the language model first."
    widget.ui.folderEdit.currentPath = str(tmp_path)
    assert "has no config.json" in run_test(bench, widget)
    (tmp_path / "config.json").write_text('{"vision_config": {}}')
    assert "no weights as safetensors" in run_test(bench, widget)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "reads pictures" in run_test(bench, widget)
    (tmp_path / "config.json").write_text("{}")
    assert "reads no pictures" in run_test(bench, widget)
    (tmp_path / "config.json").write_text("{")
    assert "cannot be read" in run_test(bench, widget)
    assert "Nothing leaves this computer" in widget.ui.leavesLabel.text
    begin(widget)
    assert logic.asked[0][3]["language"] == f"local:{tmp_path}"


@pytest.mark.usefixtures("no_keyring")
def test_what_was_tested_is_no_longer_said_of_another_choice(bench, monkeypatch):
    widget, _ = open_agent_panel(bench, monkeypatch)
    choose(bench, widget, "http://127.0.0.1:9/v1")
    assert run_test(bench, widget)
    widget.ui.languageSelector.setCurrentIndex(RULES)
    assert not widget.ui.testLabel.visible
    assert not widget.ui.testButton.enabled


def bench_timer(ticks):
    from PySide6.QtCore import QTimer

    timer = QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start()
    return timer
