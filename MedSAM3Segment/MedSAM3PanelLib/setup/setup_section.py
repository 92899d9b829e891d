"""Set-up: what is installed, one button that installs the rest, and where the model runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.engine.requirements import installed_versions, missing_packages
from MedSAM3WidgetsLib.background_task import BackgroundTask

from .engine_section import EngineSection
from .import_check import ImportReport, check_imports
from .import_sentences import details_of, words_of
from .model_section import ModelSection
from .package_installer import PackageInstaller


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
        self._changed = changed
        self._parameters: Any = None
        self._background = BackgroundTask()
        self._installer = PackageInstaller(requirements, self._installed, self._not_installed)
        self._seen: Any = None
        self._missing: tuple[str, ...] = ()
        self._broken: tuple[str, ...] = ()
        self._versions_before: dict[str, str | None] = {}
        self.models = ModelSection(ui, changed, is_busy)
        self.engine = EngineSection(ui)
        # Behind the section's own slot: what must be installed here depends on where the engine is.
        ui.remoteAddressEdit.connect("editingFinished()", self._remote_changed)
        for name, words in (("auto", _("Best there is")), ("cuda", "CUDA"), ("mps", "Metal"), ("cpu", "CPU")):
            ui.deviceSelector.addItem(words, name)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._choose_device)
        ui.installButton.connect("clicked()", self.install)
        ui.checkButton.connect("clicked()", self.check)
        self._look()

    def connect(self, parameters: Any) -> None:
        """Keep choices in ``parameters`` from now on; None for nowhere."""
        self._parameters = parameters
        self.models.connect(parameters)
        self.show_choices()
        if parameters is not None:
            # Packages may have been installed elsewhere since.
            self._look()

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
        if connection.remote_address():
            return ""  # What is installed there, the engine says itself.
        if self._installer.is_busy:
            return _("Python packages are being installed; wait until that is done.")
        if self._missing:
            words = _("Press Install in the Set-up section first; not installed yet: {names}.")
            return words.format(names=", ".join(self._missing))
        return self.models.why_not()

    def install(self) -> None:
        """Install what is missing or does not load, then try all out; who says no is left alone."""
        self._versions_before = installed_versions()
        self._installer.install(self._broken)
        if self._installer.is_busy:
            self._set_buttons(False)
            self._say(_("Installing; this takes a while, and the Python console shows how it goes."))
            self._changed()

    def check(self) -> None:
        """Say what is missing, or try in a process of its own whether everything can be imported."""
        self._look()
        if connection.remote_address():
            self._show_found()
            self.engine.look()
        elif self._missing:
            self._show_found()
            self._changed()
        else:
            self._try_out()

    def close(self) -> None:
        """Hear nothing any more."""
        self._background.stop()
        self._installer.close()
        self.models.close()
        self.engine.close()

    def _look(self) -> None:
        """Look for packages again; what was found out by trying stays on show while nothing has changed."""
        if self._installer.is_busy or self._background.is_busy:
            return
        importlib.invalidate_caches()
        seen = (missing_packages(), installed_versions(), connection.remote_address())
        if seen != self._seen:
            self._seen = seen
            self._missing, self._broken = seen[0], ()
            self._show_found()

    def _show_found(self) -> None:
        if connection.remote_address():
            self._say(_("Runs go to the remote engine; nothing has to be installed on this computer."))
        elif self._missing:
            words = _("Not installed yet: {names}; press Install what is missing.")
            self._say(words.format(names=", ".join(self._missing)))
            self._ui.setupSection.collapsed = False
        else:
            self._say(_("All packages are installed; press Check to try them out."))

    def _try_out(self, afterwards: str = "") -> None:
        """Import everything in another process, and say what came of it and ``afterwards``."""
        self._say(_("Trying the packages out..."))
        self._set_buttons(False)
        self._background.start(check_imports, lambda report: self._show(report, afterwards), self._fail)

    def _show(self, report: ImportReport, afterwards: str) -> None:
        self._set_buttons(True)
        self._broken = tuple(report.broken)
        self._say(f"{words_of(report)} {afterwards}".strip(), details_of(report))
        self._changed()

    def _fail(self, error: Exception) -> None:
        self._set_buttons(True)
        self._say(str(error))
        self._changed()

    def _installed(self) -> None:
        self._end_installation()
        if self._missing:
            self._set_buttons(True)
        else:
            self._try_out(self._replaced_words())
        self._changed()

    def _not_installed(self, details: str) -> None:
        """What was installed before something failed counts."""
        self._end_installation()
        self._set_buttons(True)
        self._ui.stateLabel.toolTip = details
        self._changed()

    def _end_installation(self) -> None:
        self._seen = None
        self._look()

    def _replaced_words(self) -> str:
        """What Slicer goes on using in the version from before, which another extension has imported."""
        now = installed_versions()
        replaced = [
            name
            for name, version in self._versions_before.items()
            if version is not None and version != now[name] and name in sys.modules
        ]
        words = _("Restart Slicer, in which {packages} was in use before it was replaced.")
        return words.format(packages=", ".join(replaced)) if replaced else ""

    def _remote_changed(self) -> None:
        self._look()
        self._changed()

    def _say(self, words: str, details: str = "") -> None:
        self._ui.stateLabel.text = words
        self._ui.stateLabel.toolTip = details

    def _set_buttons(self, enabled: bool) -> None:
        self._ui.installButton.enabled = self._ui.checkButton.enabled = enabled

    def _choose_device(self, _row: int) -> None:
        if self._parameters is not None:
            self._parameters.device = self._ui.deviceSelector.currentData or "auto"
