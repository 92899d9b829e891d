"""The score of a concept on each slice, drawn as a curve; a click on it goes to the slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import qt
from slicer.i18n import tr as _

#: Pixels right of the curve.
_RIGHT = 12

#: Pixels between words and the curve.
_GAP = 3


class ScorePlot(qt.QObject):
    """Draws into a label, which takes no room while there is nothing to draw.

    Args:
        label: a QLabel.
        clicked: called with the slice at the place that was clicked.
    """

    def __init__(self, label: Any, clicked: Callable[[int], None]) -> None:
        qt.QObject.__init__(self, label)
        self._label = label
        self._clicked = clicked
        self._concept = ""
        self._scores: dict[int, float] = {}
        self._threshold = 0.5
        label.installEventFilter(self)
        self.clear()

    def show(self, concept: str, scores: Mapping[int, float], threshold: float) -> None:
        """Draw the ``scores`` of ``concept`` by slice, and the threshold as a line."""
        self._concept = concept
        self._scores = dict(sorted(scores.items()))
        self._threshold = threshold
        self._label.visible = bool(self._scores)
        if self._scores:
            self._draw()

    def clear(self) -> None:
        """Show nothing."""
        self._scores = {}
        self._label.clear()
        self._label.visible = False

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Clicks become slices; a new size and a new theme are drawn anew."""
        if event.type() == qt.QEvent.MouseButtonPress and self._scores:
            self._clicked(self.slice_at(_column_of(event)))
            return True
        if event.type() in (qt.QEvent.Resize, qt.QEvent.PaletteChange) and self._scores:
            self._draw()
        return False

    def slice_at(self, x: float) -> int:
        """The slice that is drawn closest to column ``x`` of the label."""
        return min(self._scores, key=lambda index: abs(self._column(index) - x))

    @property
    def _left(self) -> int:
        """Pixels left of the curve, where scores are written."""
        return int(self._label.fontMetrics().horizontalAdvance("0.00")) + 8

    @property
    def _line(self) -> int:
        """Pixels that a line of words takes above the curve, for its title, and below, for the slices."""
        return int(self._label.fontMetrics().height())

    def _column(self, index: int) -> float:
        indices = list(self._scores)
        left = self._left
        width = max(1, self._label.width - left - _RIGHT)
        return left + width * (index - indices[0]) / max(1, indices[-1] - indices[0])

    def _row(self, score: float) -> float:
        edge = self._line + 2 * _GAP
        return edge + max(1, self._label.height - 2 * edge) * (1 - min(1.0, max(0.0, score)))

    def _draw(self) -> None:
        palette = self._label.palette
        picture = empty_picture(self._label)
        painter = qt.QPainter(picture)
        painter.setRenderHint(qt.QPainter.Antialiasing)
        self._draw_axes(painter, palette)
        self._draw_curve(painter, palette)
        painter.end()
        self._label.setPixmap(picture)

    def _draw_axes(self, painter: Any, palette: Any) -> None:
        left, right = self._left, self._label.width - _RIGHT
        line, bottom = self._line, round(self._row(0.0))
        painter.setPen(qt.QPen(palette.color(qt.QPalette.Mid)))
        for score in (0.0, 1.0):
            painter.drawLine(left, round(self._row(score)), right, round(self._row(score)))
        dashed = qt.QPen(palette.color(qt.QPalette.Text))
        dashed.setStyle(qt.Qt.DashLine)
        painter.setPen(dashed)
        level = round(self._row(self._threshold))
        painter.drawLine(left, level, right, level)

        painter.setPen(qt.QPen(palette.color(qt.QPalette.Text)))
        title = _("Score by slice: {concept}").format(concept=self._concept)
        title = self._label.fontMetrics().elidedText(title, qt.Qt.ElideRight, right - left)
        write_words(painter, title, left, _GAP, right - left, line, qt.Qt.AlignLeft)
        # The ends of the axis are written only where the threshold leaves room for them.
        levels = [self._threshold, *(end for end in (0.0, 1.0) if abs(end - self._threshold) > 0.2)]
        for score in levels:
            write_words(
                painter, f"{score:.2f}", 0, round(self._row(score)) - line // 2, left - 4, line, qt.Qt.AlignRight
            )
        indices = list(self._scores)
        below = (bottom + _GAP, right - left, line)
        write_words(painter, str(indices[0]), left, *below, qt.Qt.AlignLeft)
        if len(indices) > 1:
            write_words(painter, str(indices[-1]), left, *below, qt.Qt.AlignRight)
        write_words(painter, _("slice"), left, *below, qt.Qt.AlignHCenter)

    def _draw_curve(self, painter: Any, palette: Any) -> None:
        pen = qt.QPen(palette.color(qt.QPalette.Highlight))
        pen.setWidth(2)
        painter.setPen(pen)
        places = [qt.QPointF(self._column(index), self._row(score)) for index, score in self._scores.items()]
        if len(places) == 1:
            painter.drawEllipse(places[0], 3, 3)
        for first, second in pairwise(places):
            painter.drawLine(first, second)


def _column_of(event: Any) -> float:
    """Where a mouse event happened. Qt 6 calls ``position`` what Qt 5 calls ``localPos``."""
    place = event.position() if hasattr(event, "position") else event.localPos()
    return float(place.x())


def empty_picture(label: Any) -> Any:
    """A pixmap of a label's size and background."""
    # Screens of a high resolution have several of their dots in one of Qt's pixels.
    ratio = label.devicePixelRatioF()
    picture = qt.QPixmap(max(1, round(label.width * ratio)), max(1, round(label.height * ratio)))
    picture.setDevicePixelRatio(ratio)
    picture.fill(label.palette.color(qt.QPalette.Base))
    return picture


def write_words(painter: Any, text: str, x: int, y: int, width: int, height: int, align: Any) -> None:
    painter.drawText(x, y, width, height, int(align) | int(qt.Qt.AlignVCenter), text)
