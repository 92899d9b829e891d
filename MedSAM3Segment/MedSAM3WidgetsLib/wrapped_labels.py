"""Labels whose lines are wrapped, kept as high as their words need.

Slicer's module panel hands out heights by the width that the panel had before, and cuts off the last lines after it has
become narrower.
"""

from __future__ import annotations

from typing import Any

import qt

#: The label's width has changed, or what is laid out beside it, which a new text is a part of.
_CHANGES = (qt.QEvent.Resize, qt.QEvent.Show, qt.QEvent.LayoutRequest)


class WrappedLabel(qt.QObject):
    """Keeps one label as high as its words need; it goes together with the label.

    Args:
        label: a QLabel that wraps its lines, in a layout.
    """

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self, label)
        self._label = label
        self._measured: tuple[str, int] | None = None
        label.installEventFilter(self)
        # A new text is not told to the label itself, while its size stays.
        label.parentWidget().installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Follow what changes the height that is needed."""
        if event.type() in _CHANGES and self._label.visible:
            self._keep_height()
        return False

    def _keep_height(self) -> None:
        """Measure once for each text and width: a new height is laid out, which comes back here as another event."""
        shown = (self._label.text, self._label.width)
        if shown != self._measured:
            self._measured = shown
            # Qt counts the least height into the one that is needed, which could only grow.
            self._label.minimumHeight = 0
            self._label.minimumHeight = max(0, self._label.heightForWidth(self._label.width))


def keep_labels_readable(ui: Any) -> list[WrappedLabel]:
    """Keep all wrapped labels of ``ui`` as high as their words need, for as long as the answer is held.

    Args:
        ui: a panel's widgets by name.
    """
    labels = [widget for widget in vars(ui).values() if widget.className() == "QLabel"]
    return [WrappedLabel(label) for label in labels if label.wordWrap]
