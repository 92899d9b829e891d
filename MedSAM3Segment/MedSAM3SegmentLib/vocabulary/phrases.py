"""Phrases as people type them: told apart, brought to the wording the model knows, and compared."""

from __future__ import annotations

import re
import unicodedata

from MedSAM3SegmentLib.errors import InputError

from .characters import UNREADABLE, plain_characters
from .structure_names import SIDES, read_structure_name

#: What the model is asked in place of a phrase where only boxes or drawings show what is meant (Meta's convention).
VISUAL_PHRASE = "visual"

# What people put before a noun phrase when they talk to a program. Before a number or "of" these are nouns themselves:
# "segment 4", "outline of the liver".
_REQUEST = re.compile(
    r"(?:(?:please|kindly|(?:can|could|would) you|segment|outline|delineate|contour|find|show me|show|give me|locate"
    r"|identify|detect|highlight|annotate|mark|extract|where is|where are)(?!\s+(?:\d|[ivx]+\b|of\b))"
    r"|all of|a|an|the|all|any|both|each|every|some|this|that|these|those|my)[\s,:]+"
)
_PLEASE = re.compile(r"[\s,]+please$")

# "l spine" is the lumbar spine, "l and r kidneys" are two.
_SIDE_ABBREVIATED = re.compile(r"\(?(left|right|lt|rt|l|r)(?:\)\s*|\.\s*|\s+)(?=[^\W\d_]{3})(?!spine|vertebra|and )")
_SIDED = re.compile(r"(left|right|lt|rt)[- ]sided?\s+(?=\w)(?!of\b)")
_SIDE_AFTER_COMMA = re.compile(r"([^,(]+?)\s*[,(]\s*(left|right|lt|rt|l|r|bilateral|both)\.?\s*\)?")
_SIDE_LAST = re.compile(r"(\S+(?: \S+){0,2})[ -](left|right|lt|rt|l|r)\.?")
_NOT_INVERTED = {"left", "right", "bilateral", "and", "or", "of", "to", "on", "in", "at", "from", "the", "is", "with"}

# "1. ", "2) ", "(3) ", "4: ", "5 - ", "a) ", "iv) ", "[x] ". "a. carotis" is an artery, "l. kidney" the left one and
# "1.5 cm" a size; the "4. ventricle" is the fourth.
_LIST_MARKER = re.compile(
    r"(?:\(?\d{1,3}(?:[.,):\]](?=\s|[^\d\s])|\s*-(?=\s)(?!\s*\d))(?!\s*ventricle\b)\s*"
    r"|\((?![lr]\))[a-z]\)\s*|(?:[a-z]|[ivx]{1,4})\)\s*|\[[ xX]?\]\s*)(?=.*\w)",
    re.IGNORECASE,
)
_ENCLOSED = re.compile(r"[\u2460-\u24ff\u2776-\u2793\u3200-\u3247\u3280-\u32b0]\s*(?=\S)")
#: What may stand before a number and mean something there: "<5 mm".
_BEFORE_NUMBERS = "<>\u2264\u2265~\u00b1#+-"
_KEPT_AT_END = ")]}%+\u00b0>"
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}

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
    """The phrases in ``text``, which semicolons and new lines separate, each once and in the order typed.

    Semicolons of all keyboards count. A phrase comes without what only marks it in a text (``clean_phrase``), which is
    how its segment is called.
    """
    phrases = (clean_phrase(part) for part in re.split(r"[;\n]", plain_characters(_without_enclosed(text))))
    return tuple(dict.fromkeys(phrase for phrase in phrases if phrase))


def clean_phrase(text: str) -> str:
    """``text`` in plain characters, without quotes, list markers and punctuation around it.

    ``1. Liver``, ``• “Liver”,`` and ``Liver`` with a zero-width space are ``Liver``. Words stay as they were typed.
    Punctuation alone stays, too: it is no phrase, and whoever asks for it can be told. Applying it again changes
    nothing.
    """
    plain = " ".join(plain_characters(_without_enclosed(text)).split())
    phrase = plain
    while (cleaner := _without_decoration(phrase)) != phrase:
        phrase = cleaner
    return phrase if has_word(phrase) else plain


