"""Whether the model learns from the drawn slices first, and under which name that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _


class LearningChoice:
    """A box to tick, and a line for a name that is there while it is ticked.

    Args:
        connect: called with a widget, a signal and what the signal is to call.
    """

    def __init__(self, connect: Callable[[Any, str, Callable[..., Any]], None]) -> None:
        self.box = qt.QCheckBox(_("Learn from these slices"))
        self.box.objectName = "MedSAM3LearnBox"
        self.box.setToolTip(
            _(
                "Before the segment is propagated, a copy of the model learns from the drawn slices, which takes a"
                " minute or two. It is used where it does better on some of them that were held out, between them and"
                " beyond. Four drawn slices at least."
            )
        )
        self.nameEdit = qt.QLineEdit()
        self.nameEdit.objectName = "MedSAM3LearnNameEdit"
        self.nameEdit.setPlaceholderText(_("Keep it as a model named (optional)"))
        self.nameEdit.setToolTip(
            _(
                "Where what was learnt is used, it is kept among the engine's models under this name and can be chosen"
                " under Model in the module MedSAM3 Segment. Without a name it is thrown away."
            )
        )
        self.nameEdit.visible = False
        connect(self.box, "toggled(bool)", self._show_name)

    @property
    def learns(self) -> bool:
        """Whether the model learns from the drawn slices before they are propagated."""
        return bool(self.box.checked)

    @property
    def name(self) -> str:
        """What to keep it as; empty to throw it away."""
        return str(self.nameEdit.text).strip() if self.learns else ""

    def _show_name(self, learns: bool) -> None:
        self.nameEdit.visible = learns
