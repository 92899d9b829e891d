"""Models in the panel: chosen, added from the hub or a folder, and removed. License and size come before a download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.engine import connection
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3SegmentLib.model_store.catalog import known_models
from MedSAM3SegmentLib.model_store.install_process import PlannedModel, plan_in_process
from MedSAM3SegmentLib.model_store.store import installed_models, remove_model, store_folder
from MedSAM3SegmentLib.request import PICK_ADAPTER
from MedSAM3SegmentLib.units import format_bytes
from MedSAM3WidgetsLib.background_task import BackgroundTask

from .model_installation import ModelInstallation

_DEMO = "demo"

#: The progress bar's range.
_FULL = 1000


class ModelSection:
    """The widgets that models are chosen, added and removed with.

    Args:
        ui: the panel's widgets.
        changed: called when another model was chosen or the installed ones changed.
        is_busy: whether a run is on its way, which may need its model.
    """

    def __init__(self, ui: Any, changed: Callable[[], None], is_busy: Callable[[], bool]) -> None:
        self._ui = ui
        self._changed = changed
        self._is_busy = is_busy
        self._parameters: Any = None
        self._filling = False
        self._installed: set[str] = set()
        self._background = BackgroundTask()
        self._arrival: ModelInstallation | None = None
        # Otherwise its button offers files only.
        ui.modelFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.modelSelector.connect("currentIndexChanged(int)", self._choose)
        ui.removeModelButton.connect("clicked()", self.remove)
        ui.addModelButton.connect("clicked()", self.add_known)
        ui.addFolderButton.connect("clicked()", self.add_folder)
        ui.cancelModelButton.connect("clicked()", self.cancel)
        ui.modelFolderEdit.connect("currentPathChanged(QString)", lambda _path: self.update())
        self.refresh()

    def connect(self, parameters: Any) -> None:
        """Keep the choice in ``parameters`` from now on."""
        self._parameters = parameters
        self.refresh()

    def refresh(self) -> None:
        """Show what is installed now."""
        try:
            installed = installed_models()
        except MedSAM3Error as error:
            self._say(translated(str(error)))
            installed = []
        names = [model.name for model in installed]
        self._installed = {_DEMO, PICK_ADAPTER, *names}
        self._filling = True
        selector = self._ui.modelSelector
        selector.clear()
        selector.addItem(_("Demo (synthetic pictures)"), _DEMO)
        for name in names:
            selector.addItem(name, name)
        if any(model.card.base for model in installed):
            selector.addItem(_("Pick an adapter for each volume"), PICK_ADAPTER)
        known = self._ui.knownModelSelector
        offered = known.currentData
        known.clear()
        for model in known_models():
            if model.name not in names:
                known.addItem(f"{model.name}: {model.card.licence}", model.name)
        known.setCurrentIndex(max(0, known.findData(offered)))
        self._filling = False
        self.show_choice()
        self.update()

    def show_choice(self) -> None:
        """Show the model that is chosen."""
        chosen = (self._parameters.model if self._parameters is not None else "") or _DEMO
        selector = self._ui.modelSelector
        if selector.currentData == chosen:
            return
        self._filling = True
        if selector.findData(chosen) < 0:
            words = _("{name} (not installed)").format(name=chosen) if self._is_missing(chosen) else chosen
            selector.addItem(words, chosen)
        selector.setCurrentIndex(selector.findData(chosen))
        self._filling = False

    def choose(self, name: str) -> None:
        """Let the next runs use an installed model."""
        if self._parameters is not None:
            self._parameters.model = name
        self.refresh()
        self._changed()

    def why_not(self) -> str:
        """Why the chosen model cannot run on this computer, in one sentence; empty when it can."""
        chosen = self._ui.modelSelector.currentData or _DEMO
        if not self._is_missing(chosen):
            return ""
        return _(
            "The model {name} is not installed on this computer; add it in the Set-up section, or choose another."
        ).format(name=chosen)

    def _is_missing(self, name: str) -> bool:
        """Whether it is neither installed nor a file or folder, each of which a script may choose too."""
        return any(part not in self._installed and not Path(part).exists() for part in name.split("+"))

    def update(self) -> None:
        """Enable what can be pressed."""
        free = not self._background.is_busy
        removable = self._ui.modelSelector.currentData not in (_DEMO, PICK_ADAPTER, None)
        self._ui.removeModelButton.enabled = free and removable and not self._is_busy()
        self._ui.addModelButton.enabled = free and self._ui.knownModelSelector.count > 0
        self._ui.addFolderButton.enabled = free and bool(self._ui.modelFolderEdit.currentPath)

    def close(self) -> None:
        """End what is on its way and hear nothing any more."""
        self.cancel()
        self._background.stop()

    def add_known(self) -> None:
        """Look up the chosen published model, ask, and install it."""
        self._plan(self._ui.knownModelSelector.currentData)

    def add_folder(self) -> None:
        """Install the model in the chosen folder or file; nothing is downloaded."""
        self._plan(self._ui.modelFolderEdit.currentPath)

    def cancel(self) -> None:
        """Ask the installation that is on its way to end; nothing of it is kept."""
        if self._arrival is not None:
            self._arrival.cancel()
            self._show_arrival()

    def remove(self) -> None:
        """Delete the chosen model, after asking."""
        name = self._ui.modelSelector.currentData
        if name in (_DEMO, PICK_ADAPTER, None) or self._background.is_busy or self._is_busy():
            return
        question = _("Delete the model {name} from {folder}?").format(name=name, folder=store_folder())
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove model")):
            return
        self._say(_("Removing {name}...").format(name=name))
        self._background.start(lambda: _remove(name), self._removed, self._fail)
        self.update()

    def _plan(self, source: Any) -> None:
        if not source or self._background.is_busy:
            return
        self._say(_("Looking at {model}...").format(model=source))
        self._background.start(lambda: plan_in_process(str(source)), self._ask, self._fail)

    def _ask(self, planned: PlannedModel) -> None:
        facts = _("{name}: {description}\n\nLicence: {licence} {url}\nSize: {size}\nIt is kept in {folder}.").format(
            name=planned.name,
            description=planned.description or _("a model without a description"),
            licence=planned.licence or _("not stated"),
            url=planned.licence_url,
            size=format_bytes(planned.size),
            folder=store_folder(),
        )
        if not slicer.util.confirmOkCancelDisplay(facts, windowTitle=_("Add model")):
            self._say("")
            return
        self._arrival = ModelInstallation(planned)
        self._background.start(self._arrival.install, self._added, self._fail, self._show_arrival)
        self._show_arrival()
        self.update()

    def _show_arrival(self) -> None:
        """Show how much of the model is there."""
        arrival, bar = self._arrival, self._ui.modelProgressBar
        bar.visible = self._ui.cancelModelButton.visible = arrival is not None
        if arrival is None:
            return
        self._ui.cancelModelButton.enabled = not arrival.is_cancelled
        done, total = arrival.done, arrival.total
        if arrival.is_cancelled or done >= total:
            # Without a range the bar runs to and fro.
            bar.setRange(0, 0)
        else:
            bar.setRange(0, _FULL)
            bar.value = round(_FULL * done / total)
        self._say(_arrival_words(arrival))

    def _added(self, _folder: Any) -> None:
        name = self._end_arrival()
        if self._parameters is not None:
            self._parameters.model = name
        self.refresh()
        self._say(_("{name} is installed.").format(name=name))
        self._changed()

    def _removed(self, name: str) -> None:
        if self._parameters is not None and self._parameters.model == name:
            self._parameters.model = _DEMO
        self.refresh()
        self._say(_("{name} was removed.").format(name=name))
        self._changed()

    def _fail(self, error: Exception) -> None:
        self._end_arrival()
        self.refresh()
        self._say(translated(str(error)))
        if not isinstance(error, Cancelled):
            slicer.util.errorDisplay(translated(str(error)), windowTitle=_("Models"))

    def _end_arrival(self) -> str:
        """Show that nothing is on its way any more; the name of what was is returned."""
        arrival, self._arrival = self._arrival, None
        self._show_arrival()
        return arrival.planned.name if arrival is not None else ""

    def _say(self, words: str) -> None:
        """Show ``words`` below the models; nothing takes no room."""
        self._ui.modelMessageLabel.text = words
        self._ui.modelMessageLabel.visible = bool(words)
        self.update()

    def _choose(self, _row: int) -> None:
        if self._filling:
            return
        if self._parameters is not None:
            self._parameters.model = self._ui.modelSelector.currentData or _DEMO
        self.update()
        self._changed()


def _remove(name: str) -> str:
    """Delete a model that the engine on this computer lets go of first: an open file stays on some systems."""
    connection.unload_local()
    remove_model(name)
    return name


def _arrival_words(arrival: ModelInstallation) -> str:
    name, done, total = arrival.planned.name, arrival.done, arrival.total
    if arrival.is_cancelled:
        return str(_("Cancelling {name}...").format(name=name))
    if not total:
        return str(_("Installing {name}: {done}...").format(name=name, done=format_bytes(done)))
    if done >= total:
        return str(_("Checking {name}...").format(name=name))
    return str(
        _("Installing {name}: {percent} %, {done} of {total}").format(
            name=name, percent=100 * done // total, done=format_bytes(done), total=format_bytes(total)
        )
    )
