"""What there is to say of the concepts that are typed, below them, with a click for what may have been meant."""

from __future__ import annotations

from html import escape
from typing import Any

from slicer.i18n import tr as _

from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.vocabulary.advice import Advice, advise
from MedSAM3SegmentLib.vocabulary.phrases import split_phrases
from MedSAM3WidgetsLib.window_timer import WindowTimer

#: After so long a pause somebody reads what was typed; a word that is half typed is not misspelt.
_PAUSE_MS = 700

#: Sentences that are shown; more of them push the buttons out of sight.
_MOST_SENTENCES = 4


class PhraseAdvice:
    """Keeps a label below a text edit that holds several concepts.

    Args:
        edit: a QPlainTextEdit.
        label: a QLabel whose links can be clicked.
    """

    def __init__(self, edit: Any, label: Any) -> None:
        self._edit = edit
        self._label = label
        self._timer = WindowTimer(self.show, is_once=True)
        #: What a click puts in the place of what, by the number of the link.
        self._links: list[tuple[str, str]] = []
        edit.connect("textChanged()", self._wait)
        label.connect("linkActivated(QString)", self.take)
        label.visible = False

    def show(self) -> None:
        """Show what there is to say of what is typed now; nothing takes no room."""
        self._timer.stop()
        self._links = []
        lines = [self._line(phrase, one) for phrase in split_phrases(self._edit.plainText) for one in advise(phrase)]
        self._label.text = "<br>".join(lines[:_MOST_SENTENCES])
        self._label.visible = bool(lines)

    def take(self, link: str) -> None:
        """Put what was clicked in the place of the phrase that it was offered for."""
        phrase, meant = self._links[int(link)]
        typed = self._edit.plainText
        separator = "\n" if "\n" in typed else "; "
        self._edit.plainText = separator.join(meant if one == phrase else one for one in split_phrases(typed))
        self.show()

    def close(self) -> None:
        """The panel goes away."""
        self._timer.stop()

    def _wait(self) -> None:
        self._timer.start(_PAUSE_MS)

    def _line(self, phrase: str, advice: Advice) -> str:
        links = []
        for meant in advice.suggestions:
            links.append(f'<a href="{len(self._links)}">{escape(meant)}</a>')
            self._links.append((phrase, meant))
        said = escape(translated(advice.sentence))
        return f"{said} {_('Use instead:')} {', '.join(links)}" if links else said
