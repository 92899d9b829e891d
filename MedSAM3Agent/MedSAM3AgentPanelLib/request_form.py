"""The request and its choices: between widgets and parameter node, and what of them goes into a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import InputError, MedSAM3Error
from MedSAM3SegmentLib.model_store.store import installed_models
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS, Window

from .parameter_node import AgentParameters

_DEMO = "demo"


class RequestForm:
    """Keeps widgets and parameter node the same.

    Args:
        ui: the panel's widgets.
        changed: called when a choice was changed.
        ask: called when Return is pressed in the request.
    """

    def __init__(self, ui: Any, changed: Callable[[], None], ask: Callable[[], None]) -> None:
        self._ui = ui
        self._changed = changed
        self._parameters: Any = None
        self._gui_tag: Any = None
        self._observation: Any = None
        self._updating = False
        self._keys = _AskKeys(ui.requestEdit, ask)
        for name, words in (("auto", _("Best there is")), ("cuda", "CUDA"), ("mps", "Metal"), ("cpu", "CPU")):
            ui.deviceSelector.addItem(words, name)
        ui.windowSelector.addItem(_("each structure's own"), "")
        for name in CT_WINDOWS:
            ui.windowSelector.addItem(name, name)
        ui.modelSelector.addItem(_("Demo (synthetic pictures)"), _DEMO)
        # Slicer's own connections would offer scalar volumes only, and move the cursor of who types.
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._take_volume)
        ui.requestEdit.connect("textChanged()", self._take_text)
        ui.windowSelector.connect("currentTextChanged(QString)", self._take_window)
        ui.modelSelector.connect("currentIndexChanged(int)", self._take_model)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._take_device)

    @property
    def parameters(self) -> Any:
        """The AgentParameters, or None while the panel belongs to no scene."""
        return self._parameters

    @property
    def volume(self) -> Any | None:
        """The volume node that is chosen."""
        return self._parameters.volume if self._parameters is not None else None

    def connect(self, parameter_node: Any) -> None:
        """Keep the choices in ``parameter_node`` (a vtkMRMLScriptedModuleNode) from now on."""
        self.disconnect()
        self._parameters = AgentParameters(parameter_node)
        self._gui_tag = self._parameters.connectGui(self._ui)
        self._observation = parameter_node.AddObserver("ModifiedEvent", self._show)
        if self._parameters.volume is None:
            self._parameters.volume = self._ui.volumeSelector.currentNode() or _first_volume()
        self._offer_models()
        self._show()

    def disconnect(self) -> None:
        """Keep the choices nowhere."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self._parameters.parameterNode.RemoveObserver(self._observation)
            self._parameters = None

    def close(self) -> None:
        """The panel goes away."""
        self.disconnect()
        self._keys.close()

    def why_not(self) -> str:
        """Why nothing can be asked yet, in one sentence; empty when something can."""
        parameters = self._parameters
        if parameters is None or parameters.volume is None:
            return _("Select a volume first.")
        if not parameters.text.strip():
            return _("Type what to find first.")
        return self._why_no_window()

    def options(self) -> dict[str, Any]:
        """What ``MedSAM3AgentLogic.start`` takes, without the language model."""
        parameters = self._parameters
        return {
            "rounds": parameters.rounds,
            "calls": parameters.calls,
            "plane": parameters.plane.engine_plane,
            "window": _window_of(parameters.window),
            "threshold": parameters.threshold or None,
            "model": parameters.model or _DEMO,
            "device": parameters.device or "auto",
        }

    def set_text(self, text: str) -> None:
        """Type a request."""
        self._ui.requestEdit.plainText = text

    def _why_no_window(self) -> str:
        try:
            _window_of(self._parameters.window)
        except InputError as error:
            return str(translated(str(error)))
        return ""

    def _offer_models(self) -> None:
        """Offer the models that are installed now."""
        try:
            names = [_DEMO, *(model.name for model in installed_models())]
        except MedSAM3Error:
            names = [_DEMO]  # MedSAM3 Segment says why
        self._updating = True
        selector = self._ui.modelSelector
        for name in names:
            if selector.findData(name) < 0:
                selector.addItem(name, name)
        for row in reversed(range(selector.count)):
            if selector.itemData(row) not in names:
                selector.removeItem(row)
        self._updating = False

    def _take_volume(self, node: Any = None) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.volume = node
        self._changed()

    def _take_text(self) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.text = self._ui.requestEdit.plainText
        self._changed()

    def _take_window(self, typed: str) -> None:
        if self._parameters is not None and not self._updating:
            selector = self._ui.windowSelector
            self._parameters.window = "" if selector.findText(typed) == 0 else typed.strip()
            self._changed()

    def _take_model(self, _row: int) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.model = self._ui.modelSelector.currentData or _DEMO

    def _take_device(self, _row: int) -> None:
        if self._parameters is not None and not self._updating:
            self._parameters.device = self._ui.deviceSelector.currentData or "auto"

    def _show(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring the widgets that are not connected by name up to date, without moving the cursor of who types."""
        if self._parameters is None or self._updating:
            return
        self._updating = True
        ui, parameters = self._ui, self._parameters
        if ui.volumeSelector.currentNode() is not parameters.volume:
            ui.volumeSelector.setCurrentNode(parameters.volume)
        if ui.requestEdit.plainText != parameters.text:
            ui.requestEdit.plainText = parameters.text
        shown = parameters.window or ui.windowSelector.itemText(0)
        if ui.windowSelector.currentText.strip() != shown:
            ui.windowSelector.setCurrentText(shown)
        _choose(ui.modelSelector, parameters.model or _DEMO)
        _choose(ui.deviceSelector, parameters.device or "auto")
        self._updating = False
        self._changed()


class _AskKeys(qt.QObject):
    """Lets Return ask, as below a search; with Shift it begins a line."""

    def __init__(self, edit: Any, ask: Callable[[], None]) -> None:
        qt.QObject.__init__(self, edit)
        self._edit, self._ask = edit, ask
        edit.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Whether the key was taken."""
        if event.type() != qt.QEvent.KeyPress or event.key() not in (qt.Qt.Key_Return, qt.Qt.Key_Enter):
            return False
        if event.modifiers() & qt.Qt.ShiftModifier:
            return False
        self._ask()
        return True

    def close(self) -> None:
        """Hear no keys any more."""
        self._edit.removeEventFilter(self)


def _choose(selector: Any, data: str) -> None:
    if selector.currentData == data:
        return
    if selector.findData(data) < 0:
        selector.addItem(data, data)  # which a script chose
    selector.setCurrentIndex(selector.findData(data))


def _window_of(typed: str) -> Any:
    """What the logic takes as window.

    Raises:
        InputError: it is neither a preset nor two numbers.
    """
    if not typed:
        return None
    if typed in CT_WINDOWS:
        return typed
    window = Window.parse(typed)
    return window.low, window.high


def _first_volume() -> Any | None:
    """The volume that a user most likely means, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if not node.IsA("vtkMRMLLabelMapVolumeNode") and not node.GetHideFromEditors():
            return node
    return None
