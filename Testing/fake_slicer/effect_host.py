"""The host of a scripted Segment Editor effect: what ``self.scriptedEffect`` is, over Slicer's own editing logic."""

from __future__ import annotations

import importlib
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import SceneWidget


class Mode(IntEnum):
    """qSlicerSegmentEditorAbstractEffect::ModificationMode."""

    ModificationModeSet = 0
    ModificationModeAdd = 1
    ModificationModeRemove = 2
    ModificationModeRemoveAll = 3


class Confirmation(IntEnum):
    """qSlicerSegmentEditorAbstractEffect::ConfirmationResult."""

    NotConfirmed = 0
    ConfirmedWithoutDialog = 1
    ConfirmedWithDialog = 2


class ScriptedEffect(QtCore.QObject):
    """qSlicerSegmentEditorScriptedEffect."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._name, self.title = "UnnamedScriptedEffect", ""
        self.perSegment, self.requireSegments = True, True
        self.showEffectCursorInSliceView, self.showEffectCursorInThreeDView = True, False
        self._python: Any = None
        self._source = ""
        self._node: Any = None
        self._editor: Any = None
        self._active = False
        self._confirmed: Any = None
        self._frame = QtWidgets.QFrame()
        self._layout = QtWidgets.QFormLayout(self._frame)
        self._layout.setContentsMargins(4, 4, 4, 4)

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    # --- the Python class -------------------------------------------------------------------------------------------

    def setPythonSource(self, path: str) -> bool:  # noqa: N802
        """Make the effect's class; Slicer finds it by the names of its file and folder.

        Raises:
            ImportError: Slicer would load the file by itself, without its package, because that is not imported yet
                or does not hold the class.
        """
        package, class_name = Path(path).parent.name, Path(path).stem
        class_name += "" if class_name.endswith("Effect") else "Effect"
        effect_class = getattr(sys.modules.get(package), class_name, None)
        if not isinstance(effect_class, type):
            raise ImportError(f"{package} is not imported, or {package}.{class_name} is not the effect's class.")
        self._python = effect_class(self)
        self._source = path
        return True

    def pythonSource(self) -> str:  # noqa: N802
        return self._source

    def self(self) -> Any:
        return self._python

    def bench_call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the Python class if it has it, as the C++ host does."""
        function = getattr(self._python, method, None)
        return function(*arguments) if function is not None else None

    # --- life -------------------------------------------------------------------------------------------------------

    def bench_belong_to(self, editor: Any) -> None:
        """Become one of the effects of a Segment Editor."""
        self._editor = editor

    def setParameterSetNode(self, node: Any) -> None:  # noqa: N802
        self._node = node

    def parameterSetNode(self) -> Any:  # noqa: N802
        return self._node

    def scene(self) -> Any:
        return self._node.GetScene() if self._node is not None else None

    def active(self) -> bool:
        return self._active

    def activate(self) -> None:
        self._frame.setVisible(True)
        self._active = True
        self.updateGUIFromMRML()
        self.bench_call("activate")

    def deactivate(self) -> None:
        self._frame.setVisible(False)
        self._active = False
        self.bench_call("deactivate")

    def cleanup(self) -> None:
        self.bench_call("cleanup")

    def selectEffect(self, name: str) -> None:  # noqa: N802
        self._editor.setActiveEffectByName(name)

    def updateGUIFromMRML(self) -> None:  # noqa: N802
        if self._active:
            self.bench_call("updateGUIFromMRML")

    def updateMRMLFromGUI(self) -> None:  # noqa: N802
        self.bench_call("updateMRMLFromGUI")

    def helpText(self) -> str:  # noqa: N802
        return str(self.bench_call("helpText") or "")

    def createCursor(self, view_widget: Any) -> Any:  # noqa: N802
        return self.bench_call("createCursor", view_widget) or QtGui.QCursor(QtCore.Qt.ArrowCursor)

    # --- options ----------------------------------------------------------------------------------------------------

    def optionsFrame(self) -> Any:  # noqa: N802
        return self._frame

    def optionsLayout(self) -> Any:  # noqa: N802
        return self._layout

    def addOptionsWidget(self, widget: Any) -> None:  # noqa: N802
        self._layout.addRow(widget)

    def addLabeledOptionsWidget(self, label: str, widget: Any) -> Any:  # noqa: N802
        label_widget = QtWidgets.QLabel(label)
        self._layout.addRow(label_widget, widget)
        return label_widget

    # --- parameters -------------------------------------------------------------------------------------------------

    def parameter(self, name: str) -> str:
        own = self._node.GetAttribute(f"{self._name}.{name}")
        value = own if own is not None else self._node.GetAttribute(name)
        if value is None:
            # Slicer logs a critical message and goes on with an empty text.
            raise KeyError(f"The effect {self._name} has no parameter {name}.")
        return str(value)

    def integerParameter(self, name: str) -> int:  # noqa: N802
        return int(self.parameter(name))

    def doubleParameter(self, name: str) -> float:  # noqa: N802
        return float(self.parameter(name))

    def parameterDefined(self, name: str) -> bool:  # noqa: N802
        return self.commonParameterDefined(f"{self._name}.{name}")

    def commonParameterDefined(self, name: str) -> bool:  # noqa: N802
        return bool(self._node is not None and self._node.GetAttribute(name))

    def setParameter(self, name: str, value: str | float) -> None:  # noqa: N802
        self.setCommonParameter(f"{self._name}.{name}", value)

    def setParameterDefault(self, name: str, value: str | float) -> None:  # noqa: N802
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def setCommonParameter(self, name: str, value: str | float) -> None:  # noqa: N802
        if type(value) not in (str, int, float):
            # PythonQt may take another overload than is meant for a bool or a number of numpy.
            raise TypeError(f"Parameter {name} is set to {value!r}; give str, int or float.")
        text = str(value)
        if (self._node.GetAttribute(name) or "") == text:
            return
        disabled = self._node.GetDisableModifiedEvent()
        self._node.SetDisableModifiedEvent(1)
        self._node.SetAttribute(name, text)
        self._node.SetDisableModifiedEvent(disabled)
        self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    def setCommonParameterDefault(self, name: str, value: str | float) -> None:  # noqa: N802
        if not self.commonParameterDefined(name):
            self.setCommonParameter(name, value)

    def nodeReference(self, name: str) -> Any:  # noqa: N802
        return self._node.GetNodeReference(f"{self._name}.{name}") or self._node.GetNodeReference(name)

    def setNodeReference(self, name: str, node: Any) -> None:  # noqa: N802
        self.setCommonNodeReference(f"{self._name}.{name}", node)

    def setCommonNodeReference(self, name: str, node: Any) -> None:  # noqa: N802
        if self._node.GetNodeReference(name) is not node:
            self._node.SetNodeReferenceID(name, node.GetID() if node is not None else None)
            self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    # --- voxels -----------------------------------------------------------------------------------------------------

    def saveStateForUndo(self) -> None:  # noqa: N802
        self._editor.saveStateForUndo()

    def confirmCurrentSegmentVisible(self) -> int:  # noqa: N802
        node, segment_id = self._node.GetSegmentationNode(), self._node.GetSelectedSegmentID()
        if node is None or not segment_id or self._confirmed == segment_id:
            return Confirmation.ConfirmedWithoutDialog
        displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
        if any(display.GetVisibility() and display.GetSegmentVisibility(segment_id) for display in displays):
            return Confirmation.ConfirmedWithoutDialog
        question = "The currently selected segment is hidden. Would you like to make it visible?"
        if not slicer.util.confirmYesNoDisplay(question):
            return Confirmation.NotConfirmed
        for display in displays:
            display.SetVisibility(True)
            display.SetSegmentVisibility(segment_id, True)
        return Confirmation.ConfirmedWithDialog

    def modifySelectedSegmentByLabelmap(self, labelmap: Any, mode: Mode, *options: Any) -> None:  # noqa: N802
        segment_id = self._node.GetSelectedSegmentID() or ""
        self.modifySegmentByLabelmap(self._node.GetSegmentationNode(), segment_id, labelmap, mode, *options)

    def modifySegmentByLabelmap(  # noqa: N802
        self, segmentation_node: Any, segment_id: str, labelmap: Any, mode: Mode, *options: Any
    ) -> None:
        """``options`` are an extent (six numbers), whether masking is bypassed, or both in this order."""
        extent = [tuple(option) for option in options if not isinstance(option, bool)]
        bypass = any(option for option in options if isinstance(option, bool))
        logic = self._editor.bench_logic()
        logic.ModifySegmentByLabelmap(
            segmentation_node,
            segment_id,
            labelmap,
            getattr(logic, Mode(mode).name),
            *extent,
            bool(self.perSegment),
            bypass,
        )

    def sourceVolumeImageData(self) -> Any:  # noqa: N802
        logic = self._editor.bench_logic()
        return logic.GetAlignedSourceVolume() if logic.UpdateAlignedSourceVolume() else None

    def defaultModifierLabelmap(self) -> Any:  # noqa: N802
        logic = self._editor.bench_logic()
        return logic.GetModifierLabelmap() if logic.ResetModifierLabelmapToDefault() else None

    def modifierLabelmap(self) -> Any:  # noqa: N802
        return self._editor.bench_logic().GetModifierLabelmap()

    def maskLabelmap(self) -> Any:  # noqa: N802
        logic = self._editor.bench_logic()
        return logic.GetMaskLabelmap() if logic.UpdateMaskLabelmap() else None

    def selectedSegmentLabelmap(self) -> Any:  # noqa: N802
        logic = self._editor.bench_logic()
        return logic.GetSelectedSegmentLabelmap() if logic.UpdateSelectedSegmentLabelmap() else None

    def referenceGeometryImage(self) -> Any:  # noqa: N802
        logic = self._editor.bench_logic()
        return logic.GetReferenceGeometryImage() if logic.UpdateReferenceGeometryImage() else None

    # --- views ------------------------------------------------------------------------------------------------------

    def viewNode(self, view_widget: Any) -> Any:  # noqa: N802
        return view_widget.mrmlSliceNode()

    def renderWindow(self, view_widget: Any) -> Any:  # noqa: N802
        return view_widget.sliceView().renderWindow()

    def renderer(self, view_widget: Any) -> Any:
        # The one of the volume, so that what the overlay shows covers what an effect draws.
        return self.renderWindow(view_widget).GetRenderers().GetItemAsObject(0)

    def addActor2D(self, view_widget: Any, actor: Any) -> None:  # noqa: N802
        self.renderer(view_widget).AddViewProp(actor)

    def removeActor2D(self, view_widget: Any, actor: Any) -> None:  # noqa: N802
        self.renderer(view_widget).RemoveViewProp(actor)

    def scheduleRender(self, view_widget: Any) -> None:  # noqa: N802
        view_widget.sliceView().scheduleRender()

    def forceRender(self, view_widget: Any) -> None:  # noqa: N802
        view_widget.sliceView().forceRender()

    def cursorOff(self, view_widget: Any) -> None:  # noqa: N802
        view_widget.sliceView().setDefaultViewCursor(QtGui.QCursor(QtCore.Qt.BlankCursor))

    def cursorOn(self, view_widget: Any) -> None:  # noqa: N802
        view_widget.sliceView().setDefaultViewCursor(QtGui.QCursor(QtCore.Qt.ArrowCursor))

    def segmentationDisplayableInView(self, view_node: Any) -> bool:  # noqa: N802
        return bool(self._editor.bench_logic().IsSegmentationDisplayableInView(view_node))

    def sliceSpacing(self, view_widget: Any) -> float:  # noqa: N802
        return float(self._editor.bench_logic().GetSliceSpacing(view_widget.mrmlSliceNode()))

    def xyToRas(self, xy: Any, view_widget: Any) -> Any:  # noqa: N802
        ras = [0.0, 0.0, 0.0]
        slicer.vtkSlicerSegmentEditorLogic.XyToRas((xy.x(), xy.y()), ras, view_widget.mrmlSliceNode())
        return QtGui.QVector3D(*ras)

    def xyToIjk(self, xy: Any, view_widget: Any, image: Any, parent_transform: Any = None) -> Any:  # noqa: N802
        ijk = [0, 0, 0]
        node = view_widget.mrmlSliceNode()
        slicer.vtkSlicerSegmentEditorLogic.XyToIjk((xy.x(), xy.y()), ijk, node, image, parent_transform)
        return QtGui.QVector3D(*ijk)


