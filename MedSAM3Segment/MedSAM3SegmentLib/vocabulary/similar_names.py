"""Concepts that may be meant by a phrase the vocabulary does not know: misspelt, joined, foreign, or part of it."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

from MedSAM3SegmentLib.resources import resource_path

from .phrases import key_of, prompt_for, singular
from .vocabulary import Vocabulary

#: Most suggestions for one phrase; more are no help.
MOST_SUGGESTIONS = 3

#: How alike two whole names must be, 0 to 1: share of letters that need no change. "kidne cyst" and "kidney cyst" 0.91.
_LEAST_LIKENESS = 0.8

_SIDES = ("left", "right")


def suggest_concepts(phrase: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Phrases of the vocabulary that may be meant by one that it does not know, likeliest first; often none."""
    prompt = prompt_for(phrase)
    found = [*_translated(prompt), *_respelled(prompt, vocabulary), *_alike(prompt, vocabulary)]
    concepts = (vocabulary.find(name) for name in found)
    return tuple(dict.fromkeys(concept.phrase for concept in concepts if concept is not None))[:MOST_SUGGESTIONS]


def unknown_words(phrase: str, vocabulary: Vocabulary) -> list[str]:
    """The words of a phrase that neither the vocabulary has nor plain English needs."""
    known = _known_words(vocabulary)
    words = re.findall(r"[^\W_](?:[^\s_]*[^\W_])?", prompt_for(phrase))
    return [
        word
        for word in words
        if not {word, singular(word)} & known and not word.isdigit() and not _is_known(word, known)
    ]


def negation_in(phrase: str) -> str:
    """The word with which a phrase says what is not meant; empty where there is none."""
    words = prompt_for(phrase).split()
    named = next((word for word in words if word in _negations() and len(words) > 1), "")
    unspaced = next(
        (
            word
            for word in _negations()
            if not word.isascii() and len(words) == 1 < len(words[0]) and words[0].startswith(word)
        ),
        "",
    )
    return named or unspaced or ("non" if phrase.casefold().startswith("non-") else "")


def longest_part(words: Iterable[str], vocabulary: Vocabulary) -> str:
    """The concept that most of ``words`` name; empty where they name none."""
    concept = vocabulary.closest_in(" ".join(words))
    return concept.phrase if concept else ""


def _is_known(word: str, known: frozenset[str]) -> bool:
    """Whether a word with a hyphen is of known parts ("contrast-enhancing")."""
    parts = [part for part in re.split(r"[-/&,.()]+", word) if part]
    return len(parts) > 1 and all(part.isdigit() or {part, singular(part)} & known for part in parts)


def _translated(prompt: str) -> list[str]:
    """The concepts that other languages call so."""
    words, sides = _translations()
    folded = _folded(prompt)
    if folded in words:
        return list(words[folded])
    side, rest = _split_side(folded, sides)
    names = words.get(rest) or _near(rest, words)
    return [f"{side} {name}".strip() for name in names]


def _split_side(folded: str, sides: Mapping[str, str]) -> tuple[str, str]:
    """Left, right or nothing, and the words without it; scripts without spaces put it right before the noun."""
    parts = folded.split()
    for part in (*parts[:1], *parts[-1:]):
        if len(parts) > 1 and part in sides:
            parts.remove(part)
            return sides[part], " ".join(parts)
    for word in sorted(sides, key=len, reverse=True):
        if (
            not word.isascii()
            and folded.startswith(word)
            and unicodedata.name(word[0], "").startswith(("CJK", "HANGUL"))
        ):
            return sides[word], folded[len(word) :].strip()
    return "", folded


def _near(folded: str, words: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Of a word that is spelled nearly so: another case or number, or a slip."""
    if len(folded) < 5:
        return ()
    best = _nearest(folded, words, 1)
    return words[best] if best else ()


def _respelled(prompt: str, vocabulary: Vocabulary) -> list[str]:
    """The phrase with each word that is not known in the spelling of the nearest one that is."""
    known = _known_words(vocabulary)
    words = [
        word if singular(word) in known or word in known else _nearest(word, known, _slips(word))
        for word in prompt.split()
    ]
    respelled = " ".join(filter(None, words))
    if all(words) and vocabulary.find(respelled):
        return [respelled]
    part = vocabulary.closest_in(respelled)
    names = {key_of(name).replace(" ", ""): name for name in _names(vocabulary)}
    joined = names.get(key_of(prompt).replace(" ", ""))
    return [name for name in (joined, part.phrase if part else None) if name]


def _alike(prompt: str, vocabulary: Vocabulary) -> list[str]:
    """The names that have nearly the same letters, the likest first."""
    try:
        from rapidfuzz.distance import OSA
        from rapidfuzz.process import extract
    except ImportError:  # Slicer's panel shows the vocabulary before the packages are installed
        return []
    if len(prompt) < 4:
        return []
    names = list(_names(vocabulary))
    near = extract(
        prompt, names, scorer=OSA.normalized_similarity, score_cutoff=_LEAST_LIKENESS, limit=MOST_SUGGESTIONS
    )
    return [name for name, _, _ in near]


def _slips(word: str) -> int:
    """How many letters of a word may be wrong: one in four, as nearly all slips of the pen are."""
    return 0 if len(word) < 4 else 1 if len(word) < 7 else 2 if len(word) < 11 else 3


def _nearest(word: str, known: Iterable[str], slips: int) -> str:
    """The word of ``known`` with fewest slips, of those with as many the one that begins alike; empty without."""
    if not slips or any(character.isdigit() for character in word):
        return ""
    try:
        from rapidfuzz.distance import OSA
    except ImportError:
        return ""
    near = [(distance, one[:1] != word[:1], one) for one in known if (distance := OSA.distance(word, one)) <= slips]
    return min(near, default=(0, False, ""))[2]


def _folded(text: str) -> str:
    """Without capitals and accents."""
    apart = unicodedata.normalize("NFKD", text.casefold().replace("\u0131", "i"))
    return unicodedata.normalize("NFC", "".join(one for one in apart if not unicodedata.combining(one)))


@cache
def _names(vocabulary: Vocabulary) -> tuple[str, ...]:
    return tuple(name for concept in vocabulary.concepts for name in (concept.phrase, *concept.synonyms))


@cache
def _known_words(vocabulary: Vocabulary) -> frozenset[str]:
    """The words of all names, and plain ones, as they are and in the singular."""
    words = {word for name in _names(vocabulary) for word in name.split()}
    words |= set(_phrase_words()["plain"].split()) | _negations()
    return frozenset(words | {singular(word) for word in words})


@cache
def _negations() -> frozenset[str]:
    return frozenset(_phrase_words()["negations"].split())


@cache
def _phrase_words() -> dict[str, str]:
    words: dict[str, str] = json.loads(resource_path("phrase_words.json").read_text(encoding="utf-8"))
    return words


@cache
def _translations() -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Concepts by foreign word, and sides by theirs, all folded."""
    document = json.loads(resource_path("concept_translations.json").read_text(encoding="utf-8"))
    words: dict[str, tuple[str, ...]] = {}
    for concepts in document["words"].values():
        for concept, names in concepts.items():
            for name in names.split("/"):
                words[_folded(name)] = tuple(dict.fromkeys((*words.get(_folded(name), ()), concept)))
    sides = {_folded(name): side for side in _SIDES for name in document["sides"][side].split("/")}
    return words, sides
