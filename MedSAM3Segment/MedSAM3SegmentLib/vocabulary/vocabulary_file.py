"""Reads a vocabulary from its JSON file, and says which entry is wrong, and how."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS

from .phrases import prompt_for
from .terminology import (
    LEFT,
    RIGHT,
    Code,
    Concept,
)

_FIELDS = (
    "phrase",
    "synonyms",
    "sides",
    "category",
    "type",
    "type_modifier",
    "anatomic_region",
    "anatomic_region_modifier",
    "window",
    "colour",
    "modalities",
)


def read_vocabulary(path: Path) -> list[Concept]:
    """The concepts in the JSON file ``path``, in its order; one with sides comes with its left and its right.

    Raises:
        InputError: the file cannot be read, or an entry in it is wrong.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            "The vocabulary {path} cannot be read: {why}.", path=path, why=str(error.strerror or error)
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            "The vocabulary {path} is not valid JSON ({why}); correct it.", path=path, why=str(error)
        ) from None
    entries = document.get("concepts") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InputError("The vocabulary {path} has no list named 'concepts'; add one.", path=path)
    source = message("The vocabulary {path}", path=path)
    return [concept for number, entry in enumerate(entries, 1) for concept in _read(entry, number, source)]


def _read(entry: Any, number: int, source: Message) -> tuple[Concept, ...]:
    """The concept in an entry of a vocabulary file, followed by the left and the right one if it has ``sides``."""
    phrase = entry.get("phrase") if isinstance(entry, dict) else None
    place = message("{source}: entry {number}", source=source, number=number)
    if isinstance(phrase, str):
        place = message("{source}: entry {number} ('{phrase}')", source=source, number=number, phrase=phrase)

    def texts(field: str) -> tuple[str, ...]:
        values = entry.get(field, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
            raise InputError("{entry} needs '{field}' as a list of words.", entry=place, field=field)
        return tuple(values)

    def code(field: str) -> Code | None:
        value = entry.get(field)
        if value is None:
            return None
        parts = [value.get(part) for part in ("scheme", "code", "meaning")] if isinstance(value, dict) else []
        # "~" and "^" separate the parts of Slicer's serialized form.
        if len(parts) != 3 or not all(isinstance(part, str) and re.fullmatch(r"[^~^]+", part) for part in parts):
            raise InputError(
                "{entry} needs '{field}' as an object with the texts 'scheme', 'code' and 'meaning', free of ~ and ^.",
                entry=place,
                field=field,
            )
        return Code(value["scheme"], value["code"], value["meaning"])

    if not isinstance(entry, dict):
        raise InputError("{entry} must be an object with at least a 'phrase' and a 'colour'.", entry=place)
    if not isinstance(phrase, str) or not prompt_for(phrase):
        raise InputError("{entry} needs a 'phrase'.", entry=place)
    for field in entry:
        if field not in _FIELDS:
            raise InputError(
                "{entry} has an unknown field '{field}'; the fields are {fields}.",
                entry=place,
                field=field,
                fields=", ".join(_FIELDS),
            )
    window = entry.get("window")
    if window is not None and (not isinstance(window, str) or window not in CT_WINDOWS):
        raise InputError(
            "{entry} needs 'window' as null or one of {windows}.", entry=place, windows=", ".join(CT_WINDOWS)
        )
    color = entry.get("colour")
    is_color = (
        isinstance(color, list) and len(color) == 3 and all(type(value) is int and 0 <= value <= 255 for value in color)
    )
    if not is_color:
        raise InputError("{entry} needs 'colour' as three whole numbers from 0 to 255.", entry=place)
    sides = entry.get("sides", False)
    if not isinstance(sides, bool):
        raise InputError("{entry} needs 'sides' as true or false.", entry=place)
    concept = Concept(
        phrase=prompt_for(entry["phrase"]),
        synonyms=texts("synonyms"),
        category=code("category"),
        type=code("type"),
        type_modifier=code("type_modifier"),
        anatomic_region=code("anatomic_region"),
        anatomic_region_modifier=code("anatomic_region_modifier"),
        window=window,
        color=tuple(entry["colour"]),
        modalities=texts("modalities"),
    )
    if (concept.category is None) != (concept.type is None):
        raise InputError("{entry} needs 'category' and 'type' both, or neither.", entry=place)
    return (concept, concept.on_side(LEFT), concept.on_side(RIGHT)) if sides else (concept,)
