"""``slicer.parameterNodeWrapper``: typed values in a real vtkMRMLScriptedModuleNode, bound to widgets.

Values are kept as Slicer keeps them (numbers, texts, ``True``, names of enum members as parameters, nodes as node
references), so a node that this writes is one that Slicer reads. Only the types and widgets that the project uses.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from .ctk_widgets import SliderWidget
from .mrml_widgets import NodeSelector


@dataclass(frozen=True)
class Default:
    """The value that a parameter has before it is set."""

    value: Any


@dataclass(frozen=True)
class WithinRange:
    """Numbers from ``minimum`` to ``maximum``."""

    minimum: float
    maximum: float

    def check(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not between {self.minimum} and {self.maximum}.")


@dataclass(frozen=True)
class _Parameter:
    """One typed value and how a node keeps it."""

    name: str
    type: Any
    default: Any
    limits: tuple[Any, ...]

    @property
    def is_node(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(self.name))

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not self.is_in(node):
            self.write(node, self.default)
        text = node.GetParameter(self.name)
        if issubclass(self.type, Enum):
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        self._check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        elif issubclass(self.type, Enum):
            node.SetParameter(self.name, value.name)
        else:
            node.SetParameter(self.name, str(value))

    def _check(self, value: Any) -> None:
        numbers = (int, float) if self.type is float else self.type
        if value is None and self.is_node:
            return
        if not isinstance(value, numbers) or (isinstance(value, bool) and self.type is not bool):
            raise TypeError(f"Parameter '{self.name}' is {self.type.__name__}; it cannot be {value!r}.")
        for limit in self.limits:
            limit.check(value)


class _Wrapped:
    """What the decorator gives to a class."""

    allParameters: dict[str, _Parameter]  # noqa: N815

    def __init__(self, parameter_node: Any) -> None:
        self.parameterNode = parameter_node
        self._bindings: dict[int, list[_Binding]] = {}
        self._observers: dict[int, int] = {}
        self._next_tag = 0
        self._is_filling = False
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameter_node):
                parameter.write(parameter_node, parameter.default)

    def getValue(self, name: str) -> Any:  # noqa: N802
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:  # noqa: N802
        with slicer.util.NodeModify(self.parameterNode):
            self._parameter(name).write(self.parameterNode, value)

    def connectGui(self, gui: Any) -> int:  # noqa: N802
        """Bind the widgets whose property ``SlicerParameterName`` names a parameter."""
        widgets = gui.findChildren(QtWidgets.QWidget) if isinstance(gui, QtWidgets.QWidget) else vars(gui).values()
        named = {widget.property("SlicerParameterName"): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:  # noqa: N802
        bindings = [_Binding(self, self._parameter(name), widget) for name, widget in mapping.items()]
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._bindings[tag] = bindings
        self._fill()
        for binding in bindings:
            binding.connect()
        self._observers[tag] = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._fill())
        return tag

    def disconnectGui(self, tag: int) -> None:  # noqa: N802
        for binding in self._bindings.pop(tag, []):
            binding.disconnect()
        if tag in self._observers:
            self.parameterNode.RemoveObserver(self._observers.pop(tag))

    def StartModify(self) -> Any:  # noqa: N802
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: Any) -> Any:  # noqa: N802
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> int:  # noqa: N802
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:  # noqa: N802
        self.parameterNode.Modified()

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"There is no parameter '{name}'; there are {', '.join(self.allParameters)}.")
        return self.allParameters[name]

    def _fill(self) -> None:
        """Show the node's values in the widgets."""
        if self._is_filling:
            return
        self._is_filling = True
        try:
            for bindings in self._bindings.values():
                for binding in bindings:
                    binding.show(self.getValue(binding.parameter.name))
        finally:
            self._is_filling = False

    def _widget_changed(self, parameter: _Parameter, value: Any) -> None:
        if not self._is_filling:
            self.setValue(parameter.name, value)


