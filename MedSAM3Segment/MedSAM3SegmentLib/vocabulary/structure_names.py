"""Names of structures as contours and label files have them (``Glnd_Submand_L``, ``lung_lower_lobe_left``), in words.

Radiotherapy names follow AAPM Task Group 263 (general noun first, side last, capitals for new words); label files of
TotalSegmentator and others are lower case with underscores. What a word of theirs means stands in
``Resources/phrase_words.json``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from MedSAM3SegmentLib.resources import resource_path

SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}

#: A margin around a structure ("_PRV05"), or what is taken away from one ("-PTV").
_MARGIN = re.compile(r"[_ ]?prv[_ ]?\d{0,2}(?:[.x]\d)?$", re.IGNORECASE)
_SUBTRACTED = re.compile(r"-(?:[IPCG]+TV\w*|PRV\w*)$", re.IGNORECASE)
_TARGET = re.compile(r"(?:i?gtv|ictv|ctv|itv|ptv)(?:[npv](?![a-z]))?[\d_!.+-]*(?:[_ ]\w+)*", re.IGNORECASE)

# "SpinalCord" and "KidneyL" are two words, "McBurney" is one; "RLung" is a side and a word.
_CAPITAL = re.compile(r"(?<=[a-z]{3})(?=[A-Z])|(?:(?<=^[LR])|(?<=_[LR]))(?=[A-Z][a-z]{2})")
_NOT_EVALUATED = re.compile(r"^z(?=[A-Z][a-z]{2})")
_LEVEL = re.compile(r"(?:vb|vertebrae?|vert)? ?([ctls]\d{1,2})(?: (?:vb|vertebrae?))?")
_RIB = re.compile(r"ribs? (\d{1,2})")
_LOBES = {"u": "upper", "m": "middle", "l": "lower"}
_LUNG_LOBE = re.compile(r"(?:lung )?([lr])([uml])l")


@dataclass(frozen=True)
class StructureName:
    """A structure's name, read.

    Attributes:
        words: a noun phrase, the side first.
        remainder: what of the name asks for something else than the structure (``_PRV05``, ``-PTV``); else empty.
    """

    words: str
    remainder: str = ""


def is_target_volume(phrase: str) -> bool:
    """Whether ``phrase`` is a target of radiotherapy (``PTV_6000``), which nobody can see."""
    return _TARGET.fullmatch(phrase.strip()) is not None


def read_structure_name(phrase: str) -> StructureName | None:
    """The words of a structure's name; None for text that is no such name.

    A name is one word with an underscore or a capital inside it, or has a margin's suffix.
    """
    name, remainder = phrase, ""
    for ending in (_MARGIN, _SUBTRACTED):
        if (found := ending.search(name)) and found.start() > 0:
            name, remainder = name[: found.start()], name[found.start() :] + remainder
    spelled = _CAPITAL.sub("_", _NOT_EVALUATED.sub("", name))
    is_name = re.search(r"[^\W_]_+[^\W_]", spelled) or spelled != name
    if not is_name or re.search(r"\s", spelled) or is_target_volume(phrase):
        return StructureName(name.strip("_ "), remainder) if remainder else None
    tables = _tables()
    words = [tables["words"].get(word, word) for word in spelled.lower().split("_") if word]
    words = [word for word in " ".join(words).split() if word not in ("bilateral", "both")] or words
    side = next((n for n, word in enumerate(words) if word in SIDES and len(words) > 1), None)
    sides = sum(word in SIDES for word in words)
    if side is None or sides > 1:
        return StructureName(_noun_phrase(words, tables), remainder)
    name = _noun_phrase(words[:side] + words[side + 1 :], tables)
    already = name.split()[0] in ("left", "right")
    return StructureName(name if already else f"{SIDES[words[side]]} {name}", remainder)


def _noun_phrase(words: list[str], tables: dict[str, Any]) -> str:
    """Words of a name without its side, in the order in which they are spoken."""
    name = " ".join(words)
    if name in tables["names"]:
        return str(tables["names"][name])
    if level := _LEVEL.fullmatch(name):
        return f"{level[1]} vertebra"
    if (rib := _RIB.fullmatch(name)) and 1 <= int(rib[1]) <= 12:
        return f"{tables['ordinals'][int(rib[1]) - 1]} rib"
    if lobe := _LUNG_LOBE.fullmatch(name):
        return f"{SIDES[lobe[1]]} {_LOBES[lobe[2]]} lobe"
    noun = tables["nouns_first"].get(words[0])
    if noun is None or len(words) == 1:
        return name
    rest = " ".join(words[1:])
    return rest if noun in rest.split() or rest in tables["complete"] else f"{rest} {noun}"


@cache
def _tables() -> dict[str, Any]:
    tables = json.loads(resource_path("phrase_words.json").read_text(encoding="utf-8"))["structures"]
    return {**tables, "complete": set(tables["complete"]), "ordinals": tables["ordinals"]}
