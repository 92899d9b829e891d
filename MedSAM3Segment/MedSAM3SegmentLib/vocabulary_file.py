"""Reads a vocabulary from its JSON file, and says which entry is wrong, and how."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .errors import InputError
from .intensity import CT_WINDOWS
from .phrases import prompt_for
from .terminology import LEFT, RIGHT, Code, Concept

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
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The vocabulary {path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"The vocabulary {path} is not valid JSON ({error}); correct it.") from None
    entries = document.get("concepts") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InputError(f"The vocabulary {path} has no list named 'concepts'; add one.")
    source = f"The vocabulary {path}"
    return [concept for number, entry in enumerate(entries, 1) for concept in _read(entry, number, source)]


def _read(entry: Any, number: int, source: str) -> tuple[Concept, ...]:
    """The concept in an entry of a vocabulary file, followed by the left and the right one if it has ``sides``."""
    phrase = entry.get("phrase") if isinstance(entry, dict) else None
    named = f" ('{phrase}')" if isinstance(phrase, str) else ""

    def expect(holds: bool, wanted: str) -> None:
        if not holds:
            raise InputError(f"{source}: entry {number}{named} {wanted}.")

    def texts(field: str) -> tuple[str, ...]:
        values = entry.get(field, [])
        is_texts = isinstance(values, list) and all(isinstance(value, str) and value.strip() for value in values)
        expect(is_texts, f"needs '{field}' as a list of words")
        return tuple(values)

    def code(field: str) -> Code | None:
        value = entry.get(field)
        if value is None:
            return None
        parts = [value.get(part) for part in ("scheme", "code", "meaning")] if isinstance(value, dict) else []
        # "~" and "^" separate the parts of Slicer's serialized form.
        is_code = len(parts) == 3 and all(isinstance(part, str) and re.fullmatch(r"[^~^]+", part) for part in parts)
        expect(is_code, f"needs '{field}' as an object with the texts 'scheme', 'code' and 'meaning', free of ~ and ^")
        return Code(value["scheme"], value["code"], value["meaning"])

    expect(isinstance(entry, dict), "must be an object with at least a 'phrase' and a 'colour'")
    expect(isinstance(phrase, str) and bool(prompt_for(phrase)), "needs a 'phrase'")
    for field in entry:
        expect(field in _FIELDS, f"has an unknown field '{field}'; the fields are {', '.join(_FIELDS)}")
    window = entry.get("window")
    expect(
        window is None or (isinstance(window, str) and window in CT_WINDOWS),
        f"needs 'window' as null or one of {', '.join(CT_WINDOWS)}",
    )
    colour = entry.get("colour")
    is_colour = (
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(value) is int and 0 <= value <= 255 for value in colour)
    )
    expect(is_colour, "needs 'colour' as three whole numbers from 0 to 255")
    sides = entry.get("sides", False)
    expect(isinstance(sides, bool), "needs 'sides' as true or false")
    concept = Concept(
        phrase=prompt_for(entry["phrase"]),
        synonyms=texts("synonyms"),
        category=code("category"),
        type=code("type"),
        type_modifier=code("type_modifier"),
        anatomic_region=code("anatomic_region"),
        anatomic_region_modifier=code("anatomic_region_modifier"),
        window=window,
        colour=tuple(entry["colour"]),
        modalities=texts("modalities"),
    )
    expect((concept.category is None) == (concept.type is None), "needs 'category' and 'type' both, or neither")
    return (concept, concept.on_side(LEFT), concept.on_side(RIGHT)) if sides else (concept,)
