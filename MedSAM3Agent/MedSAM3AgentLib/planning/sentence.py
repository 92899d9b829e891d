"""From a sentence to a plan by rules: targets, what they lie in, sides, what does not belong, and which of several.

The vocabulary decides first: what it knows as one phrase ("circle of willis") is never taken apart.
"""

from __future__ import annotations

import re
from dataclasses import replace

from MedSAM3AgentLib.targets import Pick, Plan, Side, Structure, Target
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.advice import MAX_WORDS
from MedSAM3SegmentLib.vocabulary.phrases import key_of, prompt_for, singular
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .wordings import is_finding, is_paired

_WITHOUT = re.compile(
    r"[,\s]*\b(?:but (?:not|without|no)|without|not including|excluding|except(?: for)?|apart from|other than|minus"
    r"|leaving out|leave out|not)\b\s+"
)
_INSIDE = re.compile(
    r"\s+(?:that (?:is|are|lies?) |which (?:is|are|lies?) |located |lying |found |seen )?"
    r"(?:inside of|inside|within|in|of|on|at|from|arising from|involving)\s+(?:(?:the|a|an|his|her|their|this)\s+)?"
)
_QUESTION = re.compile(
    r"^(?:is there|are there|do you see|does (?:he|she|the patient) have|can you see|how (?:big|large) (?:is|are)"
    r"|what is the (?:volume|size) of|i (?:want|need|see|would like)(?: to see)?|there (?:is|are)|look for|search for"
    r"|check for|measure|segmentation of|mask of|draw|delineate|only)\s+"
)
_IMPLICIT = re.compile(
    r"^(?:what|why|which|who)\b|\b(?:explains?|causes?|caused|causing|responsible|abnormal|wrong with|suspicious)\b"
)
_PICKS = {
    "largest": Pick.LARGEST, "biggest": Pick.LARGEST, "main": Pick.LARGEST, "dominant": Pick.LARGEST,
    "smallest": Pick.SMALLEST, "uppermost": Pick.UPPER, "topmost": Pick.UPPER, "highest": Pick.UPPER,
    "superior": Pick.UPPER, "lowest": Pick.LOWER, "lowermost": Pick.LOWER, "inferior": Pick.LOWER,
    "anterior": Pick.FRONT, "posterior": Pick.BACK, "upper": Pick.UPPER, "lower": Pick.LOWER,
}  # fmt: skip
_COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "2": 2, "3": 3, "4": 4, "5": 5}
_BOTH_SIDES = re.compile(r"(?:the )?(left|right) (?:and|or|&) (?:the )?(left|right) (.+)")
_IRREGULAR = {"metastases": "metastasis", "vertebrae": "vertebra", "bronchi": "bronchus", "calculi": "calculus"}
_FILLER = re.compile(r"^(?:the|a|an|any|all|every|his|her|their|its|whole|entire|both|bilateral|visible|of)\s+")

#: What is looked at first where a question names a region only; the rules give no rationale.
_REGIONS = {"flank": ("kidney", "kidney tumor", "kidney stone"), "loin": ("kidney", "kidney stone")}


def plan_by_rules(text: str, vocabulary: Vocabulary) -> Plan:
    """The plan that the rules read out of a request.

    Raises:
        InputError: no structure is named.
    """
    targets: dict[str, Target] = {}
    for part in re.split(r"[;\n!]|\.(?:\s|$)|,?\s+(?:as well as|and also|then also)\s+", text):
        for clause in _split_after_exclusion(part):
            for target in _targets_in(clause, vocabulary):
                targets.setdefault(target.name, target)
    if is_implicit_question(text, vocabulary):
        targets = {target.name: target for target in _targets_of_question(text, vocabulary)}
    if not targets:
        raise InputError(
            "No structure to look for was recognized in the request; name one, such as 'the mass in the right kidney', "
            "or choose a language model."
        )
    return Plan(tuple(targets.values()))


