"""Set-up: what is installed, one button that installs the rest, and where the model runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib import engine_access
from MedSAM3SceneLib.engine_packages import PYTORCH_RANGE, held_versions, missing_packages
from MedSAM3SegmentLib.byte_sizes import size_in_words

from .background import Background
from .engine_section import EngineSection
from .import_probe import ProbeReport, probe
from .model_choice import ModelChoice


class SetupSection:
    """The set-up part of the panel.

    Args:
        ui: the panel's widgets.
        requirements: the file with the Python packages that are needed.
        changed: called when more or less can be done than before.
        is_busy: whether a run is on its way.
    """

    def __init__(self, ui: Any, requirements: str, changed: Callable[[], None], is_busy: Callable[[], bool]) -> None:
        self._ui = ui
        self._requirements = requirements
        self._changed = changed
        self._parameters: Any = None
        self._background = Background()
        self._missing = missing_packages()
        self.models = ModelChoice(ui, changed, is_busy)
        self.engine = EngineSection(ui)
        # Behind the section's own slot: what must be installed here depends on where the engine is.
        ui.remoteAddressEdit.connect("editingFinished()", changed)
        for name, words in (("auto", _("Best there is")), ("cuda", "CUDA"), ("mps", "Metal"), ("cpu", "CPU")):
            ui.deviceSelector.addItem(words, name)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._choose_device)
        ui.installButton.connect("clicked()", self.install)
        ui.checkButton.connect("clicked()", self.check)
        self._show_missing()

    def connect(self, parameters: Any) -> None:
        """Keep choices in ``parameters`` from now on."""
        self._parameters = parameters
        self.models.connect(parameters)
        self.show_choices()

    def show_choices(self) -> None:
        """Show the model and the device that are chosen by now."""
        if self._parameters is None:
            return
        self.models.show_choice()
        selector, device = self._ui.deviceSelector, self._parameters.device or "auto"
        if selector.findData(device) < 0:
            selector.addItem(device, device)  # such as one of several GPUs, which a script chose
        if selector.currentData != device:
            selector.setCurrentIndex(selector.findData(device))

    def update(self) -> None:
        """Enable what can be pressed."""
        self.models.update()

    def why_not(self) -> str:
        """Why nothing can run yet, in one sentence; empty when something can."""
        if engine_access.remote_address():
            return ""  # What is installed there, the engine says itself.
        if self._missing:
            return _("Press Install in the Set-up section first: {names} is missing.").format(
                names=", ".join(self._missing)
            )
        return self.models.why_not()

    def install(self) -> None:
        """Install what is missing as Slicer does it, then try it out; who says no is left alone."""
        is_installed = False
        try:
            with slicer.util.tryWithErrorDisplay(_("The installation did not succeed."), waitCursor=True):
                is_installed = _install(self._requirements)
        finally:
            importlib.invalidate_caches()
            self._missing = missing_packages()
            self._show_missing()
            self._changed()
        if is_installed:
            self.check()

    def check(self) -> None:
        """Try in a process of its own whether everything can be imported."""
        self._missing = missing_packages()
        self._ui.stateLabel.text = _("Trying the packages out...")
        self._set_buttons(False)
        self._background.start(probe, self._show, self._fail)

    def close(self) -> None:
        """Hear nothing any more."""
        self._background.stop()
        self.models.close()
        self.engine.close()

    def _show(self, report: ProbeReport) -> None:
        self._set_buttons(True)
        self._ui.stateLabel.text = _words(report)
        self._changed()

    def _fail(self, error: Exception) -> None:
        self._set_buttons(True)
        self._ui.stateLabel.text = str(error)
        self._changed()

    def _show_missing(self) -> None:
        if self._missing:
            self._ui.stateLabel.text = _("Not installed yet: {names}.").format(names=", ".join(self._missing))
            self._ui.setupSection.collapsed = False
        else:
            self._ui.stateLabel.text = _("All packages are installed. Press Check to try them out.")

    def _set_buttons(self, enabled: bool) -> None:
        self._ui.installButton.enabled = self._ui.checkButton.enabled = enabled

    def _choose_device(self, _row: int) -> None:
        if self._parameters is not None:
            self._parameters.device = self._ui.deviceSelector.currentData or "auto"


def _install(requirements: str) -> bool:
    """Install PyTorch, then what ``requirements`` lists; False when the user said no, or cannot yet."""
    if "torch" in missing_packages() and not _install_pytorch():
        return False
    from slicer.packaging import load_requirements, pip_ensure

    with TemporaryDirectory() as folder:
        # Packages that are skipped instead would keep pip from finding versions of the others that fit together.
        held = Path(folder, "held.txt")
        held.write_text("\n".join(held_versions()), "utf-8")
        try:
            pip_ensure(load_requirements(requirements), constraints=held, requester="MedSAM3 Segment")
        except RuntimeError:
            return False  # As pip_ensure says that the user declined; what goes wrong is a CalledProcessError.
    return True


def _install_pytorch() -> bool:
    """Let the PyTorch extension install the PyTorch that fits this computer; False when the user said no."""
    try:
        import PyTorchUtils
    except ImportError:
        slicer.util.errorDisplay(
            _("The PyTorch extension is missing; install it in the Extensions Manager and restart Slicer.")
        )
        return False
    logic = PyTorchUtils.PyTorchUtilsLogic()
    return logic.installTorch(askConfirmation=True, torchVersionRequirement=PYTORCH_RANGE) is not None


def _words(report: ProbeReport) -> str:
    if report.broken:
        broken = "; ".join(f"{name}: {why}" for name, why in report.broken.items())
        return _("Cannot be used yet ({broken}). Press Install; if that does not help, restart Slicer.").format(
            broken=broken
        )
    torch = _("PyTorch {version} works").format(version=report.versions.get("torch", ""))
    if report.device == "cuda":
        where = _("{torch} on {gpu} with {memory}.").format(
            torch=torch, gpu=report.gpu, memory=size_in_words(report.gpu_bytes)
        )
        if not report.is_supported:
            where += " " + _("It was not built for this GPU; install another version with the PyTorch extension.")
        return where
    if report.device == "mps":
        return _("{torch} on this computer's Apple GPU.").format(torch=torch)
    return _("{torch} without a GPU: large models will be slow.").format(torch=torch)
