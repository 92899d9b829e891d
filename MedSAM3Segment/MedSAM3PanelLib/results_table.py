"""The table of a run's concepts: found or not, score, volume, and what there is to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SceneLib.segmentations import WrittenResult
from MedSAM3SegmentLib.result import ConceptResult, SegmentResult


class ResultsTable:
    """Shows one row per concept.

    Args:
        table: a QTableWidget.
        selected: called with the number of the concept whose row was selected.
    """

    def __init__(self, table: Any, selected: Callable[[int], None]) -> None:
        self._table = table
        self._selected = selected
        table.setHorizontalHeaderLabels([_("Concept"), _("Found"), _("Score"), _("mL"), _("Message")])
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self._select)

    def show(self, result: SegmentResult, written: WrittenResult | None) -> None:
        """Show ``result``; what was written says more than the result alone."""
        said = {} if written is None else {part.concept: part.message for part in reversed(written.concepts)}
        self._table.setRowCount(len(result.concepts))
        for row, concept in enumerate(result.concepts):
            message = " ".join([said.get(concept.concept, concept.reason), *concept.messages, *concept.clean_up])
            texts = (
                concept.concept,
                _("found") if concept.found else _("not found"),
                f"{best_score(concept):.2f}",
                f"{volume_ml(concept):.1f}" if concept.found else "",
                message,
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(message)
                self._table.setItem(row, column, item)
        if result.concepts:
            self._table.selectRow(0)

    def clear(self) -> None:
        """Show nothing."""
        self._table.setRowCount(0)

    def _select(self) -> None:
        row = self._table.currentRow()
        if row >= 0:
            self._selected(row)


def best_score(concept: ConceptResult) -> float:
    """The best score on any slice, 0 where none was looked at."""
    return max(concept.score_by_slice.values(), default=0.0)


def volume_ml(concept: ConceptResult) -> float:
    """Millilitres of all objects of the concept."""
    return sum(instance.volume_mm3 for instance in concept.instances) / 1000
