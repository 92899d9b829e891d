"""What Slicer's Segment Editor shows around the options of an effect, in its order and with its heights."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .ctk_widgets import CollapsibleGroup
from .fitted_text import FittedTextBrowser

#: Effects that Slicer brings, in two columns of buttons.
_EFFECTS = 12
_ICON = 24


class EditorSurface:
    """Fills a qMRMLSegmentEditorWidget.

    Attributes:
        help: the help of the active effect.
        options: a layout for the options of all effects.
    """

    def __init__(self, widget: Any) -> None:
        column = QtWidgets.QVBoxLayout(widget)
        nodes = QtWidgets.QFormLayout()
        nodes.addRow("Segmentation:", QtWidgets.QComboBox())
        nodes.addRow("Source volume:", QtWidgets.QComboBox())
        column.addLayout(nodes)
        actions = QtWidgets.QHBoxLayout()
        for words in ("Add", "Remove", "Show 3D"):
            actions.addWidget(QtWidgets.QPushButton(words))
        column.addLayout(actions)
        body = QtWidgets.QHBoxLayout()
        body.addLayout(_effect_buttons())
        right = QtWidgets.QVBoxLayout()
        table = QtWidgets.QTableView()
        table.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Minimum)
        right.addWidget(table)
        self._group = QtWidgets.QGroupBox("Options")
        inside = QtWidgets.QVBoxLayout(self._group)
        inside.setContentsMargins(4, 4, 4, 4)
        inside.setSpacing(0)
        self.help = FittedTextBrowser()
        self.help.setProperty("showDetailsText", "Show details.")
        inside.addWidget(self.help)
        frame = QtWidgets.QFrame()
        self.options = QtWidgets.QVBoxLayout(frame)
        self.options.setContentsMargins(0, 0, 0, 0)
        self.options.setSpacing(0)
        inside.addWidget(frame)
        right.addWidget(self._group)
        self._masking = CollapsibleGroup("Masking")
        masking = QtWidgets.QFormLayout(self._masking)
        masking.addRow("Editable area:", QtWidgets.QComboBox())
        masking.addRow(QtWidgets.QCheckBox("Editable intensity range"))
        masking.addRow("Modify other segments:", QtWidgets.QComboBox())
        right.addWidget(self._masking)
        right.addStretch(1)
        body.addLayout(right, 1)
        column.addLayout(body)
        self.show(None)

    def show(self, effect: Any) -> None:
        """Show what there is to say of the active effect, or of none."""
        self._group.setVisible(effect is not None)
        self._group.setTitle(effect.title if effect is not None else "")
        self.help.setCollapsibleText(effect.helpText() if effect is not None else "")
        self._masking.setVisible(effect is not None)


def _effect_buttons() -> Any:
    buttons = QtWidgets.QVBoxLayout()
    effects = QtWidgets.QGridLayout()
    for number in range(_EFFECTS):
        button = QtWidgets.QToolButton()
        button.setIconSize(QtCore.QSize(_ICON, _ICON))
        effects.addWidget(button, *divmod(number, 2))
    buttons.addLayout(effects)
    buttons.addStretch(1)
    return buttons
