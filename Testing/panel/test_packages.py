"""The set-up section on the bench: which packages there are, looked for when the panel is entered, and tried out."""

from __future__ import annotations

import re
import sys
import tomllib

import numpy as np
import pytest
from packaging.requirements import Requirement

from MedSAM3SceneLib.engine import requirements
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from support.absent_packages import without
from support.engine_server import TOKEN
from support.nodes import add_volume
from support.paths import ROOT

ALL_INSTALLED = "All packages are installed; press Check to try them out."


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))


def quick_probe(monkeypatch, broken=None):
    """Trying packages out takes long; the test of the probe itself does it for real."""
    from MedSAM3PanelLib.setup import import_check

    report = import_check.ImportReport(broken or {}, {"torch": "2.13.0"}, "cpu")
    monkeypatch.setattr("MedSAM3PanelLib.setup.setup_section.check_imports", lambda: report)


def no_probe(monkeypatch):
    """Fail a test in which packages are tried out."""
    monkeypatch.setattr(
        "MedSAM3PanelLib.setup.setup_section.check_imports", lambda: pytest.fail("packages were tried out")
    )


def check(bench, widget):
    widget.ui.checkButton.click()
    bench.wait(lambda: widget.ui.checkButton.enabled)


def is_one_sentence(words):
    return words.endswith(".") and not re.search(r"[.!?]\s", words)


def test_what_the_panel_installs_is_what_the_package_needs():
    """The same ranges in both places, but for what Slicer or its PyTorch extension bring."""
    dependencies = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    installed = set((ROOT / "MedSAM3Segment" / "Resources" / "requirements.txt").read_text().split())
    brought = ("torch", "SimpleITK", "numpy", "pydicom", "requests", "Pillow")

    assert installed == {line for line in dependencies if not line.startswith(tuple(f"{name}>" for name in brought))}
    assert {str(requirement) for requirement in requirements._REQUIREMENTS.values()} <= {
        str(Requirement(line)) for line in dependencies
    }


def test_what_is_missing_is_said_and_apply_waits_for_it(bench, monkeypatch):
    without(monkeypatch, bench, "torch", "transformers")
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"

    assert widget.ui.stateLabel.text == "Not installed yet: torch, transformers; press Install what is missing."
    assert not widget.ui.setupSection.collapsed
    assert not widget.ui.applyButton.enabled
    assert "torch, transformers" in widget.ui.applyButton.toolTip


@pytest.mark.parametrize("name", ["rich", "huggingface_hub", "SimpleITK"])
def test_no_package_that_the_engine_needs_is_forgotten(bench, monkeypatch, name):
    without(monkeypatch, bench, name)
    widget = bench.open_panel("MedSAM3Segment")

    assert widget.ui.stateLabel.text == f"Not installed yet: {name}; press Install what is missing."
    assert name in widget.panel.setup.why_not()


# --- looked for again -------------------------------------------------------------------------------------------------


def test_what_is_installed_elsewhere_is_noticed_when_the_panel_is_entered(bench, monkeypatch):
    absent = without(monkeypatch, bench, "torch")
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"
    assert not widget.ui.applyButton.enabled

    bench.leave(widget)
    absent.clear()
    bench.enter(widget)

    assert widget.ui.stateLabel.text == ALL_INSTALLED
    assert widget.ui.applyButton.enabled


def test_what_is_removed_elsewhere_is_noticed_too(bench, monkeypatch):
    absent = without(monkeypatch, bench)
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"
    assert widget.ui.applyButton.enabled

    bench.leave(widget)
    absent.add("rich")
    bench.enter(widget)

    assert "Not installed yet: rich" in widget.ui.stateLabel.text
    assert not widget.ui.applyButton.enabled


