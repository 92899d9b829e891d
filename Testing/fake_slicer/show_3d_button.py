"""A stand-in for Slicer's button that shows a segmentation in 3D views, over the real segmentation."""

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

_SURFACE, _LABELMAP = "Closed surface", "Binary labelmap"

#: Pixels of the sign beside the text and of the menu's arrow, about as in Slicer.
_SIGNS_WIDTH = 42


class Show3DButton(QtWidgets.QPushButton):
    """qMRMLSegmentationShow3DButton: has a segmentation's surfaces made and shown, or removed.

    Its menu, which says how smooth they are, is only drawn.
    """

    _EVENTS = ("SegmentAdded", "SegmentRemoved", "ContainedRepresentationNamesModified")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._locked = False
        self._observed: list[tuple[Any, int]] = []
        self.setCheckable(True)
        self.setText("Show 3D")
        self.setIcon(_signs())
        self.setIconSize(QtCore.QSize(_SIGNS_WIDTH, 16))
        self.setLayoutDirection(QtCore.Qt.RightToLeft)
        self.setEnabled(False)
        self.connect("toggled(bool)", self._toggled)

    def segmentationNode(self) -> Any:  # noqa: N802
        return self._node

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        """Work on another segmentation, or None.

        Raises:
            TypeError: it is no vtkMRMLSegmentationNode, which PythonQt would not pass on.
        """
        if node is not None and not isinstance(node, slicer.vtkMRMLSegmentationNode):
            raise TypeError(f"{node!r} is no segmentation node.")
        if node is self._node:
            return
        self.bench_forget()
        self._node = node
        if node is not None:
            events = [vtk.vtkCommand.ModifiedEvent, *(getattr(slicer.vtkSegmentation, name) for name in self._EVENTS)]
            self._observed = [(node, node.AddObserver(event, self._update)) for event in events]
        self._update()

    def setLocked(self, locked: bool) -> None:  # noqa: N802
        self._locked = locked
        self._update()

    def click(self) -> None:
        """A ctkMenuButton opens its menu when a program clicks, and waits until somebody has chosen.

        Raises:
            RuntimeError: always; ``toggle`` is what a person does by clicking beside the arrow.
        """
        raise RuntimeError("Slicer would stand still in this button's menu.")

    def bench_forget(self) -> None:
        """Observe nothing any more, as when a widget is destroyed."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _update(self, _node: Any = None, _event: str = "") -> None:
        if not shiboken6.isValid(self):
            return
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        if segmentation is None:
            # Whether it looks pressed stays as it was, as in Slicer.
            self.setEnabled(False)
            return
        is_surface = segmentation.GetSourceRepresentationName() == _SURFACE
        self.setEnabled(not self._locked and segmentation.GetNumberOfSegments() > 0 and not is_surface)
        was_blocked = self.blockSignals(True)
        self.setChecked(segmentation.ContainsRepresentation(_SURFACE))
        self.blockSignals(was_blocked)

    def _toggled(self, shown: bool) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        if segmentation is None:
            return
        was_modifying = self._node.StartModify()
        if shown:
            if segmentation.CreateRepresentation(_SURFACE):
                display = self._node.GetDisplayNode()
                if display is not None:
                    display.SetPreferredDisplayRepresentationName3D(_SURFACE)
                    if segmentation.ContainsRepresentation(_LABELMAP):
                        display.SetPreferredDisplayRepresentationName2D(_LABELMAP)
        elif segmentation.GetSourceRepresentationName() != _SURFACE:
            segmentation.RemoveRepresentation(_SURFACE)
        self._node.EndModify(was_modifying)

    locked = QtCore.Property(bool, lambda self: self._locked, setLocked)


def _signs() -> Any:
    picture = QtGui.QPixmap(_SIGNS_WIDTH, 16)
    picture.fill(QtCore.Qt.transparent)
    painter = QtGui.QPainter(picture)
    painter.drawText(picture.rect(), QtCore.Qt.AlignCenter, "\u25be")
    painter.end()
    return QtGui.QIcon(picture)
