"""The answer to a request: what is kept, with sizes measured on the segments, why it ended, and what a model wrote."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.rounds.scene_round import SceneRound
from MedSAM3AgentSceneLib.translation.translate import translated

from .cards.number_table import NumberTable
from .cards.round_words import size_words, verdict_words


class AnswerSection:
    """Shows the answer of one request, and nothing before there is one.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        headings = (
            (_("Structure"), ""),
            (_("Size"), _("The volume that its segment holds, in milliliters.")),
            (_("Verdict"), _("By checks that are computed, and by the votes of the language model.")),
        )
        self._table = NumberTable(ui.answerTable, headings, texts=1)
        # What a language model wrote is shown as it is.
        ui.answerLabel.textFormat = qt.Qt.PlainText
        self.clear()

    def show(self, last: SceneRound) -> None:
        """Show the answer that ended with a round."""
        ui = self._ui
        ui.whyLabel.text = "\n".join(filter(None, (translated(last.why), *map(translated, last.messages))))
        ui.whyLabel.visible = bool(ui.whyLabel.text)
        ui.answerLabel.text = (
            _("The language model wrote (not a finding): {words}").format(words=last.answer) if last.answer else ""
        )
        ui.answerLabel.visible = bool(last.answer)
        self._table.show(
            [(verdict.name, size_words(verdict), verdict_words(verdict)) for verdict in last.verdicts],
            [translated(verdict.why) for verdict in last.verdicts],
        )
        ui.answerSection.visible = True

    def clear(self) -> None:
        """Show nothing, and take no room."""
        self._ui.answerSection.visible = False
