"""Phrases as people type them: told apart, brought to the wording the model knows, and compared."""

from __future__ import annotations

import re

#: What the model is asked in place of a phrase where only boxes or drawings show what is meant (Meta's convention).
VISUAL_PHRASE = "visual"

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


def key_of(text: str) -> str:
    """What all ways to write one concept have in common."""
    words = re.findall(r"\w+", prompt_for(text))
    if sum(word in ("left", "right") for word in words) == 1:
        words.sort(key=lambda word: word not in ("left", "right"))
    return " ".join((*words[:-1], singular(words[-1]))) if words else ""


def singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
