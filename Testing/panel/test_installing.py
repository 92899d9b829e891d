"""Install in the set-up section: what is installed in which order, and what is said when it does not succeed."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from subprocess import CalledProcessError

import numpy as np
import pytest
from packaging.requirements import Requirement

from MedSAM3SceneLib.engine import requirements
from MedSAM3SegmentLib.model_store.store import STORE_VARIABLE
from support.absent_packages import PyTorchExtension, without
from support.nodes import add_volume
from support.pip_output import CONFLICT, IN_USE, NO_SPACE, NO_VERSION, REFUSED

MISSING = "Not installed yet: {names}; press Install what is missing."


@pytest.fixture(autouse=True)
def probes(bench, monkeypatch, tmp_path):
    """How often packages were tried out, which takes long."""
    del bench
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))
    from MedSAM3PanelLib.setup import import_check

    probed = []
    report = import_check.ImportReport({}, {"torch": "2.13.0"}, "cpu")
    monkeypatch.setattr("MedSAM3PanelLib.setup.setup_section.check_imports", lambda: probed.append(True) or report)
    return probed


def install(bench, widget):
    """Click, and wait for the end."""
    widget.ui.installButton.click()
    bench.wait(lambda: widget.ui.installButton.enabled)


def failing(printed):
    return CalledProcessError(1, "pip install", output=printed)


def the_error(bench):
    """The one message that was shown."""
    (said,) = [said for said in bench.dialogs.said if said.kind != "question"]
    assert (said.kind, said.title) == ("error", "MedSAM3 Segment")
    assert said.text.endswith(".")
    assert not re.search(r"[.!?]\s", said.text), "one sentence"
    return said.text


def test_pytorch_is_installed_first_then_the_rest_then_all_is_tried_out(bench, monkeypatch, probes):
    order = []
    absent = without(monkeypatch, bench, "torch", "transformers")
    extension = PyTorchExtension(monkeypatch, absent)
    extension.helper_is_there = True
    widget = bench.open_panel("MedSAM3Segment")
    real = extension._install
    monkeypatch.setattr(
        extension, "_install", lambda **asked: order.append((asked, len(bench.installs.requirements))) or real(**asked)
    )

    install(bench, widget)

    (asked,) = extension.asked
    assert asked == {"askConfirmation": True, "torchVersionRequirement": ">=2.6"}
    assert [count for _asked, count in order] == [0]
    (asked_for,) = bench.installs.requirements
    assert any(line.startswith("transformers") for line in asked_for)
    assert not any(line.startswith("torch") for line in asked_for)
    # Slicer installs what is skipped without asking whether the rest fits together.
    (options,) = bench.installs.options
    assert options["skip_packages"] is None
    assert {f"numpy=={np.__version__}", f"SimpleITK=={version('SimpleITK')}"} <= set(options["constraints"])
    assert any(line.startswith("torch==") for line in options["constraints"])
    assert "without a GPU" in widget.ui.stateLabel.text
    assert probes == [True]
    assert bench.dialogs.texts("error") == []


def test_the_window_stays_alive_and_tells_that_it_is_installing(bench, monkeypatch):
    without(monkeypatch, bench, "transformers")
    add_volume(np.zeros((3, 4, 5), np.int16))
    widget = bench.open_panel("MedSAM3Segment")
    widget.ui.conceptsEdit.plainText = "liver"
    bench.installs.held = True

    widget.ui.installButton.click()

    assert "Installing" in widget.ui.stateLabel.text
    assert not widget.ui.installButton.enabled
    assert not widget.ui.checkButton.enabled
    assert "being installed" in widget.ui.applyButton.toolTip
    bench.leave(widget)
    bench.enter(widget)
    assert "Installing" in widget.ui.stateLabel.text
    widget.panel.setup.install()
    assert len(bench.installs.requirements) == 1

    bench.installs.release()
    bench.wait(lambda: "works" in widget.ui.stateLabel.text)
    assert widget.ui.applyButton.enabled


def test_what_is_to_be_installed_is_asked_for_by_name(bench, monkeypatch):
    without(monkeypatch, bench, "rich", "transformers")
    widget = bench.open_panel("MedSAM3Segment")

    install(bench, widget)

    (question,) = bench.dialogs.texts("question")
    assert "rich" in question
    assert "transformers" in question
    assert "uvicorn" not in question


def test_without_the_pytorch_extension_nothing_else_is_installed(bench, monkeypatch):
    without(monkeypatch, bench, "torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    widget = bench.open_panel("MedSAM3Segment")

    install(bench, widget)

    assert bench.installs.requirements == []
    assert "PyTorch extension" in the_error(bench)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (REFUSED, "the Python package index cannot be reached; connect this computer to the internet"),
        (NO_SPACE, "no space is left on the disk"),
        (IN_USE, "may not be written to or a file in it is in use"),
        (NO_VERSION, "has no rich>=999"),
        (CONFLICT, "do not fit"),
        ("", "the Python console says why"),
    ],
)
def test_an_installation_that_fails_is_one_dialog_of_one_sentence(bench, monkeypatch, probes, printed, said):
    without(monkeypatch, bench, "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = failing(printed)

    install(bench, widget)

    assert said in the_error(bench)
    assert widget.ui.stateLabel.text == MISSING.format(names="transformers")
    assert all(line in printed for line in widget.ui.stateLabel.toolTip.splitlines())
    assert bool(widget.ui.stateLabel.toolTip) == bool(printed)
    assert probes == []
    assert bench.app.overrideCursor() is None


def test_without_a_network_pytorchs_own_installer_is_not_even_begun(bench, monkeypatch):
    """It would show a dialog of its own that does not say what is wrong."""
    absent = without(monkeypatch, bench, "torch", "transformers")
    extension = PyTorchExtension(monkeypatch, absent)
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = failing(REFUSED)

    install(bench, widget)

    assert "package index cannot be reached" in the_error(bench)
    assert extension.asked == []
    assert bench.dialogs.texts("question") == [], "nobody is asked whether to do what cannot be done"
    (looked_for,) = bench.installs.looked_for
    assert "--dry-run" in looked_for
    assert bench.installs.requirements == []
    assert widget.ui.stateLabel.text == MISSING.format(names="torch, transformers")


def test_an_index_that_has_nothing_of_pytorchs_is_left_to_its_extension(bench, monkeypatch):
    absent = without(monkeypatch, bench, "torch")
    extension = PyTorchExtension(monkeypatch, absent)
    extension.helper_is_there = True
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = failing(NO_VERSION)

    install(bench, widget)

    assert len(extension.asked) == 1
    assert bench.dialogs.texts("error") == []
    assert "works" in widget.ui.stateLabel.text


def test_why_pytorch_was_not_installed_is_said_in_one_sentence(bench, monkeypatch, probes):
    absent = without(monkeypatch, bench, "torch", "transformers")
    extension = PyTorchExtension(monkeypatch, absent)
    extension.helper_is_there = True
    extension.printed = NO_SPACE.splitlines()
    widget = bench.open_panel("MedSAM3Segment")

    install(bench, widget)

    assert "no space is left on the disk" in the_error(bench)
    assert bench.installs.requirements == []
    assert widget.ui.stateLabel.text == MISSING.format(names="torch, transformers")
    assert probes == []
    assert bench.app.overrideCursor() is None


def test_what_slicer_has_shown_already_is_not_said_again(bench, monkeypatch):
    """The PyTorch extension has Slicer install its helper, whose failures Slicer shows by itself."""
    absent = without(monkeypatch, bench, "torch")
    PyTorchExtension(monkeypatch, absent)
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = failing(NO_SPACE)

    install(bench, widget)

    assert bench.dialogs.texts("error") == ["Package installation failed."]
    assert widget.ui.stateLabel.text == MISSING.format(names="torch")
    assert "No space left" in widget.ui.stateLabel.toolTip


def test_an_installed_pytorch_that_fails_to_import_is_tried_in_a_process(bench, monkeypatch, probes):
    absent = without(monkeypatch, bench, "torch", "transformers")
    extension = PyTorchExtension(monkeypatch, absent)
    extension.helper_is_there = True
    extension.broken = OSError("[WinError 126] Error loading c10.dll")
    widget = bench.open_panel("MedSAM3Segment")

    install(bench, widget)

    assert bench.dialogs.texts("error") == []
    assert len(bench.installs.requirements) == 1
    assert probes == [True]


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_who_declines_an_installation_is_not_told_of_an_error(bench, monkeypatch, probes, missing):
    absent = without(monkeypatch, bench, missing)
    PyTorchExtension(monkeypatch, absent)
    bench.dialogs.confirm = False
    widget = bench.open_panel("MedSAM3Segment")

    install(bench, widget)
    bench.spin(0.2)

    assert [said.kind for said in bench.dialogs.said] == ["question"]
    assert bench.installs.requirements == []
    assert widget.ui.stateLabel.text == MISSING.format(names=missing)
    assert probes == []
    assert widget.ui.installButton.enabled


def test_what_was_installed_before_something_failed_counts(bench, monkeypatch):
    absent = without(monkeypatch, bench, "rich", "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.failure = failing(NO_VERSION)
    absent.remove("rich")

    install(bench, widget)

    assert len(bench.dialogs.texts("error")) == 1
    assert widget.ui.stateLabel.text == MISSING.format(names="transformers")


def test_what_does_not_load_is_installed_once_more(bench, monkeypatch):
    from MedSAM3PanelLib.setup import import_check

    absent = without(monkeypatch, bench)
    widget = bench.open_panel("MedSAM3Segment")
    report = import_check.ImportReport({"transformers": "ImportError: half of it is gone"}, {})
    with monkeypatch.context() as patch:
        patch.setattr("MedSAM3PanelLib.setup.setup_section.check_imports", lambda: report)
        widget.ui.checkButton.click()
        bench.wait(lambda: widget.ui.checkButton.enabled)
    assert "transformers; press Install" in widget.ui.stateLabel.text
    absent.add("rich")

    install(bench, widget)

    missing, again = bench.installs.requirements
    assert [Requirement(line).name for line in missing] == ["rich"]
    assert again[:2] == ["--force-reinstall", "--no-deps"]
    assert [Requirement(line).name for line in again[2:]] == ["transformers"]
    assert "works" in widget.ui.stateLabel.text


def test_slicer_is_to_be_restarted_where_a_package_in_use_was_replaced(bench, monkeypatch):
    without(monkeypatch, bench, "rich")
    widget = bench.open_panel("MedSAM3Segment")
    monkeypatch.setitem(sys.modules, "rich", sys)
    monkeypatch.delitem(sys.modules, "uvicorn", raising=False)
    versions = {**requirements.installed_versions(), "rich": "1.0", "uvicorn": "0.1"}
    monkeypatch.setattr("MedSAM3PanelLib.setup.setup_section.installed_versions", lambda: dict(versions))
    bench.installs.held = True
    widget.ui.installButton.click()
    versions.update(rich="15.0", uvicorn="0.5")
    bench.installs.release()
    bench.wait(lambda: widget.ui.installButton.enabled)

    assert widget.ui.stateLabel.text.endswith("Restart Slicer, in which rich was in use before it was replaced.")


def test_a_panel_that_is_closed_meanwhile_hears_nothing_of_the_end(bench, monkeypatch):
    absent = without(monkeypatch, bench, "torch")
    extension = PyTorchExtension(monkeypatch, absent)
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.held = True
    widget.ui.installButton.click()

    bench.close_panel(widget)
    bench.installs.release()
    bench.spin(0.05)

    assert extension.asked == []
    assert bench.dialogs.said == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_panel_closed_while_pytorch_is_installed_asks_nothing_more(bench, monkeypatch, fails):
    """Slicer lets the window live a little meanwhile."""
    absent = without(monkeypatch, bench, "torch", "transformers")
    extension = PyTorchExtension(monkeypatch, absent)
    extension.helper_is_there = True
    extension.printed = NO_SPACE.splitlines() if fails else []
    widget = bench.open_panel("MedSAM3Segment")
    real = extension._install
    monkeypatch.setattr(extension, "_install", lambda **asked: bench.close_panel(widget) or real(**asked))

    widget.ui.installButton.click()
    bench.wait(lambda: extension.asked)
    bench.spin(0.05)

    assert [said.text for said in bench.dialogs.said] == ["PyTorch will be downloaded and installed."]
    assert bench.installs.requirements == []


def test_one_installation_waits_for_another(bench, monkeypatch):
    without(monkeypatch, bench, "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    bench.installs.held = True
    bench.installs.end(lambda: None)

    install(bench, widget)

    assert "Something else is being installed; wait" in the_error(bench)
    assert bench.installs.requirements == []


def test_a_test_run_of_slicer_installs_nothing(bench, monkeypatch):
    """Nor does Slicer's own installer."""
    without(monkeypatch, bench, "transformers")
    widget = bench.open_panel("MedSAM3Segment")
    monkeypatch.setattr(type(bench.app), "testingEnabled", lambda _app: True)

    install(bench, widget)

    assert bench.installs.requirements == []
    assert widget.ui.stateLabel.text == MISSING.format(names="transformers")
