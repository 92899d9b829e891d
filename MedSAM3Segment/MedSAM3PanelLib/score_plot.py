"""The score of a concept on each slice, drawn as a curve; a click on it goes to the slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import qt

_MARGIN = 6


class ScorePlot(qt.QObject):
    """Draws into a label.

    Args:
        label: a QLabel.
        clicked: called with the slice at the place that was clicked.
    """

    def __init__(self, label: Any, clicked: Callable[[int], None]) -> None:
        qt.QObject.__init__(self, label)
        self._label = label
        self._clicked = clicked
        self._scores: dict[int, float] = {}
        self._threshold = 0.5
        label.installEventFilter(self)

    def show(self, scores: Mapping[int, float], threshold: float) -> None:
        """Draw ``scores`` by slice, and the threshold as a line."""
        self._scores = dict(sorted(scores.items()))
        self._threshold = threshold
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._scores = {}
        self._label.clear()

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Clicks become slices; a new size is drawn anew."""
        if event.type() == qt.QEvent.MouseButtonPress and self._scores:
            self._clicked(self.slice_at(event.pos().x()))
            return True
        if event.type() == qt.QEvent.Resize and self._scores:
            self._draw()
        return False

    def slice_at(self, x: int) -> int:
        """The slice that is drawn closest to column ``x`` of the label."""
        return min(self._scores, key=lambda index: abs(self._column(index) - x))

    def _column(self, index: int) -> float:
        indices = list(self._scores)
        width = max(1, self._label.width - 2 * _MARGIN)
        return _MARGIN + width * (index - indices[0]) / max(1, indices[-1] - indices[0])

    def _row(self, score: float) -> float:
        height = max(1, self._label.height - 2 * _MARGIN)
        return _MARGIN + height * (1 - min(1.0, max(0.0, score)))

    def _draw(self) -> None:
        palette = self._label.palette
        picture = qt.QPixmap(max(1, self._label.width), max(1, self._label.height))
        picture.fill(palette.color(qt.QPalette.Base))
        painter = qt.QPainter(picture)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.setPen(qt.QPen(palette.color(qt.QPalette.Mid)))
        level = self._row(self._threshold)
        painter.drawLine(qt.QPointF(_MARGIN, level), qt.QPointF(self._label.width - _MARGIN, level))
        pen = qt.QPen(palette.color(qt.QPalette.Highlight))
        pen.setWidth(2)
        painter.setPen(pen)
        places = [qt.QPointF(self._column(index), self._row(score)) for index, score in self._scores.items()]
        if len(places) == 1:
            painter.drawEllipse(places[0], 3, 3)
        for first, second in pairwise(places):
            painter.drawLine(first, second)
        painter.end()
        self._label.setPixmap(picture)
