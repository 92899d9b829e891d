"""Which slice view is meant."""

from __future__ import annotations

from typing import Any

from MedSAM3WidgetsLib.layout_views import shown_slice_nodes


class SliceViewSelector:
    """The slice views that the layout shows, in a combo box.

    Args:
        selector: a QComboBox.
    """

    def __init__(self, selector: Any) -> None:
        self._selector = selector
        self._parameters: Any = None
        self._filling = False
        selector.connect("currentIndexChanged(int)", self._choose)
        self.refresh()

    @property
    def node(self) -> Any:
        """The slice node of the chosen view, or None when there is none."""
        name = self._selector.currentText
        for node in shown_slice_nodes():
            if node.GetLayoutName() == name:
                return node
        return None

    def connect(self, parameters: Any) -> None:
        """Keep the choice in ``parameters`` from now on."""
        self._parameters = parameters
        self.refresh()

    def refresh(self) -> None:
        """Offer the views that are there now; the chosen one stays if it is."""
        names = [node.GetLayoutName() for node in shown_slice_nodes()]
        shown = [self._selector.itemText(row) for row in range(self._selector.count)]
        chosen = (self._parameters.view if self._parameters is not None else "") or self._selector.currentText
        self._filling = True
        if names != shown:
            self._selector.clear()
            self._selector.addItems(names)
        if chosen in names:
            self._selector.setCurrentIndex(names.index(chosen))
        self._filling = False

    def _choose(self, _row: int) -> None:
        if self._parameters is not None and not self._filling:
            self._parameters.view = self._selector.currentText
