"""The set-up section on the bench: what is installed in which order, the device, the engine's figures and address."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from subprocess import CalledProcessError
from types import SimpleNamespace

import numpy as np
import pytest
from packaging.requirements import Requirement

from engine_on_socket import TOKEN, Engine, tls_binding
from MedSAM3SceneLib import engine_access, engine_packages
from MedSAM3SegmentLib.models.model_store import STORE_VARIABLE
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
    assert {str(requirement) for requirement in engine_packages._REQUIREMENTS.values()} <= {
        str(Requirement(line)) for line in dependencies
    }


def test_what_is_missing_is_said_and_apply_waits_for_it(bench, monkeypatch):
    without(monkeypatch, "torch", "transformers")
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"

    assert widget.ui.stateLabel.text == "Not installed yet: torch, transformers."
    assert not widget.ui.setupSection.collapsed
    assert not widget.ui.applyButton.enabled
    assert "torch, transformers" in widget.ui.applyButton.toolTip


@pytest.mark.parametrize("name", ["rich", "huggingface_hub", "SimpleITK"])
def test_no_package_that_the_engine_needs_is_forgotten(bench, monkeypatch, name):
    without(monkeypatch, name)
    widget = bench.open_panel("MedSAM3Segment")

    assert widget.ui.stateLabel.text == f"Not installed yet: {name}."
    assert name in widget.panel.setup.why_not()


def test_pytorch_is_installed_first_then_the_rest_then_all_is_tried_out(bench, monkeypatch):
    order = []
    without(monkeypatch, "torch", "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch)

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):  # noqa: N802, N803
            order.append((f"torch{torchVersionRequirement}", askConfirmation, len(bench.installs.requirements)))
            return object()

    module = SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)

    widget.ui.installButton.click()
    bench.wait(lambda: "works" in widget.ui.stateLabel.text)

    assert order == [("torch>=2.6", True, 0)]
    (requirements,) = bench.installs.requirements
    assert any(line.startswith("transformers") for line in requirements)
    assert not any(line.startswith("torch") for line in requirements)
    # Slicer installs what is skipped without asking whether the rest fits together.
    (options,) = bench.installs.options
    assert options["skip_packages"] is None
    assert {f"numpy=={np.__version__}", f"SimpleITK=={version('SimpleITK')}"} <= set(options["constraints"])
    assert any(line.startswith("torch==") for line in options["constraints"])
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
    bench.installs.failure = CalledProcessError(1, "pip install", stderr="There is no network.")

    widget.ui.installButton.click()

    (message,) = bench.dialogs.texts("error")
    assert "pip install" in message


def test_who_declines_an_installation_is_not_told_of_an_error(bench, monkeypatch):
    without(monkeypatch, "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = RuntimeError("User declined package installation")
    probed = []
    monkeypatch.setattr("MedSAM3PanelLib.setup_section.probe", lambda: probed.append(1))

    widget.ui.installButton.click()
    bench.spin(0.2)

    assert bench.dialogs.said == []
    assert widget.ui.stateLabel.text == "Not installed yet: transformers."
    assert probed == []
    assert widget.ui.installButton.enabled


def test_what_was_installed_before_something_failed_counts(bench, monkeypatch):
    missing = ["rich", "transformers"]
    is_installed = engine_packages._is_installed
    monkeypatch.setattr(engine_packages, "_is_installed", lambda name: name not in missing and is_installed(name))
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = CalledProcessError(1, "pip install")
    missing.remove("rich")

    widget.ui.installButton.click()

    assert len(bench.dialogs.texts("error")) == 1
    assert widget.ui.stateLabel.text == "Not installed yet: transformers."


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


#: A PyTorch with one GPU, as far as the probe looks.
_TORCH_WITH_GPU = """
import types
__version__ = "2.9.0"
version = types.SimpleNamespace(cuda={cuda!r})
cuda = types.SimpleNamespace(
    is_available=lambda: True,
    get_device_name=lambda n: "Some GPU",
    get_device_properties=lambda n: types.SimpleNamespace(total_memory=24_000_000_000),
    get_device_capability=lambda n: {capability!r},
    get_arch_list=lambda: {archs!r},
)
"""


@pytest.mark.parametrize(
    ("capability", "archs", "cuda", "is_supported"),
    [
        ((8, 6), ["sm_75", "sm_80", "sm_86", "sm_90"], "12.8", True),
        # Built for the same major version, which PyTorch's own check asks for: an RTX 40 with what wheels hold.
        ((8, 9), ["sm_75", "sm_80", "sm_86", "sm_90"], "12.8", True),
        ((9, 0), ["sm_80", "sm_90a"], "12.8", True),
        ((12, 1), ["sm_90", "sm_120"], "12.8", True),
        ((6, 1), ["sm_75", "sm_80", "sm_86", "sm_90"], "12.8", False),
        ((12, 0), ["sm_80", "sm_90"], "12.4", False),
        # ROCm gives its devices other names.
        ((11, 0), ["gfx1100"], None, True),
        ((8, 9), [], "12.8", True),
    ],
)
def test_the_probe_says_whether_pytorch_was_built_for_the_gpu(
    bench, monkeypatch, tmp_path, capability, archs, cuda, is_supported
):
    from MedSAM3PanelLib.import_probe import probe

    (tmp_path / "torch.py").write_text(_TORCH_WITH_GPU.format(capability=capability, archs=archs, cuda=cuda))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    report = probe(("torch",))

    assert (report.device, report.gpu, report.gpu_bytes) == ("cuda", "Some GPU", 24_000_000_000)
    assert report.is_supported == is_supported

    widget = bench.open_panel("MedSAM3Segment")
    monkeypatch.setattr("MedSAM3PanelLib.setup_section.probe", lambda: report)
    widget.ui.checkButton.click()
    bench.wait(lambda: widget.ui.checkButton.enabled)
    assert ("not built for this GPU" in widget.ui.stateLabel.text) != is_supported


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
        assert engine_access.engine_of_settings() is engine_access.engine_of_settings(), "one client among others"
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
