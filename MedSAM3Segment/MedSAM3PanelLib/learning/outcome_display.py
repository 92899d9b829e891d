"""What came of learning: a table of before and after, and pictures of held-out slices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.engine.learning.records import LearningResult, TaskFigures

from .segment_list import fit_height

#: Rows of the table that are seen without scrolling.
_MOST_ROWS = 6


class OutcomeDisplay:
    """Takes no room while there is nothing to show.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._table, self._caption = ui.learnResultTable, ui.learnPicturesCaption
        labels = (ui.learnPicture1Label, ui.learnPicture2Label, ui.learnPicture3Label)
        self._pictures = [_FittedPicture(label) for label in labels]
        self._table.setHorizontalHeaderLabels([_("Task"), _("Slices"), _("Dice"), _("Presence")])
        self._table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        self._table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column, words in (
            (1, _("Slices that were held out from learning.")),
            (2, _("Overlap with what was drawn on held-out slices, before and after; 1 is the same.")),
            (3, _("Share of right answers to whether something is on a held-out slice, before and after.")),
        ):
            self._table.horizontalHeaderItem(column).setToolTip(words)
        self._table.verticalHeader().hide()
        self.clear()

    def show_steps(self, result: LearningResult, folder: JobFolder) -> Iterator[None]:
        """Show what came of a job, in short steps."""
        self._table.visible = bool(result.tasks)
        self._table.setRowCount(len(result.tasks))
        for row, task in enumerate(result.tasks):
            for column, text in enumerate(_cells(task)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(", ".join(task.concepts))
                self._table.setItem(row, column, item)
        fit_height(self._table, _MOST_ROWS)
        yield
        self._caption.visible = bool(result.pictures)
        self._caption.text = _(
            "Held-out slices, before on the left and after on the right. White is what was drawn, orange and blue are "
            "what the model found before and after."
        )
        for shown, picture in zip(self._pictures, result.pictures, strict=False):
            words = _("Dice on this slice: {before:.2f} before, {after:.2f} after").format(
                before=picture.dice[0], after=picture.dice[1]
            )
            shown.show(qt.QPixmap(str(folder.path / picture.file)), words)
            yield

    def clear(self) -> None:
        """Show nothing."""
        self._table.setRowCount(0)
        self._table.visible = self._caption.visible = False
        for picture in self._pictures:
            picture.clear()


class _FittedPicture(qt.QObject):
    """A picture that is as wide as its label, which takes no room without one.

    Args:
        label: a QLabel that can be narrower than its picture.
    """

    def __init__(self, label: Any) -> None:
        qt.QObject.__init__(self, label)
        self._label = label
        self._pixmap: Any = None
        self._width = 0
        label.installEventFilter(self)

    def show(self, pixmap: Any, words: str) -> None:
        """Show a QPixmap; one that could not be read is not shown."""
        self.clear()
        if not pixmap.isNull():
            self._pixmap = pixmap
            self._label.toolTip = words
            self._label.visible = True
            self._fit()

    def clear(self) -> None:
        """Show nothing."""
        self._pixmap, self._width = None, 0
        self._label.clear()
        self._label.visible = False

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """A new width is drawn anew; the height follows."""
        if event.type() == qt.QEvent.Resize and self._pixmap is not None:
            self._fit()
        return False

    def _fit(self) -> None:
        if self._label.width != self._width:
            self._width = self._label.width
            self._label.setPixmap(self._pixmap.scaledToWidth(max(1, self._width), qt.Qt.SmoothTransformation))


def _cells(task: TaskFigures) -> tuple[str, str, str, str]:
    name = task.name if task.is_earlier else _("this task")
    words = _("{task} ({concepts})").format(task=name, concepts=", ".join(task.concepts))
    return words, str(task.held_out), _change(*task.dice), _change(*task.presence)


def _change(before: float | None, after: float | None) -> str:
    return " → ".join("?" if value is None else f"{value:.3f}" for value in (before, after))
