"""A small table of names and numbers that is as high as its rows, so that it never scrolls by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


class NumberTable:
    """Shows rows whose first column is a name.

    Args:
        table: a QTableWidget.
        headings: of the columns, each with its tip.
        texts: how many columns at the end hold words, all others but the first hold numbers.
    """

    def __init__(self, table: Any, headings: Sequence[tuple[str, str]], texts: int = 0) -> None:
        self._table = table
        self._numbers = range(1, len(headings) - texts)
        table.columnCount = len(headings)
        table.setHorizontalHeaderLabels([words for words, _tip in headings])
        for column, (_words, tip) in enumerate(headings):
            table.horizontalHeaderItem(column).setToolTip(tip)
        # However long a name is, its numbers stay in sight.
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.wordWrap = False
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.verticalHeader().hide()

    def show(self, rows: Sequence[tuple[str, ...]], tips: Sequence[str] = ()) -> None:
        """Show these rows, each with its tip; without any the table takes no room."""
        table = self._table
        table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tips[row] if row < len(tips) else text)
                if column in self._numbers:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(row, column, item)
        height = sum(table.rowHeight(row) for row in range(len(rows)))
        table.setFixedHeight(table.horizontalHeader().sizeHint.height() + height + 2 * table.frameWidth)
        table.visible = bool(rows)
