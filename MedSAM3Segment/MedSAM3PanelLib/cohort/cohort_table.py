"""The table of a cohort's cases: which, how doubtful, and what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SegmentLib.cohort.review import CohortCase, ReviewStatus


class CohortTable:
    """Shows one row per case, in the order that they are given in.

    Args:
        table: a QTableWidget.
        selected: called with the case whose row a person selected.
    """

    def __init__(self, table: Any, selected: Callable[[CohortCase], None]) -> None:
        self._table = table
        self._selected = selected
        self._cases: Sequence[CohortCase] = ()
        self._filling = False
        table.setHorizontalHeaderLabels([_("Case"), _("Doubt"), _("Review")])
        table.horizontalHeaderItem(1).setToolTip(_("How much a person should doubt the result, 0 to 1; it only sorts."))
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self._select)

    def show(self, cases: Sequence[CohortCase]) -> None:
        """Show the cases."""
        self._filling = True
        self._cases = cases
        self._table.setRowCount(len(cases))
        for row, case in enumerate(cases):
            remark = case.review.remark if case.review is not None else ""
            for column, text in enumerate((case.record.case, f"{case.doubt.value:.2f}", _state_of(case))):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(remark or "; ".join(case.doubt.reasons))
                self._table.setItem(row, column, item)
        self._filling = False
        self._table.visible = bool(cases)

    def mark(self, case: CohortCase) -> None:
        """Select the row of a case that is shown by other means."""
        self._filling = True
        self._table.selectRow([one.record.case for one in self._cases].index(case.record.case))
        self._filling = False

    def _select(self) -> None:
        row = self._table.currentRow()
        if not self._filling and 0 <= row < len(self._cases) and self._table.selectedItems():
            self._selected(self._cases[row])


def _state_of(case: CohortCase) -> str:
    if case.review is None:
        return _("failed") if case.record.failure else ""
    match case.review.status:
        case ReviewStatus.ACCEPTED:
            return _("accepted")
        case ReviewStatus.CORRECTED:
            return _("corrected")
    return _("flagged")
