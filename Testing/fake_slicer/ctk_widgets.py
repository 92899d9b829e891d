"""Stand-ins for the widgets of CTK that the project's panels use: their members, and what those do."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from .fitted_text import FittedTextBrowser

_HEADER_HEIGHT = 24

#: The property of what somebody hid in a section.
_IS_HIDDEN = "bench_is_hidden"


class CollapsibleSection(QtWidgets.QAbstractButton):
    """ctkCollapsibleButton: a header that shows and hides what is in it.

    What is shown or hidden in it while it is collapsed is so once it is open.
    """

    contentsCollapsed = QtCore.Signal(bool)  # noqa: N815

    def __init__(self, *arguments: Any) -> None:
        text = next((each for each in arguments if isinstance(each, str)), "")
        super().__init__(next((each for each in arguments if isinstance(each, QtWidgets.QWidget)), None))
        self.setText(text)
        self.setCheckable(True)
        self.setContentsMargins(0, _HEADER_HEIGHT, 0, 0)
        # CTK's own, which keeps a panel as wide as its sections would like to be.
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self._collapsed = False
        self._is_switching = False
        self.connect("clicked()", lambda: self._set_collapsed(not self._collapsed))

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setMaximumHeight(_HEADER_HEIGHT if collapsed else 16777215)
        self._switch_contents()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _switch_contents(self) -> None:
        """Show what is meant to be seen, or nothing while this is collapsed."""
        self._is_switching = True
        for child in self.children():
            if child.isWidgetType() and not child.property(_IS_HIDDEN):
                child.setVisible(not self._collapsed)
        self._is_switching = False

    def childEvent(self, event: Any) -> None:  # noqa: N802
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)
            # A .ui file says that a section is collapsed before it says what is in it.
            if self._collapsed:
                QtCore.QTimer.singleShot(0, self, self._switch_contents)

    def eventFilter(self, child: Any, event: Any) -> bool:  # noqa: N802
        if not self._is_switching and event.type() == QtCore.QEvent.HideToParent:
            child.setProperty(_IS_HIDDEN, True)
        elif not self._is_switching and event.type() == QtCore.QEvent.ShowToParent:
            child.setProperty(_IS_HIDDEN, False)
            if self._collapsed:
                self._switch_contents()
        return False

    def showEvent(self, event: Any) -> None:  # noqa: N802
        if self._collapsed:
            self._switch_contents()
        super().showEvent(event)

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        del event
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, _HEADER_HEIGHT - 2)
        option.text = ("\u25b8 " if self._collapsed else "\u25be ") + self.text
        painter.drawControl(QtWidgets.QStyle.CE_PushButton, option)

    def hitButton(self, position: Any) -> bool:  # noqa: N802
        return bool(position.y() < _HEADER_HEIGHT)

    def sizeHint(self) -> Any:  # noqa: N802
        inside = self.layout().sizeHint() if self.layout() is not None else QtCore.QSize(0, _HEADER_HEIGHT)
        return QtCore.QSize(inside.width(), _HEADER_HEIGHT if self._collapsed else inside.height())

    def minimumSizeHint(self) -> Any:  # noqa: N802
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(0, _HEADER_HEIGHT)
        return self.layout().totalMinimumSize()

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _set_collapsed)


class CollapsibleGroup(QtWidgets.QGroupBox):
    """ctkCollapsibleGroupBox: a group box whose title collapses it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._collapsed = False

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setMaximumHeight(_HEADER_HEIGHT if collapsed else 16777215)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _set_collapsed)


