"""The list of segments that can be learnt from, with check boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.learning.learnable_segments import LearnableSegment, learnable_segments
from MedSAM3SceneLib.translation.translate import translated

#: Rows that are seen without scrolling.
_MOST_ROWS = 8


class SegmentList:
    """Shows one row per segment of the scene; what was ticked stays ticked while the segment is there.

    Args:
        table: a QTableWidget.
        changed: called when another one was ticked.
    """

    def __init__(self, table: Any, changed: Callable[[], None]) -> None:
        self._table = table
        self._changed = changed
        self._filling = False
        self._segments: list[LearnableSegment] = []
        self._shown: list[tuple[Any, ...]] | None = None
        self._ticked: set[tuple[str, str]] = set()
        self.why_not = ""
        table.setHorizontalHeaderLabels([_("Segment"), _("Segmentation")])
        for column in range(2):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Stretch)
        table.verticalHeader().hide()
        table.connect("itemChanged(QTableWidgetItem*)", self._tick)

    @property
    def chosen(self) -> list[LearnableSegment]:
        """What is ticked, in the order of the scene."""
        return [one for one in self._segments if one.key in self._ticked]

    def refresh(self) -> None:
        """Show what is in the scene now."""
        self._segments, why_not = learnable_segments(slicer.mrmlScene)
        self.why_not = "\n".join(translated(one) for one in why_not)
        shown = [(*one.key, one.phrase, one.segmentation_node.GetName()) for one in self._segments]
        if shown == self._shown:
            return
        self._shown = shown
        self._ticked &= {one.key for one in self._segments}
        self._filling = True
        self._table.setRowCount(len(self._segments))
        for row, one in enumerate(self._segments):
            item = qt.QTableWidgetItem(one.phrase)
            item.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled)
            item.setCheckState(qt.Qt.Checked if one.key in self._ticked else qt.Qt.Unchecked)
            self._table.setItem(row, 0, item)
            node = qt.QTableWidgetItem(one.segmentation_node.GetName())
            node.setFlags(qt.Qt.ItemIsEnabled)
            node.setToolTip(_("drawn on {volume}").format(volume=one.volume_node.GetName()))
            self._table.setItem(row, 1, node)
        self._filling = False
        fit_height(self._table, _MOST_ROWS)
        self._table.visible = bool(self._segments)

    def forget(self) -> None:
        """Let go of all nodes."""
        self._segments, self._shown = [], None
        self._ticked.clear()
        self._table.setRowCount(0)
        self._table.visible = False

    def _tick(self, item: Any) -> None:
        if self._filling or item.column() != 0 or item.row() >= len(self._segments):
            return
        key = self._segments[item.row()].key
        if item.checkState() == qt.Qt.Checked:
            self._ticked.add(key)
        else:
            self._ticked.discard(key)
        self._changed()


def fit_height(table: Any, most_rows: int) -> None:
    """Make a table as high as its rows, up to so many of them."""
    rows = min(max(table.rowCount, 1), most_rows)
    header = table.horizontalHeader().sizeHint.height()
    table.setFixedHeight(header + sum(table.rowHeight(row) for row in range(rows)) + 2 * table.frameWidth)
