"""The table of a run's concepts: found or not, score, volume, and what there is to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SceneLib.editing.write_result import WrittenResult
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.preprocessing.windowing import describe_window
from MedSAM3SegmentLib.reporting.sentences import describe_cut_off
from MedSAM3SegmentLib.reporting.slice_sentences import describe_next_slice, describe_sources
from MedSAM3SegmentLib.results.result import ConceptResult, SegmentResult

#: The columns that hold numbers.
_NUMBERS = (2, 3)

#: Rows that are seen without scrolling the table.
_MOST_ROWS = 8


class ResultsTable:
    """Shows one row per concept, and below them in full what there is to say of the selected one.

    Args:
        table: a QTableWidget.
        message_label: a QLabel for what there is to say.
        selected: called with the number of the concept whose row was selected.
    """

    def __init__(self, table: Any, message_label: Any, selected: Callable[[int], None]) -> None:
        self._table = table
        self._message_label = message_label
        self._selected = selected
        self._messages: list[str] = []
        self._filling = False
        table.setHorizontalHeaderLabels([_("Concept"), _("Found"), _("Score"), _("mL")])
        for column, words in (
            (2, _("The best score on any slice, 0 to 1.")),
            (3, _("The volume that its segment holds, in millilitres; ≥ where the structure goes on beyond it.")),
        ):
            table.horizontalHeaderItem(column).setToolTip(words)
        # However long a phrase is, what became of it stays in sight.
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.wordWrap = False
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self._select)

    def show(self, result: SegmentResult, written: WrittenResult | None) -> None:
        """Show ``result``; what was written says more than the result alone. The selected row stays selected."""
        selected = self._table.currentRow()
        said = {} if written is None else {part.concept: part.message for part in reversed(written.concepts)}
        held = held_ml(written) if written is not None else {}
        # Rows that go move the selection, before the others hold what is new.
        self._filling = True
        self._messages = []
        self._table.setRowCount(len(result.concepts))
        for row, concept in enumerate(result.concepts):
            sentences = [said.get(concept.concept, concept.reason), *describe_cut_off(concept)]
            sentences += [*describe_next_slice(concept), *describe_sources(concept)]
            sentences += [*concept.messages, *concept.clean_up]
            message = " ".join(map(translated, sentences))
            self._messages.append(f"{message} {translated(describe_window(concept.window))}")
            # The whole structure holds more, and the sentence says why.
            least = "≥ " if concept.cut_off else ""
            texts = (
                concept.concept,
                _("found") if concept.found else _("not found"),
                f"{best_score(concept):.2f}",
                f"{least}{held.get(concept.concept, volume_ml(concept)):.1f}" if concept.found else "",
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{concept.concept}: {message}")
                if column in _NUMBERS:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self._table.setItem(row, column, item)
        self._filling = False
        self._fit()
        if result.concepts:
            # A row that is selected already would not be told of, nor its new scores be drawn.
            self._table.clearSelection()
            self._table.selectRow(selected if 0 <= selected < len(result.concepts) else 0)

    def clear(self) -> None:
        """Show nothing."""
        self._messages = []
        self._table.setRowCount(0)
        self._fit()
        self._show_message("")

    def _fit(self) -> None:
        """Be as high as the rows are, so that what comes below is in sight; without any, take no room."""
        rows = sum(self._table.rowHeight(row) for row in range(min(self._table.rowCount, _MOST_ROWS)))
        header = self._table.horizontalHeader().sizeHint.height()
        self._table.setFixedHeight(header + rows + 2 * self._table.frameWidth)
        self._table.visible = self._table.rowCount > 0

    def _select(self) -> None:
        row = self._table.currentRow()
        if row >= 0 and self._table.selectedItems() and not self._filling:
            self._show_message(self._messages[row])
            self._selected(row)

    def _show_message(self, words: str) -> None:
        self._message_label.text = words
        self._message_label.visible = bool(words)


def best_score(concept: ConceptResult) -> float:
    """The best score on any slice, 0 where none was looked at."""
    return max(concept.score_by_slice.values(), default=0.0)


def held_ml(written: WrittenResult) -> dict[str, float]:
    """Millilitres that the segments of each written concept hold."""
    held: dict[str, float] = {}
    for part in written.concepts:
        if part.volume_mm3 is not None:
            held[part.concept] = held.get(part.concept, 0.0) + part.volume_mm3 / 1000
    return held


def volume_ml(concept: ConceptResult) -> float:
    """Millilitres of all objects of the concept."""
    return sum(instance.volume_mm3 for instance in concept.instances) / 1000
