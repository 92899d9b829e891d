"""Qt's loader of .ui files, with the stand-ins for the widgets that are Slicer's."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools

from .ctk_widgets import CTK_WIDGETS
from .mrml_widgets import MRML_WIDGETS
from .pythonqt import loading_ui_file


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader``.

    Raises:
        LookupError: a widget has no stand-in; a connection names a widget, signal or slot that is not there.
    """

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:  # noqa: N802
        stand_in = CTK_WIDGETS.get(class_name) or MRML_WIDGETS.get(class_name)
        if stand_in is None:
            if class_name.startswith(("ctk", "qMRML", "qSlicer")):
                self._missing.append(class_name)
                class_name = "QWidget"
            return super().createWidget(class_name, parent, name)
        widget = stand_in(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def load(self, file: Any, parent: Any = None) -> Any:
        self._missing: list[str] = []
        self._made: list[Any] = []
        tree = ElementTree.fromstring(bytes(file.readAll().data()))
        # Qt would look for these signals and slots among its own; the stand-ins carry nodes and the scene.
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.ReadOnly)
        with loading_ui_file():
            root = super().load(buffer, parent)
        if self._missing:
            raise LookupError(f"The bench has no stand-in for {', '.join(sorted(set(self._missing)))}.")
        if root is None:
            raise LookupError("Qt cannot load the .ui file.")
        root.__dict__["_bench_kept"] = self._made
        for connection in connections if connections is not None else ():
            self._connect(root, *(connection.findtext(part, "") for part in ("sender", "signal", "receiver", "slot")))
        return root

    @staticmethod
    def _connect(root: Any, sender: str, signal: str, receiver: str, slot: str) -> None:
        ends = {root.objectName: root, **{child.objectName: child for child in root.findChildren(QtCore.QObject)}}
        if sender not in ends or receiver not in ends:
            raise LookupError(f"The .ui file connects {sender} with {receiver}, and one of them is not in it.")
        ends[sender].connect(signal, getattr(ends[receiver], slot.split("(")[0]))
