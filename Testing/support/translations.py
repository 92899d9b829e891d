"""A language for tests: what Slicer's application gives for the texts that a test has a translation of."""

from __future__ import annotations

from typing import Any

import pytest


class Language:
    """Translations of a test; other texts stay English.

    Attributes:
        words: by the English text.
        asked: context and text of every question.
    """

    def __init__(self, words: dict[str, str] | None = None) -> None:
        self.words = words or {}
        self.asked: list[tuple[str, str]] = []

    def translate(self, context: str, text: str) -> str:
        self.asked.append((context, text))
        return self.words.get(text, text)


def speak(monkeypatch: pytest.MonkeyPatch, app: Any, words: dict[str, str] | None = None) -> Language:
    """Let ``slicer.app`` have a language."""
    language = Language(words)
    if "translate" in vars(app):
        monkeypatch.setattr(app, "translate", language.translate)
    else:
        monkeypatch.setattr(type(app), "translate", staticmethod(language.translate))
    return language