class SliderWidget(QtWidgets.QWidget):
    """ctkSliderWidget: a slider with a number box.

    Without tracking, ``valueIsChanging`` comes while it is dragged and ``valueChanged`` when it is let go.
    """

    valueChanged = QtCore.Signal(float)  # noqa: N815
    valueIsChanging = QtCore.Signal(float)  # noqa: N815
    decimalsChanged = QtCore.Signal(int)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._box)
        self._value, self._tracking, self._single_step = 0.0, True, 1.0
        self._set_range(0.0, 99.0)
        self._slider.connect("sliderMoved(int)", self._moved)
        self._slider.connect("sliderReleased()", self.bench_let_go)
        self._slider.connect("actionTriggered(int)", self._stepped)
        self._box.connect("valueChanged(double)", self.setValue)

    def bench_drag_to(self, value: float) -> None:
        """What the user's mouse does with the button down."""
        if self._tracking:
            self.setValue(value)
            return
        self._dragged = value
        self._box.blockSignals(True)
        self._box.setValue(value)
        self._box.blockSignals(False)
        self.valueIsChanging.emit(value)

    def bench_let_go(self) -> None:
        """What the user's mouse does at the end of dragging."""
        dragged, self._dragged = self._dragged, None
        if dragged is not None:
            self.setValue(dragged)

    def setValue(self, value: float) -> None:  # noqa: N802
        value = round(min(max(float(value), self._minimum), self._maximum), self._box.decimals)
        changed = value != self._value
        self._value = value
        self._show_value()
        if changed:
            self.valueChanged.emit(value)

    def setDecimals(self, decimals: int) -> None:  # noqa: N802
        self._box.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:  # noqa: N802
        self._box.setVisible(visible)

    def reset(self) -> None:
        self.setValue(self._minimum)

    def _moved(self, step: int) -> None:
        self.bench_drag_to(self._minimum + step * self._single_step)

    def _stepped(self, action: int) -> None:
        # A number, which no enum of PySide is equal to.
        if action != QtWidgets.QAbstractSlider.SliderMove.value:
            self.setValue(self._minimum + self._slider.sliderPosition * self._single_step)

    def _set_range(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = minimum, max(minimum, maximum)
        self._dragged: float | None = None
        self._box.blockSignals(True)
        self._box.setRange(self._minimum, self._maximum)
        self._box.blockSignals(False)
        self.setValue(self._value)

    def _set_single_step(self, step: float) -> None:
        self._single_step = step
        self._box.setSingleStep(step)
        self._show_value()

    def _set_tracking(self, tracking: bool) -> None:
        self._tracking = tracking

    def _show_value(self) -> None:
        for widget in (self._slider, self._box):
            widget.blockSignals(True)
        self._slider.setRange(0, round((self._maximum - self._minimum) / self._single_step))
        self._slider.setValue(round((self._value - self._minimum) / self._single_step))
        self._box.setValue(self._value)
        for widget in (self._slider, self._box):
            widget.blockSignals(False)

    value = QtCore.Property(float, lambda self: self._value, setValue)
    minimum = QtCore.Property(float, lambda self: self._minimum, lambda self, to: self._set_range(to, self._maximum))
    maximum = QtCore.Property(float, lambda self: self._maximum, lambda self, to: self._set_range(self._minimum, to))
    singleStep = QtCore.Property(float, lambda self: self._single_step, _set_single_step)  # noqa: N815
    pageStep = QtCore.Property(float, lambda self: 10 * self._single_step, lambda _self, _step: None)  # noqa: N815
    decimals = QtCore.Property(int, lambda self: self._box.decimals, setDecimals)
    tracking = QtCore.Property(bool, lambda self: self._tracking, _set_tracking)
    suffix = QtCore.Property(str, lambda self: self._box.suffix, lambda self, text: self._box.setSuffix(text))
    prefix = QtCore.Property(str, lambda self: self._box.prefix, lambda self, text: self._box.setPrefix(text))
    spinBoxVisible = QtCore.Property(  # noqa: N815
        bool, lambda self: not self._box.isHidden(), setSpinBoxVisible
    )


class PathLineEdit(QtWidgets.QWidget):
    """ctkPathLineEdit: a path with a browse button."""

    currentPathChanged = QtCore.Signal(str)  # noqa: N815
    validInputChanged = QtCore.Signal(bool)  # noqa: N815

    # ctkPathLineEdit::Filter, QDir's numbers.
    Dirs, Files, Readable, Writable, Executable = 0x001, 0x002, 0x010, 0x020, 0x040

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._combo = QtWidgets.QComboBox()
        self._combo.setEditable(True)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("\u2026")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo, 1)
        row.addWidget(self._browse)
        self._filters = self.Dirs | self.Files | self.Readable | self.Executable
        self._name_filters, self._setting_key, self._options = [], "", 0
        self._combo.connect("editTextChanged(QString)", self.currentPathChanged.emit)
        self._browse.connect("clicked()", self.browse)

    def comboBox(self) -> Any:  # noqa: N802
        return self._combo

    def setCurrentPath(self, path: str) -> None:  # noqa: N802
        if path != self._combo.currentText:
            self._combo.setEditText(path)

    def browse(self) -> None:
        folder = not self._filters & self.Files
        ask = QtWidgets.QFileDialog.getExistingDirectory if folder else QtWidgets.QFileDialog.getOpenFileName
        answer = ask(self, "")
        path = answer if isinstance(answer, str) else answer[0]
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:  # noqa: N802
        if self._combo.findText(self._combo.currentText) < 0:
            self._combo.addItem(self._combo.currentText)

    def retrieveHistory(self) -> None:  # noqa: N802
        """No history is kept between tests."""

    def _keep(name: str) -> Any:  # noqa: N805
        return lambda self, value: setattr(self, name, value)

    currentPath = QtCore.Property(str, lambda self: self._combo.currentText, setCurrentPath)  # noqa: N815
    filters = QtCore.Property(int, lambda self: self._filters, _keep("_filters"))
    options = QtCore.Property(int, lambda self: self._options, _keep("_options"))
    nameFilters = QtCore.Property("QStringList", lambda self: self._name_filters, _keep("_name_filters"))  # noqa: N815
    settingKey = QtCore.Property(str, lambda self: self._setting_key, _keep("_setting_key"))  # noqa: N815
    showBrowseButton = QtCore.Property(  # noqa: N815
        bool, lambda self: not self._browse.isHidden(), lambda self, shown: self._browse.setVisible(shown)
    )
    showHistoryButton = QtCore.Property(bool, lambda _self: True, lambda _self, _shown: None)  # noqa: N815


class ComboBox(QtWidgets.QComboBox):
    """ctkComboBox: a combo box with a text for when nothing is chosen."""

    def _default_text(self) -> str:
        return str(self.placeholderText)

    defaultText = QtCore.Property(str, _default_text, lambda self, text: self.setPlaceholderText(text))  # noqa: N815


class MessageBox(QtWidgets.QMessageBox):
    """ctkMessageBox."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._settings_key = ""

    dontShowAgainSettingsKey = QtCore.Property(  # noqa: N815
        str, lambda self: self._settings_key, lambda self, key: setattr(self, "_settings_key", key)
    )


#: Stand-ins by the names that Slicer's ``ctk`` module and .ui files have for them.
CTK_WIDGETS: dict[str, type] = {
    "ctkCollapsibleButton": CollapsibleSection,
    "ctkCollapsibleGroupBox": CollapsibleGroup,
    "ctkSliderWidget": SliderWidget,
    "ctkPathLineEdit": PathLineEdit,
    "ctkComboBox": ComboBox,
    "ctkMessageBox": MessageBox,
    "ctkFittedTextBrowser": FittedTextBrowser,
}
