"""Completing the concept that is being typed, from the vocabulary and from what was typed lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer

from MedSAM3SegmentLib.vocabulary.phrases import split_phrases
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

_SETTING = "MedSAM3/RecentConcepts"

#: How many typed concepts are remembered.
_REMEMBERED = 30

#: How many completions are offered.
_OFFERED = 10

_SEPARATORS = ";\n"


class ConceptCompleter(qt.QObject):
    """Offers completions under a text edit that holds several concepts.

    Args:
        edit: a QPlainTextEdit.
    """

    def __init__(self, edit: Any) -> None:
        qt.QObject.__init__(self, edit)
        self._edit = edit
        self._vocabulary: Vocabulary | None = None
        self._inserting = False
        self._completer = qt.QCompleter(edit)
        self._completer.setWidget(edit)
        self._completer.completionMode = qt.QCompleter.UnfilteredPopupCompletion
        self._completer.caseSensitivity = qt.Qt.CaseInsensitive
        self._offered = qt.QStringListModel(self._completer)
        self._completer.setModel(self._offered)
        self._completer.connect("activated(QString)", self.insert)
        edit.connect("textChanged()", self._offer)
        # Keys go to the completions while they are shown, and Qt would give all of them to the text first. Once there
        # is a model: with another one Qt 5 puts its own filter before this one.
        self._completer.popup().installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Return and Tab take the completion that is marked; without one they are typed."""
        if event.type() != qt.QEvent.KeyPress or event.key() not in (
            qt.Qt.Key_Return,
            qt.Qt.Key_Enter,
            qt.Qt.Key_Tab,
        ):
            return False
        popup = self._completer.popup()
        marked = popup.currentIndex()
        is_marked = popup.selectionModel().isSelected(marked)
        popup.hide()
        if not is_marked:
            return False
        self.insert(marked.data())
        return True

    def completions(self, started: str) -> tuple[str, ...]:
        """What may be meant by the beginning of a concept: recent ones first."""
        if self._vocabulary is None:
            self._vocabulary = Vocabulary.load()
        recent = [phrase for phrase in recent_concepts() if phrase.casefold().startswith(started.casefold())]
        known = self._vocabulary.complete(started, _OFFERED)
        offered = tuple(dict.fromkeys([*recent, *known]))[:_OFFERED]
        return () if offered == (started,) else offered

    def insert(self, completion: str) -> None:
        """Put ``completion`` in place of the concept at the cursor."""
        cursor = self._edit.textCursor()
        started = self._started()
        self._inserting = True
        for _ in range(len(started)):
            cursor.deletePreviousChar()
        cursor.insertText(completion)
        self._edit.setTextCursor(cursor)
        self._inserting = False

    def _started(self) -> str:
        """The beginning of the concept at the cursor."""
        before = self._edit.plainText[: self._edit.textCursor().position()]
        cut = max(before.rfind(separator) for separator in _SEPARATORS)
        return before[cut + 1 :].lstrip()

    def _offer(self) -> None:
        started = self._started()
        # A text that is set by the program, or by loading a scene, is not being typed.
        if self._inserting or len(started) < 2 or not self._edit.focus:
            self._completer.popup().hide()
            return
        offered = self.completions(started)
        self._offered.setStringList(list(offered))
        if offered:
            place = self._edit.cursorRect()
            place.setWidth(250)
            self._completer.complete(place)
        else:
            self._completer.popup().hide()


def recent_concepts() -> list[str]:
    """What was typed lately, newest first."""
    kept = slicer.app.userSettings().value(_SETTING)
    if not kept:
        return []
    return [kept] if isinstance(kept, str) else [str(phrase) for phrase in kept]


def remember_concepts(concepts: Sequence[str] | str) -> None:
    """Remember ``concepts`` as typed lately."""
    phrases = split_phrases(concepts) if isinstance(concepts, str) else tuple(concepts)
    kept = list(dict.fromkeys([*phrases, *recent_concepts()]))[:_REMEMBERED]
    slicer.app.userSettings().setValue(_SETTING, kept)
