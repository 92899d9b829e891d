"""The set-up section on the bench: the device, the engine's figures and its address."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.engine import connection
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from support.engine_server import TOKEN, Engine, tls_binding
from support.nodes import add_volume


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))


@pytest.mark.parametrize("device", ["cuda:1", "cpu"])
def test_a_device_that_a_script_chose_is_kept_and_shown(bench, device):
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    parameters = widget.panel.form.parameters
    parameters.device = device

    widget.panel.connect_scene()

    assert parameters.device == device
    assert widget.ui.deviceSelector.currentData == device
    assert widget.panel.form.options(None)["device"] == device
    widget.ui.deviceSelector.setCurrentIndex(widget.ui.deviceSelector.findData("auto"))
    assert parameters.device == "auto"


def test_a_remote_engine_is_used_and_its_figures_are_shown(bench, engine):
    volume = add_volume(np.zeros((5, 6, 7), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    ui = widget.ui
    ui.remoteAddressEdit.text = engine.address
    ui.remoteTokenEdit.text = TOKEN
    ui.setupSection.collapsed = False
    ui.remoteTokenEdit.editingFinished.emit()
    bench.wait(lambda: "Running" in ui.engineLabel.text)
    assert "no model is loaded" in ui.engineLabel.text
    assert ui.unloadButton.enabled
    assert not ui.stopEngineButton.enabled, "what runs elsewhere is not this computer's to end"
    assert "volumes" in ui.engineLabel.text

    ui.conceptsEdit.plainText = "liver"
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    assert engine.loaded == ["demo"]
    assert ui.resultsTable.rowCount == 1
    assert bench.dialogs.texts("error") == []
    assert widget.logic.last.volume_node is volume
    widget.panel.setup.engine.look()
    bench.wait(lambda: "demo is loaded" in ui.engineLabel.text)

    ui.unloadButton.click()
    bench.wait(lambda: "no model is loaded" in ui.engineLabel.text)
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)
    assert engine.loaded == ["demo", "demo"]


def test_a_remote_engine_with_a_certificate_of_its_own_making_can_be_used(bench, tmp_path):
    binding = tls_binding(tmp_path)
    engine = Engine(tmp_path, binding=binding)
    try:
        ui = bench.open_panel("MedSAM3Segment").ui
        ui.remoteAddressEdit.text = engine.address
        ui.remoteTokenEdit.text = TOKEN
        ui.setupSection.collapsed = False
        ui.remoteTokenEdit.editingFinished.emit()
        bench.wait(lambda: "is not trusted here" in ui.engineLabel.text)

        ui.remoteCertificateEdit.currentPath = binding.certificate
        bench.wait(lambda: "Running" in ui.engineLabel.text)

        reopened = bench.open_panel("MedSAM3Segment").ui
        assert reopened.remoteCertificateEdit.currentPath == binding.certificate
        assert connection.engine_from_settings() is connection.engine_from_settings(), "one client among others"
    finally:
        assert engine.serving.stop()


def test_a_remote_engine_that_cannot_be_reached_is_said(bench):
    add_volume(np.zeros((5, 6, 7), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.remoteAddressEdit.text = "http://127.0.0.1:9"
    widget.ui.remoteTokenEdit.text = TOKEN
    widget.panel.setup.engine.keep_remote()
    widget.ui.conceptsEdit.plainText = "liver"

    widget.ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    (message,) = bench.dialogs.texts("error")
    assert "does not answer" in message
