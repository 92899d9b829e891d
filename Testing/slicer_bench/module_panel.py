"""Slicer's module panel: where the widget of a module is, and how much of it can be seen."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .ctk_widgets import CollapsibleSection

#: Pixels of a module that are seen in Slicer's window as it is first opened, and on a screen of 1366 x 768.
USUAL_HEIGHT, SMALL_HEIGHT = 692, 409


class ModulePanel(QtWidgets.QScrollArea):
    """qSlicerModulePanel with one module in it.

    Args:
        widget: of the module.
        width, height: of what can be seen, in pixels.
    """

    def __init__(self, widget: Any, width: int, height: int) -> None:
        super().__init__()
        self._module = widget
        self.setFrameShape(QtWidgets.QFrame.NoFrame)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        contents = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(contents)
        column.setContentsMargins(0, 0, 0, 0)
        about = CollapsibleSection("Help & Acknowledgement")
        about.setProperty("collapsed", True)
        column.addWidget(about)
        column.addWidget(widget, 1)
        if widget.layout() is not None:
            widget.layout().setContentsMargins(0, 0, 0, 0)
        self.setWidget(contents)
        self.resize(width, height)
        self.show()
        widget.show()

    def bench_release(self) -> None:
        """Let go of the widget, which would be destroyed too."""
        self._module.setParent(None)
        self.close()

    def bench_shows(self, widget: Any) -> bool:
        """Whether all of ``widget`` can be seen."""
        viewport = self.viewport()
        place = QtCore.QRect(widget.mapTo(viewport, QtCore.QPoint(0, 0)), widget.size)
        return bool(widget.isVisible() and viewport.rect.contains(place))
