"""The vocabulary: what is known of a concept, found by phrase, by synonym or by beginning.

A phrase need not be in the vocabulary to be segmented. Those that are get terminology codes, a color, a CT window and
completion.
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.resources import resource_path

from .phrases import key_of, prompt_for, singular
from .terminology import Concept
from .vocabulary_file import read_vocabulary


class Vocabulary:
    """Concepts by phrase, by synonym and by beginning.

    Args:
        concepts: in the order in which completion should offer them.
        source: what to call the vocabulary in messages.

    Raises:
        InputError: two concepts have a phrase or synonym in common.
    """

    def __init__(self, concepts: Iterable[Concept], source: str = message("The vocabulary")) -> None:
        self.concepts = tuple(concepts)
        self._by_key: dict[str, Concept] = {}
        for concept in self.concepts:
            for name in (concept.phrase, *concept.synonyms):
                known = self._by_key.setdefault(key_of(name), concept)
                if known is not concept:
                    raise InputError(
                        "{source}: '{name}' means both '{first}' and '{second}'; remove it from one.",
                        source=source,
                        name=name,
                        first=known.phrase,
                        second=concept.phrase,
                    )

    @classmethod
    def load(cls, path: Path | None = None) -> Vocabulary:
        """The vocabulary in the JSON file ``path``, or the shipped one, which is read once.

        Raises:
            InputError: the file cannot be read, or an entry in it is wrong.
            ModelError: the shipped file is missing.
        """
        if path is None:
            return _shipped()
        return cls(read_vocabulary(path), message("The vocabulary {path}", path=path))

    def find(self, text: str) -> Concept | None:
        """The concept that ``text`` names, by phrase or synonym, or None.

        Case, wording (see ``prompt_for``), punctuation, a plural and the place of the side do not matter.
        """
        return self._by_key.get(key_of(text))

    def is_same(self, text: str, other: str) -> bool:
        """Whether two texts name one concept, in the vocabulary or not."""
        concept = self.find(text)
        return concept is self.find(other) if concept else bool(key_of(text)) and key_of(text) == key_of(other)

    def closest_in(self, text: str) -> Concept | None:
        """The concept with most words of all whose words are in ``text``, in whatever order, or None."""
        words = {singular(word) for word in re.findall(r"\w+", prompt_for(text))}
        if {"left", "right"} <= words:
            words -= {"left", "right"}
        inside = [key for key in self._by_key if {singular(word) for word in key.split()} <= words]
        return self._by_key[max(inside, key=lambda key: len(key.split()))] if inside else None

    def complete(self, prefix: str, limit: int = 10) -> tuple[str, ...]:
        """Phrases for a beginning: those that begin so, then those with such a word, then those with such a synonym."""
        start = prompt_for(prefix)

        def rank(concept: Concept) -> int:
            if concept.phrase.startswith(start):
                return 0 if concept.phrase == start else 1
            if f" {start}" in concept.phrase:
                return 2
            return 3 if any(f" {start}" in f" {synonym}" for synonym in concept.synonyms) else 4

        ranked = sorted(((rank(concept), n) for n, concept in enumerate(self.concepts)))
        return tuple(self.concepts[n].phrase for place, n in ranked if place < 4)[: max(limit, 0)]

    def color_for(self, text: str) -> tuple[float, float, float]:
        """Red, green and blue, 0 to 1: the concept's, else one that is always the same for the same phrase."""
        if concept := self.find(text):
            red, green, blue = (value / 255 for value in concept.color)
            return red, green, blue
        digest = hashlib.sha256(key_of(text).encode()).digest()
        hue = int.from_bytes(digest[:4], "big") / 2**32
        return colorsys.hsv_to_rgb(hue, 0.55 + digest[4] / 255 * 0.45, 0.7 + digest[5] / 255 * 0.3)

    def window_for(self, text: str) -> str | None:
        """The CT window that suits the concept, a name from ``windowing.CT_WINDOWS``, or None when it has none."""
        concept = self.find(text)
        return concept.window if concept else None


@cache
def _shipped() -> Vocabulary:
    return Vocabulary.load(resource_path("concepts.json"))
