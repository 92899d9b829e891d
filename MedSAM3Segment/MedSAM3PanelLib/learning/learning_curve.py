"""The learning curve, drawn into a label: the loss by step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3PanelLib.score_plot import empty_picture, write_words

#: Pixels right of the curve, and between words and the curve.
_RIGHT, _GAP = 12, 3


class LearningCurve(qt.QObject):
    """Draws into a label, which takes no room while there is nothing to draw.

    Args:
        label: a QLabel.
    """

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self, label)
        self._label = label
        self._losses: dict[int, float] = {}
        self._steps = 1
        label.installEventFilter(self)
        self.clear()

    def show(self, losses: Mapping[int, float], steps: int) -> None:
        """Draw the losses by step, of so many steps in all."""
        if losses == self._losses and steps == self._steps and self._label.visible == (len(losses) > 1):
            return
        self._losses, self._steps = dict(losses), max(1, steps, *losses)
        self._label.visible = len(self._losses) > 1
        if len(self._losses) > 1:
            self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._losses = {}
        self._label.clear()
        self._label.visible = False

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """A new size and a new theme are drawn anew."""
        if event.type() in (qt.QEvent.Resize, qt.QEvent.PaletteChange) and len(self._losses) > 1:
            self._draw()
        return False

    def _draw(self) -> None:
        label, palette = self._label, self._label.palette
        picture = empty_picture(label)
        painter = qt.QPainter(picture)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        metrics = label.fontMetrics()
        line, highest = int(metrics.height()), max(self._losses.values()) or 1.0
        left, right = int(metrics.horizontalAdvance("000.0")) + 8, label.width - _RIGHT
        top, bottom = line + 2 * _GAP, label.height - line - 2 * _GAP
        painter.setPen(qt.QPen(palette.color(qt.QPalette.Mid)))
        for row in (top, bottom):
            painter.drawLine(left, row, right, row)
        painter.setPen(qt.QPen(palette.color(qt.QPalette.Text)))
        title = metrics.elidedText(_("Learning curve (loss by step)"), qt.Qt.ElideRight, right - left)
        write_words(painter, title, left, _GAP, right - left, line, qt.Qt.AlignLeft)
        for value, row in ((highest, top), (0.0, bottom)):
            write_words(painter, f"{value:.3g}", 0, row - line // 2, left - 4, line, qt.Qt.AlignRight)
        write_words(painter, "0", left, bottom + _GAP, right - left, line, qt.Qt.AlignLeft)
        write_words(painter, str(self._steps), left, bottom + _GAP, right - left, line, qt.Qt.AlignRight)
        pen = qt.QPen(palette.color(qt.QPalette.Highlight))
        pen.setWidth(2)
        painter.setPen(pen)
        places = [
            qt.QPointF(left + (right - left) * step / self._steps, bottom - (bottom - top) * loss / highest)
            for step, loss in sorted(self._losses.items())
        ]
        for first, second in pairwise(places):
            painter.drawLine(first, second)
        painter.end()
        label.setPixmap(picture)