def is_implicit_question(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a request asks what something is, rather than naming it."""
    plain = prompt_for(text)
    if _QUESTION.match(plain) or vocabulary.find(plain):
        return False
    return bool(_IMPLICIT.search(text.strip().lower()))


def is_fully_known(plan: Plan, vocabulary: Vocabulary) -> bool:
    """Whether the vocabulary has every phrase of a plan, or the model may know it for its length."""
    structures = [one for target in plan.targets for one in (target.structure, *target.without)]
    structures += [target.inside for target in plan.targets if target.inside]
    return all(vocabulary.find(one.phrase) or len(one.phrase.split()) <= MAX_WORDS for one in structures)


def structure_of(text: str, vocabulary: Vocabulary) -> Structure | None:
    """The structure that a noun phrase names, with its side apart where that is computed; None for nothing."""
    phrase = prompt_for(_without_filler(text))
    words = [word for word in phrase.split() if word not in ("please",)]
    if not words or not re.search(r"[a-z]", phrase):
        return None
    phrase = " ".join(words)
    sides = [word for word in words if word in ("left", "right")]
    if len(sides) == 1:
        rest = " ".join(word for word in words if word != sides[0])
        base = rest.removesuffix(" side").strip() or rest
        if is_paired(_known(base, vocabulary), vocabulary) or (is_finding(base) and not vocabulary.find(base + "s")):
            return Structure(_known(base, vocabulary), Side(sides[0]))
    return Structure(_known(phrase, vocabulary))


def _known(phrase: str, vocabulary: Vocabulary) -> str:
    """A phrase in the singular, where that is the only difference to one of the vocabulary or to a finding."""
    *before, last = phrase.split() or [""]
    one = " ".join((*before, _IRREGULAR.get(last, singular(last))))
    known = vocabulary.find(one)
    if known and key_of(known.phrase) == key_of(one):
        return known.phrase
    return one if known or is_finding(one) else phrase


def _split_after_exclusion(text: str) -> list[str]:
    """``the liver without the tumor, and the kidney`` asks for the kidney; after a list it is one more exclusion.

    So ``the liver without vessels, tumor, and cyst`` stays as it is.
    """
    clauses: list[str] = []
    for piece in re.split(r"\s*,\s+and\s+", text, flags=re.IGNORECASE):
        excluded = _WITHOUT.split(clauses[-1].lower())[1:] if clauses else []
        if clauses and not (excluded and "," not in excluded[-1].strip(" ,")):
            clauses[-1] += f", and {piece}"
        else:
            clauses.append(piece)
    return clauses


def _targets_in(part: str, vocabulary: Vocabulary) -> list[Target]:
    text = " ".join(part.lower().replace("?", " ").split()).strip(" ,.:")
    text = text.replace("tumour", "tumor").replace("oesoph", "esoph")
    if not text:
        return []
    wanted, *excluded = _WITHOUT.split(text)
    wanted = prompt_for(wanted) if wanted.strip(" ,") else ""
    while begun := _QUESTION.match(wanted):
        wanted = prompt_for(wanted[begun.end() :])
    without = [structure_of(one, vocabulary) for text in excluded for one in _listed(text, vocabulary)]
    targets = []
    for one in _listed(wanted, vocabulary):
        target = _target_of(one, vocabulary)
        if target is not None:
            targets.append(replace(target, without=tuple(structure for structure in without if structure)))
    return _with_shared_container(targets)


def _listed(text: str, vocabulary: Vocabulary) -> list[str]:
    """The noun phrases of a list; ``left and right kidney`` are two, ``gray and white matter`` too."""
    text = text.strip(" ,")
    if not text or vocabulary.find(text):
        return [text] if text else []
    if (shared := _BOTH_SIDES.fullmatch(text)) and shared[1] != shared[2]:
        return [f"{shared[1]} {shared[3]}", f"{shared[2]} {shared[3]}"]
    parts = re.split(r"\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&|plus)\s+", text)
    return [part for part in parts if part.strip()]


def _target_of(text: str, vocabulary: Vocabulary) -> Target | None:
    text = _without_filler(text)
    if vocabulary.find(text):
        structure = structure_of(text, vocabulary)
        return Target(structure) if structure else None
    head, *containers = _INSIDE.split(text)
    count, pick = 1, Pick.ALL
    words = head.split()
    while len(words) > 1 and not vocabulary.find(" ".join(words)):
        if words[0] in _COUNTS:
            count = _COUNTS[words[0]]
        elif words[0] in _PICKS and pick is Pick.ALL:
            pick = _PICKS[words[0]]
        else:
            break
        words = words[1:]
    structure = structure_of(" ".join(words), vocabulary)
    if structure is None:
        return None
    inside = structure_of(containers[-1], vocabulary) if containers else None
    if inside is not None and inside.phrase == "side":
        inside = None
    if containers and (side := re.fullmatch(r"(left|right)(?: side)?", containers[-1].strip())):
        structure, inside = replace(structure, side=Side(side[1])), None
    return Target(structure, inside, (), pick, count if pick in (Pick.LARGEST, Pick.SMALLEST) else 1)


def _with_shared_container(targets: list[Target]) -> list[Target]:
    """``the tumor and the cyst in the kidney``: a finding before the container lies in it too."""
    last = next((target.inside for target in reversed(targets) if target.inside), None)
    if last is None:
        return targets
    shared, seen = [], False
    for target in reversed(targets):
        seen = seen or target.inside is not None
        if seen and target.inside is None and is_finding(target.structure.phrase):
            target = replace(target, inside=last)
        shared.append(target)
    return shared[::-1]


def _targets_of_question(text: str, vocabulary: Vocabulary) -> list[Target]:
    """What a question names: known phrases, longest first, and what usually lies in a region."""
    words = re.findall(r"[a-z-]+", text.lower())
    side = next((Side(word) for word in words if word in ("left", "right")), None)
    targets = [
        Target(Structure(phrase, side)) for region, phrases in _REGIONS.items() if region in words for phrase in phrases
    ]
    place = 0
    while place < len(words):
        for length in (4, 3, 2, 1):
            phrase = " ".join(words[place : place + length])
            if len(words[place : place + length]) == length and vocabulary.find(phrase):
                structure = structure_of(phrase, vocabulary)
                targets += [Target(structure)] if structure else []
                place += length - 1
                break
        place += 1
    return targets


def _without_filler(text: str) -> str:
    text = text.strip(" ,")
    while filler := _FILLER.match(text):
        text = text[filler.end() :]
    return text
