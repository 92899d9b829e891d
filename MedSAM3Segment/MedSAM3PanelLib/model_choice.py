"""Models in the panel: chosen, added from the hub or a folder, and removed. Licence and size come before a download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.models.known_models import known_models
from MedSAM3SegmentLib.models.model_store import installed_models, remove_model, store_folder

from .background import Background

_DEMO = "demo"


class ModelChoice:
    """The widgets that models are chosen, added and removed with.

    Args:
        ui: the panel's widgets.
        changed: called when another model was chosen or the installed ones changed.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui = ui
        self._changed = changed
        self._parameters: Any = None
        self._filling = False
        self._background = Background()
        ui.modelSelector.connect("currentIndexChanged(int)", self._choose)
        ui.removeModelButton.connect("clicked()", self.remove)
        ui.addModelButton.connect("clicked()", self.add_known)
        ui.addFolderButton.connect("clicked()", self.add_folder)
        ui.modelFolderEdit.connect("currentPathChanged(QString)", self._update_buttons)
        self.refresh()

    def connect(self, parameters: Any) -> None:
        """Keep the choice in ``parameters`` from now on."""
        self._parameters = parameters
        self.refresh()

    def refresh(self) -> None:
        """Show what is installed now."""
        chosen = self._parameters.model if self._parameters is not None else _DEMO
        try:
            names = [model.name for model in installed_models()]
        except MedSAM3Error as error:
            self._ui.engineLabel.text = str(error)
            names = []
        self._filling = True
        selector = self._ui.modelSelector
        selector.clear()
        selector.addItem(_("Demo model (synthetic pictures only)"), _DEMO)
        for name in names:
            selector.addItem(name, name)
        if chosen not in (_DEMO, *names):
            # A folder or hub id that a script chose, or a model that is not installed here.
            selector.addItem(chosen, chosen)
        selector.setCurrentIndex(max(0, selector.findData(chosen)))
        known = self._ui.knownModelSelector
        known.clear()
        for model in known_models():
            if model.name not in names:
                known.addItem(f"{model.name}: {model.card.licence}", model.name)
        self._filling = False
        self._update_buttons()

    def close(self) -> None:
        """Hear nothing any more."""
        self._background.stop()

    def add_known(self) -> None:
        """Look up the chosen published model, ask, and install it."""
        self._plan(self._ui.knownModelSelector.currentData)

    def add_folder(self) -> None:
        """Install the model in the chosen folder or file; nothing is downloaded."""
        self._plan(self._ui.modelFolderEdit.currentPath)

    def remove(self) -> None:
        """Delete the chosen model, after asking."""
        name = self._ui.modelSelector.currentData
        question = _("Delete the model {name} from {folder}?").format(name=name, folder=store_folder())
        if name == _DEMO or not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove model")):
            return
        with slicer.util.tryWithErrorDisplay(_("The model could not be removed.")):
            remove_model(name)
        if self._parameters is not None:
            self._parameters.model = _DEMO
        self.refresh()
        self._changed()

    def _plan(self, source: Any) -> None:
        if not source or self._background.is_busy:
            return
        self._say(_("Looking at {model}...").format(model=source))
        self._background.start(lambda: _plan(str(source)), self._ask, self._fail)

    def _ask(self, installation: Any) -> None:
        card = installation.card
        facts = _("{name}: {description}\n\nLicence: {licence} {url}\nSize: {size}\nIt is kept in {folder}.").format(
            name=installation.name,
            description=card.description or _("a model without a description"),
            licence=card.licence or _("not stated"),
            url=installation.licence_url,
            size=size_in_words(installation.size),
            folder=store_folder(),
        )
        if not slicer.util.confirmOkCancelDisplay(facts, windowTitle=_("Add model")):
            self._say("")
            return
        self._say(_("Installing {name}...").format(name=installation.name))
        self._background.start(lambda: _install(installation), lambda _folder: self._added(installation), self._fail)

    def _added(self, installation: Any) -> None:
        if self._parameters is not None:
            self._parameters.model = installation.name
        self.refresh()
        self._say(_("{name} is installed.").format(name=installation.name))
        self._changed()

    def _fail(self, error: Exception) -> None:
        self._say(str(error))
        slicer.util.errorDisplay(str(error), windowTitle=_("Add model"))

    def _say(self, words: str) -> None:
        self._ui.engineLabel.text = words
        self._update_buttons()

    def _choose(self, _row: int) -> None:
        if not self._filling and self._parameters is not None:
            self._parameters.model = self._ui.modelSelector.currentData or _DEMO
        self._update_buttons()
        self._changed()

    def _update_buttons(self, _path: Any = None) -> None:
        free = not self._background.is_busy
        self._ui.removeModelButton.enabled = free and self._ui.modelSelector.currentData not in (_DEMO, None)
        self._ui.addModelButton.enabled = free and self._ui.knownModelSelector.count > 0
        self._ui.addFolderButton.enabled = free and bool(self._ui.modelFolderEdit.currentPath)


def size_in_words(size: int) -> str:
    """Bytes as ``1.5 GB`` or ``12 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 5e8 else f"{size / 1e6:.0f} MB"


def _plan(source: str) -> Any:
    # Here, because it imports what takes a while, and this is called on a thread.
    from MedSAM3SegmentLib.models.installing import plan

    return plan(source)


def _install(installation: Any) -> Any:
    from MedSAM3SegmentLib.models.installing import install

    return install(installation)