def test_a_package_python_did_not_find_before_is_found_once_it_is_there(bench, monkeypatch, tmp_path):
    """Python remembers what a folder held, so that pip in another process goes unnoticed."""
    from importlib import invalidate_caches

    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    requirement = Requirement("brandnew-package>=1")
    monkeypatch.setitem(requirements._REQUIREMENTS, "brandnew_package", requirement)
    monkeypatch.setattr(requirements, "NEEDED", (*requirements.NEEDED, "brandnew_package"))
    widget = bench.open_panel("MedSAM3Segment")
    assert "brandnew_package" in widget.ui.stateLabel.text
    asked = []
    monkeypatch.setattr("importlib.invalidate_caches", lambda: asked.append(True) or invalidate_caches())

    (folder / "brandnew_package.py").touch()
    (folder / "brandnew_package-1.0.dist-info").mkdir()
    (folder / "brandnew_package-1.0.dist-info" / "METADATA").write_text("Name: brandnew-package\nVersion: 1.0\n")
    bench.leave(widget)
    bench.enter(widget)

    assert asked
    assert widget.ui.stateLabel.text == ALL_INSTALLED


def test_what_a_trial_import_found_stays_on_show_until_something_changes(bench, monkeypatch):
    absent = without(monkeypatch, bench)
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch)
    check(bench, widget)
    found = widget.ui.stateLabel.text
    assert "PyTorch 2.13.0 works" in found

    bench.leave(widget)
    bench.enter(widget)
    assert widget.ui.stateLabel.text == found

    versions = requirements.installed_versions()
    monkeypatch.setattr(
        "MedSAM3PanelLib.setup.setup_section.installed_versions", lambda: {**versions, "transformers": "5.99"}
    )
    bench.enter(widget)
    assert widget.ui.stateLabel.text == ALL_INSTALLED, "another version was not tried out yet"

    check(bench, widget)
    absent.add("rich")
    bench.enter(widget)
    assert "rich" in widget.ui.stateLabel.text


def test_a_trial_that_is_on_its_way_is_not_spoken_over(bench, monkeypatch):
    absent = without(monkeypatch, bench)
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch)
    widget.ui.checkButton.click()
    absent.add("rich")

    widget.panel.connect_scene()

    assert widget.ui.stateLabel.text == "Trying the packages out..."
    bench.wait(lambda: "works" in widget.ui.stateLabel.text)


def test_with_a_remote_engine_nothing_is_said_to_be_missing_here(bench, engine, monkeypatch):
    without(monkeypatch, bench, "torch", "rich")
    no_probe(monkeypatch)
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"
    widget.ui.setupSection.collapsed = False

    widget.ui.remoteTokenEdit.text = TOKEN
    widget.ui.remoteAddressEdit.text = engine.address
    widget.ui.remoteAddressEdit.editingFinished.emit()

    remote = "Runs go to the remote engine; nothing has to be installed on this computer."
    assert widget.ui.stateLabel.text == remote
    assert widget.ui.applyButton.enabled
    bench.leave(widget)
    bench.enter(widget)
    check(bench, widget)
    assert widget.ui.stateLabel.text == remote
    bench.wait(lambda: "Running" in widget.ui.engineLabel.text)

    widget.ui.remoteAddressEdit.text = ""
    widget.ui.remoteAddressEdit.editingFinished.emit()
    assert "Not installed yet: torch, rich" in widget.ui.stateLabel.text
    assert not widget.ui.applyButton.enabled


# --- tried out --------------------------------------------------------------------------------------------------------


def test_check_on_a_bare_slicer_is_one_sentence_and_starts_no_process(bench, monkeypatch):
    without(monkeypatch, bench, *(name for name in requirements.NEEDED if name not in requirements.BROUGHT))
    no_probe(monkeypatch)
    widget = bench.open_panel("MedSAM3Segment")

    check(bench, widget)

    words = widget.ui.stateLabel.text
    expected = "Not installed yet: torch, filelock, huggingface_hub, keyring, nibabel, psutil, rapidfuzz, rich, "
    assert words.startswith(expected)
    assert "press Install what is missing" in words
    assert is_one_sentence(words)
    assert "Error" not in words


