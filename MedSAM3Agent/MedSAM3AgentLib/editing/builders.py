"""What a matched clause becomes: numbers read, units converted, names cleaned; one builder for each kind of command."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from MedSAM3AgentLib.targets import Pick, Side
from MedSAM3SegmentLib.errors import InputError

from .commands import (
    BeyondSegment,
    BeyondSlice,
    Combine,
    Command,
    Hollow,
    IntensityRange,
    KeepPart,
    KeepSide,
    Margin,
    Operation,
    Recut,
    RemoveSmall,
    SelectObject,
    ShellMode,
    SliceRange,
    Smooth,
    SmoothingMethod,
)

WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
ORDINALS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5,
    "last": -1, "smallest": -1,
}  # fmt: skip
PARTS = {
    "upper": Pick.UPPER, "top": Pick.UPPER, "superior": Pick.UPPER, "cranial": Pick.UPPER, "uppermost": Pick.UPPER,
    "lower": Pick.LOWER, "bottom": Pick.LOWER, "inferior": Pick.LOWER, "caudal": Pick.LOWER, "lowermost": Pick.LOWER,
    "front": Pick.FRONT, "anterior": Pick.FRONT, "ventral": Pick.FRONT,
    "back": Pick.BACK, "posterior": Pick.BACK, "dorsal": Pick.BACK, "rear": Pick.BACK,
}  # fmt: skip
INTENSITY = (
    r"(?:intensit(?:y|ies)|values?|hu|hounsfield(?: units?)?|gr[ae]y ?values?|densit(?:y|ies)|voxels?(?: with)?)"
)

#: Lengths that can be used.
_MIN_MM, _MAX_MM = 0.01, 500.0


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _mm(number: str | None, unit: str | None, default: float = 3.0) -> float:
    if number is None:
        return default
    length = abs(_number(number)) * (10.0 if unit and unit.startswith("c") else 1.0)
    if not _MIN_MM <= length <= _MAX_MM:
        raise InputError("{length:g} mm cannot be used; give 0.01 to 500 mm.", length=length)
    return length


def object_count(text: str | None) -> int:
    if not text:
        return 1
    count = WORDS.get(text) or int(text)
    if not 1 <= count <= 1000:
        raise InputError("{count} objects cannot be kept; give a number from 1.", count=count)
    return count


def _segment_name(text: str) -> str:
    return re.sub(r"^(?:the|a|an|any|all|my|its)\s+", "", text.strip(" '\"")).removeprefix("segment ")


def build_grow(found: Match[str]) -> Command:
    return Margin(_mm(found["n"], found["u"]))


def build_shrink(found: Match[str]) -> Command:
    return Margin(-_mm(found["n"], found["u"]))


def build_signed_margin(found: Match[str]) -> Command:
    sign = -1 if found["n"].startswith("-") else 1
    return Margin(sign * _mm(found["n"], found["u"]))


def build_remove_small(found: Match[str]) -> Command:
    if found["n"] is None:
        return RemoveSmall()
    least, unit = _number(found["n"]), (found["u"] or "voxels")
    if unit.startswith(("ml", "milli", "cc", "cm")):
        return RemoveSmall(least, "ml")
    if unit.startswith(("mm", "cubic")):
        return RemoveSmall(least / 1000, "ml")
    return RemoveSmall(least)


def build_select(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        word = found["n"]
        number = ORDINALS.get(word) or WORDS.get(word) or int(word)
        if number == 0:
            raise InputError("Objects are numbered from 1, the largest; there is no object 0.")
        return SelectObject(number, keep)

    return build


def build_smooth(method: SmoothingMethod) -> Callable[[Match[str]], Command]:
    return lambda found: Smooth(method, _mm(found["n"], found["u"]))


def build_hollow(found: Match[str]) -> Command:
    words = found.group(0)
    # Slicer names the surface that the segment's own becomes: a shell outward has it inside, which is usual.
    mode = ShellMode.INSIDE
    if re.search(r"\b(?:inward|inwards|inside|within)\b", words):
        mode = ShellMode.OUTSIDE
    if re.search(r"\b(?:medial|middle|both sides|centered|centred)\b", words):
        mode = ShellMode.MEDIAL
    return Hollow(_mm(found["n"], found["u"]), mode)


def build_part(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        word = found["p"]
        return KeepSide(Side(word), keep) if word in ("left", "right") else KeepPart(PARTS[word], keep)

    return build


def build_combine(operation: Operation) -> Callable[[Match[str]], Command | None]:
    def build(found: Match[str]) -> Command | None:
        other = _segment_name(found["x"])
        is_name = re.fullmatch(r"[\w][\w' ()-]{0,60}", other) and not re.search(r"\b(?:slices?|mm|hu)\b", other)
        if not is_name or other in ("it", "everything", "all", "rest", "this", "that", "part", "piece", "mask"):
            return None
        return Combine(operation, other)

    return build


def build_slice_range(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        first, last = sorted((int(found["a"]), int(found["b"] or found["a"])))
        return SliceRange(first, last, keep)

    return build


def build_beyond(keep: bool) -> Callable[[Match[str]], Command]:
    """Of what is above or below: kept, or removed."""

    def build(found: Match[str]) -> Command:
        is_above = found["d"] in ("above", "superior to", "cranial to", "over", "higher than")
        removes_above = is_above is not keep
        if found["n"] is not None:
            return BeyondSlice(int(found["n"]), removes_above)
        return BeyondSegment(_segment_name(found["x"]), removes_above)

    return build


def build_before_after(found: Match[str]) -> Command:
    index = int(found["n"])
    return SliceRange(None, index, True) if found["d"] == "after" else SliceRange(index, None, True)


def build_intensity_range(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        ends = sorted((_number(found["a"]), _number(found["b"])))
        return IntensityRange(ends[0], ends[1], keep)

    return build


def build_intensity_limit(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        value = _number(found["a"])
        is_above = found["d"] in (
            ">",
            ">=",
            "above",
            "over",
            "greater than",
            "higher than",
            "brighter than",
            "more than",
            "at least",
        )
        return IntensityRange(value, None, keep) if is_above else IntensityRange(None, value, keep)

    return build


def build_recut(found: Match[str]) -> Command:
    value = _number(found["n"])
    if not 0 <= value <= 1:
        raise InputError("The threshold {value:g} is not between 0 and 1.", value=value)
    return Recut(value)


def names_intensity(words: str) -> bool:
    return bool(re.search(INTENSITY, words)) or bool(re.search(r"-\d", words))
