"""What a segment is called when the engine is asked for it."""

from __future__ import annotations

import re
from typing import Any

import vtk

#: The tag of a segment that holds the phrase a user typed for it.
PHRASE_TAG = "MedSAM3.Phrase"

#: Names that Slicer gives by itself, which say nothing.
_NAMELESS = re.compile(r"(segment|label)?[ _]?\d*", re.IGNORECASE)

#: Terminology types that are no structure of the body.
_ANY_TYPES = {"", "Tissue", "Undefined"}


def phrase_of(segment: Any) -> str:
    """The phrase for ``segment`` (a vtkSegment): what was typed for it, else its name, else its terminology.

    Empty where none of them says what it is.
    """
    typed = _tag(segment, PHRASE_TAG)
    if typed is not None:
        return typed
    name = str(segment.GetName() or "").strip()
    if not _NAMELESS.fullmatch(name):
        return name
    return _terminology_words(_tag(segment, segment.GetTerminologyEntryTagName()) or "")


def write_phrase(segment: Any, phrase: str) -> None:
    """Keep what was typed for ``segment``; a phrase that it has by itself is not kept."""
    segment.RemoveTag(PHRASE_TAG)
    if phrase.strip() != phrase_of(segment):
        # A bar ends a tag in files.
        segment.SetTag(PHRASE_TAG, phrase.strip().replace("|", " "))


def _terminology_words(entry: str) -> str:
    """The type and its side from an entry ``context~category~type~modifier~...`` of ``scheme^value^meaning`` codes."""
    meanings = [part.split("^")[2] if part.count("^") == 2 else "" for part in entry.split("~")]
    if len(meanings) < 4 or meanings[2] in _ANY_TYPES:
        return ""
    return " ".join(word for word in (meanings[3], meanings[2]) if word).lower()


def _tag(segment: Any, name: str) -> str | None:
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else None
