"""The set-up section on the bench: what is installed in which order, models, the engine's figures and its address."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine_on_socket import TOKEN
from MedSAM3SceneLib import engine_packages
from MedSAM3SegmentLib.models.model_store import STORE_VARIABLE, installed_models
from scene_nodes import add_volume

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))


def without(monkeypatch, *names):
    """Let packages look as if they were not installed."""
    is_installed = engine_packages._is_installed
    monkeypatch.setattr(engine_packages, "_is_installed", lambda name: name not in names and is_installed(name))


def quick_probe(monkeypatch, broken=None):
    """Trying packages out takes long; the test of the probe itself does it for real."""
    from MedSAM3PanelLib import import_probe

    report = import_probe.ProbeReport(broken or {}, {"torch": "2.13.0"}, "cpu")
    monkeypatch.setattr("MedSAM3PanelLib.setup_section.probe", lambda: report)


def test_what_the_panel_installs_is_what_the_package_needs():
    """The same ranges in both places, but for what Slicer or its PyTorch extension bring."""
    dependencies = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    installed = set((ROOT / "MedSAM3Segment" / "Resources" / "requirements.txt").read_text().split())
    brought = ("torch", "SimpleITK", "numpy", "requests", "Pillow")

    assert installed == {line for line in dependencies if not line.startswith(tuple(f"{name}>" for name in brought))}


def test_what_is_missing_is_said_and_apply_waits_for_it(bench, monkeypatch):
    without(monkeypatch, "torch", "transformers")
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"

    assert widget.ui.stateLabel.text == "Not installed yet: torch, transformers."
    assert not widget.ui.setupSection.collapsed
    assert not widget.ui.applyButton.enabled
    assert "torch, transformers" in widget.ui.applyButton.toolTip


def test_pytorch_is_installed_first_then_the_rest_then_all_is_tried_out(bench, monkeypatch):
    order = []
    without(monkeypatch, "torch", "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch)

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation):  # noqa: N802, N803
            order.append(("torch", askConfirmation, len(bench.installs.requirements)))
            return object()

    module = SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)

    widget.ui.installButton.click()
    bench.wait(lambda: "works" in widget.ui.stateLabel.text)

    assert order == [("torch", True, 0)]
    (requirements,) = bench.installs.requirements
    assert any(line.startswith("transformers") for line in requirements)
    assert not any(line.startswith("torch") for line in requirements)
    assert {"torch", "SimpleITK"} <= set(bench.installs.options[0]["skip_packages"])
    assert "without a GPU" in widget.ui.stateLabel.text


def test_without_the_pytorch_extension_nothing_else_is_installed(bench, monkeypatch):
    without(monkeypatch, "torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    widget = bench.open_panel("MedSAM3Segment")

    widget.ui.installButton.click()

    assert bench.installs.requirements == []
    (message,) = bench.dialogs.texts("error")
    assert "PyTorch extension" in message


def test_an_installation_that_fails_is_said(bench):
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = RuntimeError("There is no network.")

    widget.ui.installButton.click()

    (message,) = bench.dialogs.texts("error")
    assert "There is no network." in message


def test_a_package_that_does_not_load_is_named(bench, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch, {"transformers": "ImportError: a library is missing"})

    widget.ui.checkButton.click()
    bench.wait(lambda: widget.ui.checkButton.enabled)

    assert "transformers: ImportError: a library is missing" in widget.ui.stateLabel.text


def test_the_probe_imports_in_a_process_of_its_own(bench):
    del bench
    from MedSAM3PanelLib.import_probe import probe

    report = probe(("colorsys", "no_such_package_anywhere"))

    assert list(report.versions) == ["colorsys"]
    assert "ModuleNotFoundError" in report.broken["no_such_package_anywhere"]
    assert report.device == ""


def test_a_model_is_added_from_a_folder_after_its_licence_and_size_were_shown_and_removed(bench, tiny_model_folder):
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
    bench.wait(lambda: ui.modelSelector.currentText == "tiny")
    assert [model.name for model in installed_models()] == ["tiny"]
    assert widget.panel.form.parameters.model == "tiny"

    ui.removeModelButton.click()
    assert installed_models() == []
    assert widget.panel.form.parameters.model == "demo"


def test_a_folder_without_a_model_is_refused_in_words(bench, tmp_path):
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.modelFolderEdit.currentPath = str(tmp_path / "nothing")

    widget.ui.addFolderButton.click()
    bench.wait(lambda: bench.dialogs.texts("error") != [])

    assert "nothing" in bench.dialogs.texts("error")[0]
    assert installed_models() == []


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
    assert "volumes" in ui.engineLabel.text

    ui.conceptsEdit.plainText = "liver"
    ui.applyButton.click()
    bench.wait(lambda: not widget.panel.is_busy)

    assert engine.loaded == ["demo"]
    assert ui.resultsTable.rowCount == 1
    assert bench.dialogs.texts("error") == []
    assert widget.logic.last.order.volume_node is volume
    widget.panel.setup.engine.look()
    bench.wait(lambda: "demo is loaded" in ui.engineLabel.text)


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
