"""Which slice view is meant."""

from __future__ import annotations

from typing import Any

import slicer


class SliceViewChoice:
    """The slice views of the layout, in a combo box.

    Args:
        selector: a QComboBox.
    """

    def __init__(self, selector: Any) -> None:
        self._selector = selector
        self.refresh()

    @property
    def node(self) -> Any:
        """The slice node of the chosen view, or None when there is none."""
        name = self._selector.currentText
        for node in _slice_nodes():
            if node.GetLayoutName() == name:
                return node
        return None

    def refresh(self) -> None:
        """Offer the views that are there now; the chosen one stays if it is."""
        names = [node.GetLayoutName() for node in _slice_nodes()]
        if names == [self._selector.itemText(row) for row in range(self._selector.count)]:
            return
        chosen = self._selector.currentText
        self._selector.clear()
        self._selector.addItems(names)
        if chosen in names:
            self._selector.setCurrentIndex(names.index(chosen))


def _slice_nodes() -> list[Any]:
    scene = slicer.mrmlScene
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    return [scene.GetNthNodeByClass(number, "vtkMRMLSliceNode") for number in range(count)]
