"""Phrases and the vocabulary: what a user types, what the model is asked, and what a segment is then called.

A phrase need not be in the vocabulary to be segmented. Those that are get terminology codes, a colour, a CT window and
completion.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from .errors import InputError
from .intensity import CT_WINDOWS
from .resources import resource_path

#: MedSAM-3 was trained on noun phrases of at most this many words.
MAX_WORDS = 3

_SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}

# What people put before a noun phrase when they talk to a program. Before a number or "of" these are nouns themselves:
# "segment 4", "outline of the liver".
_REQUEST = re.compile(
    r"(?:(?:please|kindly|(?:can|could|would) you|segment|outline|delineate|contour|find|show me|show|give me|locate"
    r"|identify|detect|highlight|annotate|mark|extract|where is|where are)(?!\s+(?:\d|[ivx]+\b|of\b))"
    r"|all of|a|an|the|all|any|both|each|every|some|this|that|these|those|my)[\s,:]+"
)
_PLEASE = re.compile(r"[\s,]+please$")

# "l spine" is the lumbar spine, "l and r kidneys" are two.
_SIDE_ABBREVIATED = re.compile(r"(lt|rt|l|r)(?:\.\s*|\s+)(?=[^\W\d_]{3})(?!spine|vertebra|and )")
_SIDE_AFTER_COMMA = re.compile(r"([^,(]+?)\s*[,(]\s*(left|right|lt|rt|l|r|bilateral)\.?\s*\)?")
_SIDE_LAST = re.compile(r"(\S+(?: \S+){0,2}) (left|right|lt|rt)")
_NOT_INVERTED = {"left", "right", "bilateral", "and", "or", "of", "to", "on", "in", "at", "from", "the", "is", "with"}

_AMERICAN = (
    ("tumour", "tumor"),
    ("oesoph", "esoph"),
    ("oedema", "edema"),
    ("haem", "hem"),
    ("anaem", "anem"),
    ("caec", "cec"),
    ("coeliac", "celiac"),
    ("foet", "fet"),
    ("fibre", "fiber"),
    ("grey", "gray"),
)

_NUMBERS = ("four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def split_phrases(text: str) -> tuple[str, ...]:
    """The phrases in ``text``, which ``;`` and new lines separate, each once and in the order typed."""
    phrases = (" ".join(part.split()) for part in re.split(r"[;\r\n]", text))
    return tuple(dict.fromkeys(phrase for phrase in phrases if phrase))


def prompt_for(phrase: str) -> str:
    """What the model is asked for ``phrase``: its noun phrase, as the training data would spell it.

    Lower case and American spelling, without a leading command or article, with the side first ("Segment the kidney,
    left." gives "left kidney"). Applying it again changes nothing. It is empty only where ``phrase`` is blank.
    """
    prompt = phrase
    while (simpler := _simplified(prompt)) != prompt:
        prompt = simpler
    return prompt


def _simplified(text: str) -> str:
    """One round of ``prompt_for``; each rule shortens the text, or does what it can do only once."""
    plain = " ".join(text.lower().replace("_", " ").split())
    words = plain.strip(" .,:;!?'\"`*-\u2013\u2014\u2022")
    if words.startswith("(") and words.endswith(")"):
        words = words[1:-1].strip()
    for british, american in _AMERICAN:
        words = words.replace(british, american)
    if request := _REQUEST.match(words):
        words = words[request.end() :]
    words = _side_first(_PLEASE.sub("", words))
    return words or plain or " ".join(text.split())


def _side_first(words: str) -> str:
    """``lt kidney``, ``kidney, left``, ``kidney (l)`` and ``kidney left`` as ``left kidney``."""
    if abbreviated := _SIDE_ABBREVIATED.match(words):
        return f"{_SIDES[abbreviated[1]]} {words[abbreviated.end() :]}"
    inverted = _SIDE_AFTER_COMMA.fullmatch(words) or _SIDE_LAST.fullmatch(words)
    if inverted and _NOT_INVERTED.isdisjoint(inverted[1].split()):
        return f"{_SIDES.get(inverted[2], inverted[2])} {inverted[1]}"
    return words


def advice_for(phrase: str, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """What the user should know of ``phrase`` before it runs, one sentence each; empty when all is well.

    Args:
        phrase: one phrase, as typed.
        vocabulary: where a shorter phrase is looked for; the shipped one by default.
    """
    vocabulary = vocabulary or Vocabulary.load()
    prompt = prompt_for(phrase)
    words = prompt.split()
    concept = vocabulary.find(prompt)
    if concept is None and ("," in prompt or not {"and", "or", "&"}.isdisjoint(words)):
        return (f"'{prompt}' seems to name more than one thing; separate concepts with ';' or new lines.",)
    if len(words) <= MAX_WORDS:
        return ()
    count = _NUMBERS[len(words) - 4] if len(words) - 4 < len(_NUMBERS) else str(len(words))
    advice = (
        f"MedSAM-3 was trained on noun phrases of at most three words; '{prompt}' has {count} "
        "and may be understood poorly"
    )
    shorter = concept or vocabulary.closest_in(prompt)
    return (f"{advice}; try '{shorter.phrase}'." if shorter else f"{advice}.",)


@dataclass(frozen=True)
class Code:
    """A coded term: coding scheme (``SCT``, ``DCM``, ``NCIt``), code value and meaning, as in DICOM."""

    scheme: str
    code: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.code}^{self.meaning}"


LEFT = Code("SCT", "7771000", "Left")
RIGHT = Code("SCT", "24028007", "Right")
TISSUE = Code("SCT", "85756007", "Tissue")

# The names of Slicer's own terminology lists. Slicer looks an entry up by its codes, so one that only another list
# holds is found all the same.
_CATEGORY_CONTEXT = "Segmentation category and type - DICOM master list"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Concept:
    """One entry of the vocabulary.

    Attributes:
        phrase: what the model is asked: a lower case noun phrase of at most three words.
        synonyms: other phrases that mean it.
        category, type, type_modifier: what the segment is, in the terms of Slicer's terminologies. Category and type
            are None where no code could be verified.
        anatomic_region, anatomic_region_modifier: where it lies, if its type does not say so (a neoplasm of the liver).
        window: the CT window that suits it, a name from ``intensity.CT_WINDOWS``, or None.
        colour: red, green and blue, 0 to 255.
        modalities: DICOM modality codes it is seen on, or empty for any.
    """

    phrase: str
    synonyms: tuple[str, ...] = ()
    category: Code | None = None
    type: Code | None = None
    type_modifier: Code | None = None
    anatomic_region: Code | None = None
    anatomic_region_modifier: Code | None = None
    window: str | None = None
    colour: tuple[int, int, int] = (128, 174, 128)
    modalities: tuple[str, ...] = ()

    def on_side(self, side: Code) -> Concept:
        """The same on one side of the patient (``LEFT`` or ``RIGHT``)."""
        name = side.meaning.lower()
        sided = replace(
            self, phrase=f"{name} {self.phrase}", synonyms=tuple(f"{name} {synonym}" for synonym in self.synonyms)
        )
        if self.anatomic_region:
            return replace(sided, anatomic_region_modifier=side)
        return replace(sided, type_modifier=side) if self.type else sided


class Vocabulary:
    """Concepts by phrase, by synonym and by beginning.

    Args:
        concepts: in the order in which completion should offer them.
        source: what to call the vocabulary in messages.

    Raises:
        InputError: two concepts have a phrase or synonym in common.
    """

    def __init__(self, concepts: Iterable[Concept], source: str = "The vocabulary") -> None:
        self.concepts = tuple(concepts)
        self._by_key: dict[str, Concept] = {}
        for concept in self.concepts:
            for name in (concept.phrase, *concept.synonyms):
                known = self._by_key.setdefault(_key(name), concept)
                if known is not concept:
                    raise InputError(
                        f"{source}: '{name}' means both '{known.phrase}' and '{concept.phrase}'; remove it from one."
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
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"The vocabulary {path} cannot be read: {error.strerror or error}.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"The vocabulary {path} is not valid JSON ({error}); correct it.") from None
        source = f"The vocabulary {path}"
        entries = document.get("concepts") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"{source} has no list named 'concepts'; add one.")
        return cls((c for number, entry in enumerate(entries, 1) for c in _read(entry, number, source)), source)

    def find(self, text: str) -> Concept | None:
        """The concept that ``text`` names, by phrase or synonym, or None.

        Case, wording (see ``prompt_for``), punctuation, a plural and the place of the side do not matter.
        """
        return self._by_key.get(_key(text))

    def closest_in(self, text: str) -> Concept | None:
        """The concept with most words of all whose words are in ``text``, in whatever order, or None."""
        words = {_singular(word) for word in re.findall(r"\w+", prompt_for(text))}
        if {"left", "right"} <= words:
            words -= {"left", "right"}
        inside = [key for key in self._by_key if {_singular(word) for word in key.split()} <= words]
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

    def colour_for(self, text: str) -> tuple[float, float, float]:
        """Red, green and blue, 0 to 1: the concept's, else one that is always the same for the same phrase."""
        if concept := self.find(text):
            red, green, blue = (value / 255 for value in concept.colour)
            return red, green, blue
        digest = hashlib.sha256(_key(text).encode()).digest()
        hue = int.from_bytes(digest[:4], "big") / 2**32
        return colorsys.hsv_to_rgb(hue, 0.55 + digest[4] / 255 * 0.45, 0.7 + digest[5] / 255 * 0.3)

    def window_for(self, text: str) -> str | None:
        """The CT window that suits the concept, a name from ``intensity.CT_WINDOWS``, or None when it has none."""
        concept = self.find(text)
        return concept.window if concept else None

    @staticmethod
    def terminology_entry(concept: Concept | None) -> str:
        """``concept`` as ``vtkSlicerTerminologiesModuleLogic::SerializeTerminologyEntry`` writes it.

        A concept without a type, and None, give Slicer's default: a tissue, no more said.
        """
        if concept is None or concept.category is None or concept.type is None:
            concept = Concept("tissue", category=TISSUE, type=TISSUE)

        def code(term: Code | None) -> str:
            return str(term) if term else "^^"

        return "~".join(
            (
                _CATEGORY_CONTEXT,
                code(concept.category),
                code(concept.type),
                code(concept.type_modifier),
                _REGION_CONTEXT,
                code(concept.anatomic_region),
                code(concept.anatomic_region_modifier),
            )
        )


@cache
def _shipped() -> Vocabulary:
    return Vocabulary.load(resource_path("concepts.json"))


def _key(text: str) -> str:
    """What all ways to write one concept have in common."""
    words = re.findall(r"\w+", prompt_for(text))
    if sum(word in ("left", "right") for word in words) == 1:
        words.sort(key=lambda word: word not in ("left", "right"))
    return " ".join((*words[:-1], _singular(words[-1]))) if words else ""


def _singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


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