def has_word(text: str) -> bool:
    """Whether there is a letter or a digit of any script in ``text``."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def check_phrase(phrase: str, is_name: bool = False) -> None:
    """Check that a phrase is one.

    Args:
        is_name: whether it is a mere name, which needs no word.

    Raises:
        InputError: there is no word in it, or a character of it could not be read.
    """
    plain = plain_characters(phrase).strip()
    if UNREADABLE in plain:
        raise InputError(
            "The concept '{concept}' has a character that cannot be read, because it is not UTF-8; type it again.",
            concept=plain,
        )
    if not plain:
        raise InputError("A concept is empty; remove it or type a phrase, such as 'liver'.")
    if not is_name and not has_word(plain):
        raise InputError("There is no word in the concept '{concept}'; type a phrase, such as 'liver'.", concept=plain)


def prompt_for(phrase: str) -> str:
    """What the model is asked for ``phrase``: its noun phrase, as the training data would spell it.

    Lower case and American spelling, without a leading command or article, with the side first ("Segment the kidney,
    left." gives "left kidney"), and the words of a structure's name ("Glnd_Submand_L" gives "left submandibular
    gland"). Applying it again changes nothing. It is empty only where nothing is seen of ``phrase``.
    """
    prompt = phrase
    while (simpler := _simplified(prompt)) != prompt:
        prompt = simpler
    return prompt


def _simplified(text: str) -> str:
    """One round of ``prompt_for``; each rule shortens the text, or does what it can do only once."""
    phrase = clean_phrase(text)
    name = read_structure_name(phrase)
    plain = " ".join((phrase if name is None else name.words).lower().replace("_", " ").split())
    words = plain.strip(" .,:;!?'\"`*-\u2022")
    for british, american in _AMERICAN:
        words = words.replace(british, american)
    if request := _REQUEST.match(words):
        words = words[request.end() :]
    words = _side_first(_PLEASE.sub("", words))
    return words or plain or phrase


def _side_first(words: str) -> str:
    """``lt kidney``, ``kidney, left``, ``kidney (l)`` and ``kidney left`` as ``left kidney``."""
    if abbreviated := (_SIDED.match(words) or _SIDE_ABBREVIATED.match(words)):
        return f"{SIDES[abbreviated[1]]} {words[abbreviated.end() :]}"
    inverted = _SIDE_AFTER_COMMA.fullmatch(words) or _SIDE_LAST.fullmatch(words)
    if inverted and _NOT_INVERTED.isdisjoint(inverted[1].split()):
        return f"{SIDES.get(inverted[2], inverted[2])} {inverted[1]}"
    return words


def _without_enclosed(text: str) -> str:
    """Numbers in circles, which mark the lines of a list, become numbers like others in plain characters."""
    return "\n".join(_ENCLOSED.sub("", line.lstrip(), count=1) for line in text.split("\n"))


def _without_decoration(phrase: str) -> str:
    """``phrase`` without the outermost list marker, punctuation and brackets."""
    if marker := _LIST_MARKER.match(phrase):
        phrase = phrase[marker.end() :]
    start, end = 0, len(phrase)
    while start < end and _is_decoration(phrase[start]) and phrase[start] not in _PAIRS:
        if phrase[start] in _BEFORE_NUMBERS and phrase[start + 1 : start + 2].isdigit():
            break
        start += 1
    while end > start and _is_decoration(phrase[end - 1]) and phrase[end - 1] not in _KEPT_AT_END:
        end -= 1
    phrase = phrase[start:end]
    inner = phrase[1:-1]
    if phrase and _PAIRS.get(phrase[0]) == phrase[-1] and not set(inner) & set("()[]{}<>"):
        return inner.strip()
    return phrase


def _is_decoration(character: str) -> bool:
    """Punctuation, a symbol or a space; marks that belong to letters are none, nor what may have been a letter."""
    return unicodedata.category(character)[0] in "PSZC" and character != UNREADABLE


def key_of(text: str) -> str:
    """What all ways to write one concept have in common."""
    words = [word for word in re.findall(r"\w+", prompt_for(text)) if word not in ("bilateral", "both")]
    if sum(word in ("left", "right") for word in words) == 1:
        words.sort(key=lambda word: word not in ("left", "right"))
    return " ".join((*words[:-1], singular(words[-1]))) if words else ""


def singular(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
