"""Other phrases for a structure, and its usual confusers: what is asked for together with it in one request."""

from __future__ import annotations

from functools import cache

from MedSAM3AgentLib.targets import Side, Structure
from MedSAM3SegmentLib.vocabulary.phrases import key_of, prompt_for
from MedSAM3SegmentLib.vocabulary.terminology import Concept
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

#: Most phrases for one structure, that which was typed included. Each costs a pass of the decoder on every slice.
MOST_WORDINGS = 4

#: Most confusers that are asked for with one structure.
MOST_CONFUSERS = 3

#: The adjective of an organ and what its flesh is called, as radiology reports have them.
_ADJECTIVES = {
    "liver": ("hepatic", "tissue"),
    "spleen": ("splenic", "tissue"),
    "kidney": ("renal", "tissue"),
    "pancreas": ("pancreatic", "tissue"),
    "lung": ("pulmonary", "tissue"),
    "heart": ("cardiac", "muscle"),
    "brain": ("cerebral", "tissue"),
    "stomach": ("gastric", "lumen"),
    "aorta": ("aortic", "lumen"),
    "colon": ("colonic", "lumen"),
    "urinary bladder": ("vesical", "lumen"),
    "gallbladder": ("gallbladder", "lumen"),
    "esophagus": ("esophageal", "lumen"),
    "trachea": ("tracheal", "lumen"),
    "prostate": ("prostatic", "tissue"),
    "uterus": ("uterine", "tissue"),
    "thyroid gland": ("thyroid", "tissue"),
    "adrenal gland": ("adrenal", "tissue"),
    "spine": ("spinal", "column"),
}

#: Heads of phrases that name a finding in an organ; one stands for another.
FINDINGS = ("tumor", "mass", "lesion", "nodule", "cyst", "metastasis", "stone", "abscess", "hematoma", "polyp")
_SOLID = ("tumor", "mass", "lesion")

#: What lies beside what, or looks like it: a model that errs answers one of these.
_NEIGHBORS = (
    ("liver", "spleen", "stomach", "kidney"),
    ("kidney", "spleen", "liver"),
    ("spleen", "stomach", "kidney", "liver"),
    ("stomach", "spleen", "liver", "colon"),
    ("pancreas", "duodenum", "stomach", "spleen"),
    ("gallbladder", "duodenum", "liver", "kidney"),
    ("aorta", "inferior vena cava", "spine", "pulmonary artery"),
    ("spine", "aorta", "rib", "kidney"),
    ("lung", "heart", "liver"),
    ("heart", "aorta", "lung"),
    ("urinary bladder", "prostate", "uterus", "rectum"),
    ("prostate", "urinary bladder", "rectum"),
)


def is_paired(phrase: str, vocabulary: Vocabulary) -> bool:
    """Whether there is one of it on each side of the patient: the vocabulary has it alone, left and right."""
    names = (phrase, f"{Side.LEFT.value} {phrase}", f"{Side.RIGHT.value} {phrase}")
    return all(vocabulary.find(name) for name in names)


def is_finding(phrase: str) -> bool:
    """Whether a phrase names a finding rather than an organ; there may be none of it or several."""
    words = prompt_for(phrase).split()
    return bool(words) and key_of(words[-1]) in FINDINGS


def wordings_of(structure: Structure, inside: Structure | None, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Phrases that mean a structure, best first; the first is what was typed."""
    base = prompt_for(structure.phrase)
    typed = structure.name if structure.side and is_paired(base, vocabulary) else base
    phrases = [typed]
    if inside is not None and is_finding(base):
        phrases += _in_organ(base, prompt_for(inside.phrase), vocabulary)
    if typed != base:
        phrases.append(base)
    concept = vocabulary.find(base)
    if is_finding(base):
        phrases += _other_heads(base)
    if concept is not None:
        phrases += [concept.phrase, *_with_adjective(concept.phrase), *_synonyms(concept)]
    unique: dict[str, str] = {}
    for phrase in phrases:
        unique.setdefault(key_of(phrase), phrase)
    return tuple(unique.values())[:MOST_WORDINGS]


def confusers_of(structure: Structure, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Phrases for what is easily taken for a structure; none of them means it."""
    concept = vocabulary.find(structure.phrase)
    base = concept.phrase if concept else prompt_for(structure.phrase)
    listed = next((others for name, *others in _NEIGHBORS if name == base), ())
    confusers = list(listed)
    if structure.side is not None and is_paired(base, vocabulary):
        other = Side.LEFT if structure.side is Side.RIGHT else Side.RIGHT
        confusers.insert(0, f"{other.value} {base}")
    return tuple(confusers[:MOST_CONFUSERS])


def organ_of_finding(phrase: str, vocabulary: Vocabulary) -> str:
    """The organ that a finding of the vocabulary lies in (``liver`` for ``liver tumor``), or empty."""
    concept = vocabulary.find(phrase)
    if concept is None or concept.anatomic_region is None:
        return ""
    region = concept.anatomic_region.code
    organs = (one for one in vocabulary.concepts if one.type and one.type.code == region and not one.type_modifier)
    return next((one.phrase for one in organs), "")


def _synonyms(concept: Concept) -> list[str]:
    """The vocabulary's, of at most three words, without plurals."""
    return [name for name in concept.synonyms if len(name.split()) <= 3 and key_of(name) != key_of(concept.phrase)]


def _with_adjective(phrase: str) -> list[str]:
    if phrase not in _ADJECTIVES:
        return []
    adjective, flesh = _ADJECTIVES[phrase]
    return [f"{adjective} {flesh}", f"{phrase} {flesh}"]


@cache
def _adjective_of(organ: str) -> str:
    return _ADJECTIVES.get(organ, ("", ""))[0]


def _in_organ(finding: str, organ: str, vocabulary: Vocabulary) -> list[str]:
    """A finding of one organ: ``kidney tumor`` and its synonyms for ``mass`` in ``kidney``."""
    head = finding.split()[-1]
    if organ in finding or (_adjective_of(organ) and _adjective_of(organ) in finding):
        return []
    heads = [head, *(other for other in _SOLID if head in _SOLID and other != head)]
    phrases = []
    for one in heads:
        named = f"{organ} {one}"
        concept = vocabulary.find(named)
        phrases += [concept.phrase] if concept else []
        phrases.append(named)
    if adjective := _adjective_of(organ):
        phrases.insert(1, f"{adjective} {head}")
    return phrases


def _other_heads(finding: str) -> list[str]:
    """``liver lesion`` and ``liver mass`` for ``liver tumor``."""
    *before, head = finding.split()
    if head not in _SOLID:
        return []
    return [" ".join((*before, other)) for other in _SOLID if other != head]
