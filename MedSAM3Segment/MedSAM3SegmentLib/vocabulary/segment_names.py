"""Which of several segments a concept means, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .phrases import clean_phrase
from .vocabulary import Vocabulary

#: Names that programs give by themselves: "Segment_1", "Label 2", "3", "ct-label".
_NAMELESS = re.compile(
    r"(?:(?:segment|label|segmentation|mask|object|roi|region|foreground)s?)?[ _-]?\d*", re.IGNORECASE
)


def is_nameless(name: str) -> bool:
    """Whether a segment has only the name that a program gave it."""
    return _NAMELESS.fullmatch(name.strip()) is not None


def find_named(names: Sequence[str], concept: str, vocabulary: Vocabulary | None = None) -> tuple[int, ...]:
    """Which of ``names`` mean ``concept``.

    Returns:
        The places of those called so, in capitals or not; where none is, of those that name the same concept
        ("livers", "Kidney_L"). Empty where none does.
    """
    wanted = clean_phrase(concept).casefold()
    same = tuple(n for n, name in enumerate(names) if clean_phrase(name).casefold() == wanted)
    if same:
        return same
    known = vocabulary or Vocabulary.load()
    return tuple(n for n, name in enumerate(names) if not is_nameless(name) and known.is_same(name, concept))


def may_be_meant(name: str, concept: str, vocabulary: Vocabulary | None = None) -> bool:
    """Whether the only segment there is, called ``name``, may be what ``concept`` means.

    It may where a program named it, or where one of the two is no name that the vocabulary knows, such as a person's
    own word; a liver is no spleen.
    """
    known = vocabulary or Vocabulary.load()
    return is_nameless(name) or known.find(name) is None or known.find(concept) is None