def test_check_notices_what_is_missing_since(bench, monkeypatch):
    absent = without(monkeypatch, bench)
    no_probe(monkeypatch)
    widget = bench.open_panel("MedSAM3Segment")
    absent.add("rich")

    check(bench, widget)

    assert "Not installed yet: rich" in widget.ui.stateLabel.text
    assert "rich" in widget.panel.setup.why_not()


def test_a_package_that_does_not_load_is_named(bench, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch, {"transformers": "ImportError: a library is missing"})

    check(bench, widget)

    words = widget.ui.stateLabel.text
    assert words.startswith("Installed but cannot be loaded: transformers; press Install what is missing")
    assert is_one_sentence(words)
    assert "transformers: ImportError: a library is missing" in widget.ui.stateLabel.toolTip


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("OSError: [WinError 126] The specified module could not be found. Error loading c10.dll.", "Visual C++"),
        ("ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory", "PyTorch Utils"),
    ],
)
def test_a_broken_pytorch_is_one_sentence_and_dependents_are_not_blamed(bench, monkeypatch, error, advice):
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch, {"torch": error, "transformers": "ImportError: no torch", "safetensors": "ImportError"})

    check(bench, widget)

    words = widget.ui.stateLabel.text
    assert words.startswith("PyTorch is installed but cannot be loaded")
    assert advice in words
    assert is_one_sentence(words)
    assert "transformers" not in words
    assert error in widget.ui.stateLabel.toolTip


def test_a_broken_part_of_slicer_is_not_offered_for_installation(bench, monkeypatch):
    widget = bench.open_panel("MedSAM3Segment")
    quick_probe(monkeypatch, {"SimpleITK": "ImportError: DLL load failed"})

    check(bench, widget)

    assert widget.ui.stateLabel.text == "SimpleITK, a part of Slicer, cannot be loaded; install Slicer again."


def test_a_pytorch_without_its_libraries_is_found_by_check_itself(bench, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('[WinError 126] Error loading c10.dll')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    widget = bench.open_panel("MedSAM3Segment")

    check(bench, widget)

    assert widget.ui.stateLabel.text.startswith("PyTorch is installed but cannot be loaded")
    assert is_one_sentence(widget.ui.stateLabel.text)


def test_a_package_that_ends_python_is_named(bench, monkeypatch, tmp_path):
    from MedSAM3PanelLib.setup.import_check import check_imports

    (tmp_path / "crashing.py").write_text("import os; os._exit(11)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = check_imports(("colorsys", "crashing"))
    assert list(report.broken) == ["crashing"]

    widget = bench.open_panel("MedSAM3Segment")
    monkeypatch.setattr("MedSAM3PanelLib.setup.setup_section.check_imports", lambda: report)
    check(bench, widget)

    assert widget.ui.stateLabel.text.startswith("Installed but cannot be loaded: crashing;")
    assert "code 11" in widget.ui.stateLabel.toolTip


def test_no_python_to_try_packages_with_is_said(bench, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    widget = bench.open_panel("MedSAM3Segment")

    check(bench, widget)

    assert "no Python process ran; restart Slicer" in widget.ui.stateLabel.text
    assert is_one_sentence(widget.ui.stateLabel.text)


def test_the_probe_imports_in_a_process_of_its_own(bench):
    del bench
    from MedSAM3PanelLib.setup.import_check import check_imports

    report = check_imports(("colorsys", "no_such_package_anywhere"))

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
    from MedSAM3PanelLib.setup.import_check import check_imports

    (tmp_path / "torch.py").write_text(_TORCH_WITH_GPU.format(capability=capability, archs=archs, cuda=cuda))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    report = check_imports(("torch",))

    assert (report.device, report.gpu, report.gpu_bytes) == ("cuda", "Some GPU", 24_000_000_000)
    assert report.is_supported == is_supported

    widget = bench.open_panel("MedSAM3Segment")
    monkeypatch.setattr("MedSAM3PanelLib.setup.setup_section.check_imports", lambda: report)
    widget.ui.checkButton.click()
    bench.wait(lambda: widget.ui.checkButton.enabled)
    assert ("not built for this GPU" in widget.ui.stateLabel.text) != is_supported
