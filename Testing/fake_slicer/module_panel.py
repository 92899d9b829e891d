"""Slicer's module panel: the scrolled column of the window that the panel of a module is put into."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

#: Pixels of a module that are seen in Slicer's window as it is first opened, and on a screen of 1366 x 768.
USUAL_HEIGHT, SMALL_HEIGHT = 692, 409

#: How wide it is about when Slicer is first opened.
USUAL_WIDTH = 440


class ModulePanel(QtWidgets.QWidget):
    """qSlicerModulePanel, laid out as its .ui file says. The constraint on its contents is what squeezes labels."""

    def __init__(self) -> None:
        super().__init__()
        policy = QtWidgets.QSizePolicy
        contents = QtWidgets.QWidget()
        contents.setSizePolicy(policy.Minimum, policy.Preferred)
        self._column = QtWidgets.QVBoxLayout(contents)
        self._column.setSizeConstraint(QtWidgets.QLayout.SetMinAndMaxSize)
        self._column.setContentsMargins(0, 0, 0, 0)
        help_button = QtWidgets.QPushButton("Help && Acknowledgement")
        help_button.setSizePolicy(policy.Ignored, policy.Fixed)
        self._column.addWidget(help_button)
        self._column.addItem(QtWidgets.QSpacerItem(0, 0, policy.Minimum, policy.MinimumExpanding))
        area = QtWidgets.QScrollArea()
        area.setFrameShape(QtWidgets.QFrame.NoFrame)
        area.setSizePolicy(policy.Minimum, policy.Expanding)
        area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        area.setWidgetResizable(True)
        area.setWidget(contents)
        grid = QtWidgets.QGridLayout(self)
        grid.setSizeConstraint(QtWidgets.QLayout.SetMinimumSize)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(area)
        self._contents, self._area = contents, area
        self._module: Any = None

    def bench_show(self, module_widget: Any) -> None:
        """Show the panel of a module."""
        if module_widget.layout() is not None:
            module_widget.layout().setContentsMargins(0, 0, 0, 0)
        self._column.insertWidget(1, module_widget, 1)
        policy = QtWidgets.QSizePolicy
        module_widget.setSizePolicy(policy.Minimum, module_widget.sizePolicy.verticalPolicy())
        module_widget.setVisible(True)
        self.updateGeometry()
        self._module = module_widget

    def bench_shows(self, widget: Any) -> bool:
        """Whether all of ``widget`` can be seen."""
        viewport = self._area.viewport()
        place = QtCore.QRect(widget.mapTo(viewport, QtCore.QPoint(0, 0)), widget.size)
        return bool(widget.isVisible() and viewport.rect.contains(place))

    def bench_scroll_bar(self) -> QtWidgets.QScrollBar:
        return self._area.verticalScrollBar()

    def bench_remove(self) -> None:
        """Show no module, as before another one comes: its panel is hidden and in no window."""
        if self._module is not None:
            self._column.takeAt(self._column.indexOf(self._module))
            self._module.setVisible(False)
            self._module.setParent(None)
            self._module = None
