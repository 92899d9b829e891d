"""The list of what is drawn for the selected segment, with buttons to remove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3SceneLib.segments.prompts import Prompt, positions_of
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS

#: Marks that are seen without scrolling.
_MOST_ROWS = 4


class PromptList:
    """The list; it takes no room while nothing is drawn.

    Args:
        connect: called with a widget, a signal and what the signal is to call.
        tell: called with ``remove`` or ``jump`` and the number of a mark, or with ``remove_all``.

    Attributes:
        frame: the widget that holds all others.
    """

    def __init__(self, connect: Callable[[Any, str, Callable[..., Any]], None], tell: Callable[..., None]) -> None:
        self._tell = tell
        self.frame = qt.QWidget()
        self.frame.visible = False
        self.list = qt.QListWidget()
        self.list.objectName = "MedSAM3MarkList"
        self.list.setToolTip(_("What is drawn for this segment. Click to show it in the slice views."))
        connect(self.list, "currentRowChanged(int)", self._on_row_changed)
        # A row that is chosen already does not change, and its mark may be out of sight again.
        connect(self.list, "itemClicked(QListWidgetItem*)", lambda _item: tell("jump", self.list.currentRow))
        self.removeButton = qt.QPushButton(_("Remove"))
        self.removeButton.objectName = "MedSAM3RemoveButton"
        self.removeAllButton = qt.QPushButton(_("Remove all"))
        self.removeAllButton.objectName = "MedSAM3RemoveAllButton"
        connect(self.removeButton, "clicked()", lambda: tell("remove", self.list.currentRow))
        connect(self.removeAllButton, "clicked()", lambda: tell("remove_all"))
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.removeButton)
        buttons.addWidget(self.removeAllButton)
        column = qt.QVBoxLayout(self.frame)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(qt.QLabel(_("Drawn:")))
        column.addWidget(self.list)
        column.addLayout(buttons)

    def show(self, prompts: Sequence[Prompt]) -> None:
        """List the marks; positions are in the world. The chosen row stays chosen, so that the next can be removed."""
        was_blocked = self.list.blockSignals(True)
        chosen = self.list.currentRow
        self.list.clear()
        for prompt in prompts:
            self.list.addItem(_describe_prompt(prompt))
        self.list.setCurrentRow(min(chosen, len(prompts) - 1))
        self.list.blockSignals(was_blocked)
        rows = min(len(prompts), _MOST_ROWS)
        self.list.setFixedHeight(rows * self.list.sizeHintForRow(0) + 2 * self.list.frameWidth)
        self.frame.visible = bool(prompts)
        self._update_buttons()

    def _on_row_changed(self, row: int) -> None:
        self._update_buttons()
        if row >= 0:
            self._tell("jump", row)

    def _update_buttons(self) -> None:
        self.removeButton.enabled = self.list.currentRow >= 0
        self.removeAllButton.enabled = self.list.count > 0


def _describe_prompt(prompt: Prompt) -> str:
    middle = [round(sum(values) / len(values)) for values in zip(*positions_of(prompt), strict=True)]
    # As Slicer tells places: letters for directions in place of signs.
    place = " ".join(
        f"{letters[value < 0]} {abs(value)}" for letters, value in zip(("RL", "AP", "SI"), middle, strict=True)
    )
    if isinstance(prompt, BoxPromptRAS):
        words = _("box, {place}") if prompt.positive else _("negative box, {place}")
    else:
        words = _("point, {place}") if prompt.positive else _("negative point, {place}")
    sign = "+" if prompt.positive else "\N{MULTIPLICATION SIGN}"
    return f"{sign} {words.format(place=place)}"