for _members in (Mode, Confirmation):
    for _member in _members:
        setattr(ScriptedEffect, _member.name, _member)


class EffectFactory(QtCore.QObject):
    """qSlicerSegmentEditorEffectFactory: the effects that the Segment Editor offers."""

    effectRegistered = QtCore.Signal(str)  # noqa: N815
    _only: EffectFactory | None = None

    def __init__(self) -> None:
        super().__init__()
        self._effects: list[Any] = []

    @classmethod
    def instance(cls) -> EffectFactory:
        if cls._only is None:
            cls._only = cls()
        return cls._only

    @classmethod
    def bench_forget(cls) -> None:
        """Have no effects, as when Slicer starts."""
        cls._only = None

    def registerEffect(self, effect: Any) -> bool:  # noqa: N802
        """Offer ``effect``; False for a name that is taken."""
        if any(registered.name == effect.name for registered in self._effects):
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def registeredEffects(self) -> tuple[Any, ...]:  # noqa: N802
        return tuple(self._effects)


class AbstractScriptedSegmentEditorEffect:
    """What Python effects inherit from."""

    def __init__(self, scripted_effect: Any) -> None:
        self.scriptedEffect = scripted_effect

    def register(self) -> None:
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self) -> None:
        """Effects disconnect here what they connected."""

    def xyToRas(self, xy: Any, view_widget: SceneWidget) -> list[float]:  # noqa: N802
        ras = self.scriptedEffect.xyToRas(QtCore.QPoint(int(xy[0]), int(xy[1])), view_widget)
        return [ras.x(), ras.y(), ras.z()]

    def xyToIjk(  # noqa: N802
        self, xy: Any, view_widget: SceneWidget, image: Any, parent_transform: Any = None
    ) -> list[int]:
        point = QtCore.QPoint(int(xy[0]), int(xy[1]))
        ijk = self.scriptedEffect.xyToIjk(point, view_widget, image, parent_transform)
        return [int(ijk.x()), int(ijk.y()), int(ijk.z())]


def import_effect(path: Path) -> Any:
    """Import the package of an effect as its module does, and return a host of it."""
    importlib.import_module(path.parent.name)
    host = ScriptedEffect()
    host.setPythonSource(path.as_posix())
    return host