class _Binding:
    """One parameter and the widget that shows it.

    Raises:
        TypeError: Slicer has no way to bind a value of this type to a widget of this class.
    """

    def __init__(self, wrapped: _Wrapped, parameter: _Parameter, widget: Any) -> None:
        self.parameter = parameter
        self._wrapped = wrapped
        self._widget = widget
        self._signal, self._read, self._show = self._ways()

    def connect(self) -> None:
        self._widget.connect(self._signal, self._changed)

    def disconnect(self) -> None:
        self._widget.disconnect(self._signal, self._changed)

    def show(self, value: Any) -> None:
        if self._read() != value:
            self._show(value)

    def _changed(self) -> None:
        self._wrapped._widget_changed(self.parameter, self._read())

    def _ways(self) -> tuple[str, Callable[[], Any], Callable[[Any], None]]:
        """The signal that tells of a change, and how to read and show a value."""
        widget, of_type, name = self._widget, self.parameter.type, type(self._widget).__name__
        if self.parameter.is_node and isinstance(widget, NodeSelector):
            widget.nodeTypes = [of_type.__name__]
            return "currentNodeChanged(vtkMRMLNode*)", widget.currentNode, widget.setCurrentNode
        if of_type is bool and name == "QCheckBox":
            return "stateChanged(int)", lambda: widget.checked, widget.setChecked
        if of_type is bool and name == "QPushButton" and widget.checkable:
            return "toggled(bool)", lambda: widget.checked, widget.setChecked
        if of_type is int and name in ("QSpinBox", "QSlider"):
            self._limit(widget, -(2**31), 2**31 - 1)
            return "valueChanged(int)", lambda: widget.value, widget.setValue
        if of_type in (int, float) and (name == "QDoubleSpinBox" or isinstance(widget, SliderWidget)):
            self._limit(widget, -1e9, 1e9)
            return "valueChanged(double)", lambda: of_type(widget.value), widget.setValue
        if of_type is str and name in ("QLineEdit", "QTextEdit"):
            if name == "QLineEdit":
                return "textChanged(QString)", lambda: widget.text, widget.setText
            return "textChanged()", lambda: widget.plainText, widget.setPlainText
        if isinstance(of_type, type) and issubclass(of_type, Enum) and name in ("QComboBox", "ComboBox"):
            members = list(of_type)
            label = getattr(of_type, "label", lambda member: member.name)
            widget.clear()
            for member in members:
                widget.addItem(label(member))
            return (
                "currentIndexChanged(int)",
                lambda: members[widget.currentIndex],
                lambda value: widget.setCurrentIndex(members.index(value)),
            )
        raise TypeError(f"Slicer cannot bind parameter '{self.parameter.name}' ({of_type}) to a {name}.")

    def _limit(self, widget: Any, lowest: float, highest: float) -> None:
        """Give the widget the parameter's limits; without any, Slicer takes off those that the .ui file set."""
        limits = [limit for limit in self.parameter.limits if isinstance(limit, WithinRange)]
        widget.minimum = limits[0].minimum if limits else lowest
        widget.maximum = limits[0].maximum if limits else highest


def parameter_node_wrapper(described: Any = None) -> Any:
    """The decorator ``parameterNodeWrapper``: a class with typed attributes becomes one over a parameter node."""
    if described is None:
        return parameter_node_wrapper
    parameters = {}
    members: dict[str, Any] = {"__doc__": described.__doc__, "__module__": described.__module__}
    for name, hint in typing.get_type_hints(described, include_extras=True).items():
        of_type, *notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        given = [note.value for note in notes if isinstance(note, Default)]
        default = getattr(described, name, given[0] if given else _default_of(of_type))
        limits = tuple(note for note in notes if not isinstance(note, Default))
        parameters[name] = _Parameter(name, of_type, default, limits)
        members[name] = property(
            lambda self, name=name: self.getValue(name), lambda self, value, name=name: self.setValue(name, value)
        )
    own = {name: member for name, member in vars(described).items() if callable(member) or isinstance(member, property)}
    return type(described.__name__, (_Wrapped,), {**own, **members, "allParameters": parameters})


def _default_of(of_type: Any) -> Any:
    if issubclass(of_type, slicer.vtkMRMLNode):
        return None
    return next(iter(of_type)) if issubclass(of_type, Enum) else of_type()


def wrapper_module() -> ModuleType:
    """``slicer.parameterNodeWrapper``."""
    module = ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper = parameter_node_wrapper  # type: ignore[attr-defined]
    module.Default, module.WithinRange = Default, WithinRange  # type: ignore[attr-defined]
    return module
