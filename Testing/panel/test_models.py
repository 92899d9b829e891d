"""Models in the panel: added from a folder or the hub, refused, kept while a run may need them, and removed."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from MedSAM3SegmentLib.model_store.install import install, plan
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE, installed_models, store_folder
from support.effect import HeldSegmenter
from support.nodes import add_volume


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))


def test_the_button_beside_a_model_folder_offers_folders(bench, monkeypatch, tmp_path):
    from PySide6.QtWidgets import QFileDialog

    edit = bench.open_panel("MedSAM3Segment").ui.modelFolderEdit
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))

    edit.browse()

    assert edit.currentPath == str(tmp_path)


def test_a_model_is_added_after_license_and_size_were_shown_and_removed(bench, tiny_model_folder):
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    assert not ui.removeModelButton.enabled, "the demo model stays"
    ui.modelFolderEdit.currentPath = str(tiny_model_folder)

    bench.dialogs.confirm = False
    ui.addFolderButton.click()
    bench.wait(lambda: bench.dialogs.texts("question") != [])
    assert "Licence: " in bench.dialogs.texts("question")[0]
    assert "MB" in bench.dialogs.texts("question")[0]
    bench.spin(0.2)
    assert installed_models() == []

    bench.dialogs.confirm = True
    ui.addFolderButton.click()
    bench.wait(lambda: ui.modelSelector.currentText == "tiny", 60)
    assert [model.name for model in installed_models()] == ["tiny"]
    assert widget.panel.form.parameters.model == "tiny"

    ui.removeModelButton.click()
    bench.wait(lambda: ui.modelMessageLabel.text == "tiny was removed.")
    assert installed_models() == []
    assert widget.panel.form.parameters.model == "demo"
    assert ui.modelSelector.currentData == "demo"


def test_a_model_that_a_run_may_need_cannot_be_removed(bench, tiny_model_folder):
    install(plan(str(tiny_model_folder)))
    widget = bench.open_panel("MedSAM3Segment")
    held = HeldSegmenter({"liver": 1})
    widget.logic.segmenter = held
    add_volume(np.zeros((3, 4, 5), np.int16))
    ui = widget.ui
    ui.conceptsEdit.plainText = "liver"
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("tiny"))
    assert ui.removeModelButton.enabled

    ui.applyButton.click()
    bench.wait(held.asked.is_set)
    assert not ui.removeModelButton.enabled
    widget.panel.setup.models.remove()
    assert bench.dialogs.texts("question") == []
    held.may.set()
    bench.wait(lambda: not widget.panel.is_busy)

    assert ui.removeModelButton.enabled
    assert [model.name for model in installed_models()] == ["tiny"]
    bench.dialogs.confirm = False
    ui.removeModelButton.click()
    bench.spin(0.1)
    assert [model.name for model in installed_models()] == ["tiny"]


def test_a_missing_model_of_a_scene_is_refused_in_words_of_the_panel(bench, tiny_model_folder):
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    ui, parameters = widget.ui, widget.panel.form.parameters
    ui.conceptsEdit.plainText = "liver"
    assert ui.applyButton.enabled

    parameters.model = "someone/model"
    assert ui.modelSelector.currentText == "someone/model (not installed)"
    assert "someone/model is not installed on this computer" in ui.applyButton.toolTip
    assert not ui.applyButton.enabled
    assert not ui.previewButton.enabled
    parameters.model = str(tiny_model_folder)
    assert ui.applyButton.enabled
    parameters.model = "someone/model"
    ui.remoteAddressEdit.text = "http://127.0.0.1:9"
    ui.remoteAddressEdit.editingFinished.emit()
    assert ui.applyButton.enabled, "the engine elsewhere may have it"


def test_a_model_that_is_gone_already_is_said_and_no_longer_offered(bench, tiny_model_folder):
    install(plan(str(tiny_model_folder)))
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("tiny"))
    shutil.rmtree(store_folder() / "tiny")
    bench.dialogs.confirm = True

    ui.removeModelButton.click()
    bench.wait(lambda: bench.dialogs.texts("error") != [])

    assert "tiny" in bench.dialogs.texts("error")[0]


def test_a_model_without_a_network_is_refused_in_words(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    ui.setupSection.collapsed = False
    ui.knownModelSelector.setCurrentIndex(1)
    chosen = ui.knownModelSelector.currentData

    ui.addModelButton.click()
    bench.wait(lambda: bench.dialogs.texts("error") != [], 60)

    (message,) = bench.dialogs.texts("error")
    assert chosen in message or "huggingface" in message.lower() or "hub" in message
    assert message.count(".") <= 6
    assert ui.modelMessageLabel.text == message
    assert ui.knownModelSelector.currentData == chosen
    assert ui.addModelButton.enabled


@pytest.fixture
def held_download(bench, hub, tiny_model_folder):
    """The panel in the middle of a download: the hub waits until it may go on."""
    hub.repositories["someone/tiny"] = tiny_model_folder
    hub.hold_after = (tiny_model_folder / "model.safetensors").stat().st_size // 2
    bench.dialogs.confirm = True
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.setupSection.collapsed = False
    widget.ui.knownModelSelector.addItem("tiny", "someone/tiny")
    widget.ui.knownModelSelector.setCurrentIndex(widget.ui.knownModelSelector.findData("someone/tiny"))
    widget.ui.addModelButton.click()
    bench.wait(lambda: 300 < widget.ui.modelProgressBar.value < 700)
    return SimpleNamespace(widget=widget, hub=hub, ui=widget.ui)


def test_a_download_shows_how_much_is_there(bench, held_download):
    ui = held_download.ui
    percent = int(re.fullmatch(r"Installing tiny: (\d+) %, \d+ MB of \d+ MB", ui.modelMessageLabel.text)[1])
    assert percent == ui.modelProgressBar.value * 100 // ui.modelProgressBar.maximum
    assert ui.cancelModelButton.visible
    assert not ui.addModelButton.enabled, "one at a time"
    assert installed_models() == []

    held_download.hub.go_on.set()
    bench.wait(lambda: ui.modelSelector.currentText == "tiny")

    assert ui.modelMessageLabel.text == "tiny is installed."
    assert not ui.modelProgressBar.visible
    assert not ui.cancelModelButton.visible
    assert [model.name for model in installed_models()] == ["tiny"]


def test_a_cancelled_download_leaves_nothing_in_the_store(bench, held_download):
    ui = held_download.ui
    ui.cancelModelButton.click()
    assert ui.modelMessageLabel.text == "Cancelling tiny..."
    assert not ui.cancelModelButton.enabled
    bench.wait(lambda: not ui.modelProgressBar.visible)

    assert not held_download.hub.go_on.is_set(), "a network that stalls is not waited for"
    assert "cancelled; nothing of it was kept" in ui.modelMessageLabel.text
    assert bench.dialogs.texts("error") == [], "who cancels need not be told twice"
    assert list(store_folder().iterdir()) == []
    assert ui.modelSelector.currentText.startswith("Demo")
    assert ui.addModelButton.enabled


def test_a_panel_that_is_closed_ends_its_download(bench, held_download):
    bench.close_panel(held_download.widget)
    bench.wait(lambda: list(store_folder().iterdir()) == [])

    assert not bench.slot_errors


def test_a_folder_without_a_model_is_refused_in_words(bench, tmp_path):
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.modelFolderEdit.currentPath = str(tmp_path / "nothing")

    widget.ui.addFolderButton.click()
    bench.wait(lambda: bench.dialogs.texts("error") != [])

    assert "nothing" in bench.dialogs.texts("error")[0]
    assert installed_models() == []
