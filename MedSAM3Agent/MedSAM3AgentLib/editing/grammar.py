"""From typed words to commands by rules: no model, and what is not understood is said with the nearest thing that is.

A clause is one command; ``;``, ``then`` and commas stand between clauses. Lengths are millimeters unless ``cm``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from re import Match

from MedSAM3AgentLib.targets import Pick, Side
from MedSAM3SegmentLib.errors import InputError

from .commands import (
    BeyondSegment,
    BeyondSlice,
    Combine,
    Command,
    FillHoles,
    Hollow,
    IntensityRange,
    KeepLargest,
    KeepPart,
    KeepSide,
    Margin,
    Measure,
    Operation,
    Recut,
    RemoveSmall,
    Rename,
    SelectObject,
    ShellMode,
    SliceRange,
    Smooth,
    SmoothingMethod,
    SplitObjects,
)

#: What is understood, as people may type it; the nearest is offered where something is not.
EXAMPLES = (
    "grow 3 mm", "shrink 2 mm", "keep the largest", "keep the 2 largest", "remove pieces below 100 voxels",
    "remove small pieces", "keep piece 2", "remove piece 3", "split into pieces", "smooth 3 mm", "gaussian 2 mm",
    "remove spikes", "close gaps", "fill holes", "make a shell 2 mm", "only inside liver", "without liver",
    "remove what lies in the liver", "add spleen", "invert", "clear", "keep the left part", "remove the lower half",
    "nothing above slice 40", "only slices 20 to 50", "remove slices 3 to 7", "nothing below the liver",
    "only above 150 HU", "only between -50 and 120 HU", "rename to lesion", "how big is it",
)  # fmt: skip

_N = r"([-+]?\d+(?:[.,]\d+)?)"
_LENGTH = r"([-+]?\d+(?:[.,]\d+)?)\s*(mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?)?"
_PIECE = r"(?:pieces?|islands?|parts?|components?|objects?|blobs?|fragments?|regions?|bits?|specks?|segments?|ones?)"
_KEEP = r"(?:keep|retain|preserve|leave|take|use|select|i want|show)(?: only| just)?"
_REMOVE = r"(?:remove|delete|drop|discard|erase|get rid of|throw away|clean up|clear away|cut (?:off|away|out)|eliminate|kill|strip)"
_ONLY = rf"(?:(?:only )?{_KEEP}|only|just)"
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_ORDINALS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5,
    "last": -1, "smallest": -1,
}  # fmt: skip
_PARTS = {
    "upper": Pick.UPPER, "top": Pick.UPPER, "superior": Pick.UPPER, "cranial": Pick.UPPER, "uppermost": Pick.UPPER,
    "lower": Pick.LOWER, "bottom": Pick.LOWER, "inferior": Pick.LOWER, "caudal": Pick.LOWER, "lowermost": Pick.LOWER,
    "front": Pick.FRONT, "anterior": Pick.FRONT, "ventral": Pick.FRONT,
    "back": Pick.BACK, "posterior": Pick.BACK, "dorsal": Pick.BACK, "rear": Pick.BACK,
}  # fmt: skip
_SIDE_OR_PART = "left|right|" + "|".join(_PARTS)
_HALF = rf"(?:-?(?:most|hand))?(?: (?:part|half|side|piece|one|portion|object|lobe|end)s?)?"
_FILLER = re.compile(
    r"^(?:please|now|and|then|also|next|finally|first|second|ok|okay|can you|could you|would you|kindly|just|simply|let's"
    r"|lets|i want (?:you )?to|i'd like to|go ahead and)[\s,]+"
)
_INTENSITY = (
    r"(?:intensit(?:y|ies)|values?|hu|hounsfield(?: units?)?|gr[ae]y ?values?|densit(?:y|ies)|voxels?(?: with)?)"
)

_MIN_MM, _MAX_MM = 0.01, 500.0


def parse_commands(text: str) -> tuple[Command, ...]:
    """The commands that a text names, in its order.

    Raises:
        InputError: a clause is not understood, or a number in it cannot be used; nothing of the text counts then.
    """
    commands = [parse_clause(clause) for clause in split_clauses(text)]
    if not commands:
        raise InputError("No command was given; type one, such as 'keep the largest; shrink 2 mm'.")
    return tuple(commands)


def split_clauses(text: str) -> list[str]:
    """The clauses of a text; ``and`` stands between two only where both are commands."""
    clauses: list[str] = []
    for part in re.split(
        r"\s*(?:;|\n|\.(?=\s|$)|,?\s*\b(?:and )?then\b|,?\s+after(?:wards| that)\b,?)\s*", text.strip()
    ):
        for piece in re.split(r"\s*,\s+(?:and\s+)?", part):
            halves = re.split(r"\s+and\s+", piece)
            if len(halves) > 1 and all(_match(half) is not None for half in halves):
                clauses += halves
            else:
                clauses.append(piece)
    return [clause for clause in clauses if _plain(clause)]


def parse_clause(clause: str) -> Command:
    """The command that one clause names.

    Raises:
        InputError: it is not understood, or a number in it cannot be used.
    """
    command = _match(clause)
    if command is None:
        near = get_close_matches(_plain(clause), EXAMPLES, n=1, cutoff=0.0)[0]
        raise InputError("'{clause}' is not understood; the nearest command is '{near}'.", clause=clause, near=near)
    return command


def _plain(clause: str) -> str:
    words = " ".join(clause.lower().replace("\u2212", "-").replace("\u2013", "-").split()).strip(" .!?,:'\"")
    while begun := _FILLER.match(words):
        words = words[begun.end() :]
    return re.sub(r"\s*,?\s*please$", "", words)


def _match(clause: str) -> Command | None:
    words = _plain(clause)
    for pattern, build in _PATTERNS:
        found = pattern.fullmatch(words)
        if found is not None:
            command = build(found)
            if command is not None:
                return command
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _mm(number: str | None, unit: str | None, default: float = 3.0) -> float:
    if number is None:
        return default
    length = abs(_number(number)) * (10.0 if unit and unit.startswith("c") else 1.0)
    if not _MIN_MM <= length <= _MAX_MM:
        raise InputError("{length:g} mm cannot be used; give 0.01 to 500 mm.", length=length)
    return length


def _count(text: str | None) -> int:
    if not text:
        return 1
    count = _WORDS.get(text) or int(text)
    if not 1 <= count <= 1000:
        raise InputError("{count} objects cannot be kept; give a number from 1.", count=count)
    return count


def _segment_name(text: str) -> str:
    return re.sub(r"^(?:the|a|an|any|all|my|its)\s+", "", text.strip(" '\"")).removeprefix("segment ")


def _grow(found: Match[str]) -> Command:
    return Margin(_mm(found["n"], found["u"]))


def _shrink(found: Match[str]) -> Command:
    return Margin(-_mm(found["n"], found["u"]))


def _signed_margin(found: Match[str]) -> Command:
    sign = -1 if found["n"].startswith("-") else 1
    return Margin(sign * _mm(found["n"], found["u"]))


def _small(found: Match[str]) -> Command:
    if found["n"] is None:
        return RemoveSmall()
    least, unit = _number(found["n"]), (found["u"] or "voxels")
    if unit.startswith(("ml", "milli", "cc", "cm")):
        return RemoveSmall(least, "ml")
    if unit.startswith(("mm", "cubic")):
        return RemoveSmall(least / 1000, "ml")
    return RemoveSmall(least)


def _select(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        word = found["n"]
        number = _ORDINALS.get(word) or _WORDS.get(word) or int(word)
        if number == 0:
            raise InputError("Objects are numbered from 1, the largest; there is no object 0.")
        return SelectObject(number, keep)

    return build


def _smooth(method: SmoothingMethod) -> Callable[[Match[str]], Command]:
    return lambda found: Smooth(method, _mm(found["n"], found["u"]))


def _hollow(found: Match[str]) -> Command:
    words = found.group(0)
    mode = ShellMode.INSIDE
    if re.search(r"\b(?:outward|outwards|outside|around it|around)\b", words):
        mode = ShellMode.INSIDE
    if re.search(r"\b(?:inward|inwards|inside|within)\b", words):
        mode = ShellMode.OUTSIDE
    if re.search(r"\b(?:medial|middle|both sides|centered|centred)\b", words):
        mode = ShellMode.MEDIAL
    return Hollow(_mm(found["n"], found["u"]), mode)


def _part(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        word = found["p"]
        return KeepSide(Side(word), keep) if word in ("left", "right") else KeepPart(_PARTS[word], keep)

    return build


def _combine(operation: Operation) -> Callable[[Match[str]], Command | None]:
    def build(found: Match[str]) -> Command | None:
        other = _segment_name(found["x"])
        is_name = re.fullmatch(r"[\w][\w' ()-]{0,60}", other) and not re.search(r"\b(?:slices?|mm|hu)\b", other)
        if not is_name or other in ("it", "everything", "all", "rest", "this", "that", "part", "piece", "mask"):
            return None
        return Combine(operation, other)

    return build


def _slices(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        first, last = sorted((int(found["a"]), int(found["b"] or found["a"])))
        return SliceRange(first, last, keep)

    return build


def _beyond(found: Match[str]) -> Command:
    above = found["d"] in ("above", "superior to", "cranial to", "over", "higher than")
    if found["n"] is not None:
        return BeyondSlice(int(found["n"]), above)
    return BeyondSegment(_segment_name(found["x"]), above)


def _keep_beyond(found: Match[str]) -> Command:
    above = found["d"] in ("above", "superior to", "cranial to", "over", "higher than")
    if found["n"] is not None:
        return BeyondSlice(int(found["n"]), not above)
    return BeyondSegment(_segment_name(found["x"]), not above)


def _before_after(found: Match[str]) -> Command:
    index = int(found["n"])
    return SliceRange(None, index, True) if found["d"] == "after" else SliceRange(index, None, True)


def _range(keep: bool) -> Callable[[Match[str]], Command]:
    def build(found: Match[str]) -> Command:
        ends = sorted((_number(found["a"]), _number(found["b"])))
        return IntensityRange(ends[0], ends[1], keep)

    return build


def _limit(keep: bool) -> Callable[[Match[str]], Command]:
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


def _recut(found: Match[str]) -> Command:
    value = _number(found["n"])
    if not 0 <= value <= 1:
        raise InputError("The threshold {value:g} is not between 0 and 1.", value=value)
    return Recut(value)


_IT = r"(?: (?:it|this|that|the (?:segment|mask|contour|result|outline|surface|segmentation)|everything|all|them))?"
_BY = rf"{_IT}(?: (?:by|with|of|to|using|a bit|slightly|a little|about|around|outwards?|inwards?))*(?: (?:a |an )?(?:margin|kernel|radius|size)(?: of)?)?"
_N_U = r"(?: ?(?P<n>[-+]?\d+(?:[.,]\d+)?) ?-?(?P<u>mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?)?)?(?: (?:kernel|margin|radius|more|all around|in all directions|everywhere|outwards?|inwards?))*"
_NEED_N_U = _N_U.replace(")?(?: (?:kernel", ")(?: (?:kernel", 1)
_DIRECTION = (
    r"(?P<d>above|below|under|beneath|over|superior to|inferior to|cranial to|caudal to|higher than|lower than)"
)
_COMPARE = r"(?P<d>>=?|<=?|above|over|greater than|higher than|brighter than|more than|at least|below|under|less than|lower than|darker than|at most)"
_ELSE = r"(?:everything|all|anything|what(?:ever)?|the rest|stuff|voxels|all voxels)(?: (?:that )?(?:is|are|lies?))?"
_SMALL = r"(?:small(?:er)?|tiny|little|isolated|stray|loose|minor)"
_BELOW = r"(?:(?: (?:that are|with|of))?(?: (?:below|under|smaller than|less than|fewer than|<|up to|with less than))? (?P<n>\d+(?:[.,]\d+)?) ?(?P<u>voxels?|vox|ml|millilit(?:er|re)s?|cc|mm3|mm\^3|cubic millimet(?:er|re)s?|cm3)?)?"


def _compiled(
    *entries: tuple[str, Callable[[Match[str]], Command | None]],
) -> list[tuple[re.Pattern[str], Callable[[Match[str]], Command | None]]]:
    return [(re.compile(pattern), build) for pattern, build in entries]


_PATTERNS = _compiled(
    # Islands
    (rf"(?:{_ONLY}|{_REMOVE} (?:everything|all|anything)(?: (?:but|except|other than))) (?:the )?(?:(?P<n>\d+|one|two|three|four|five|six) )?(?:largest|biggest|main|major)(?: (?:connected|single))?(?: (?:{_PIECE}|island|component))?(?: only)?", lambda f: KeepLargest(_count(f["n"]))),
    (rf"(?:the )?(?:(?P<n>\d+|one|two|three|four|five|six) )?(?:largest|biggest)(?: connected)?(?: {_PIECE})?(?: only)?", lambda f: KeepLargest(_count(f["n"]))),
    (rf"{_REMOVE} (?:all |the |any )?(?:other|remaining) {_PIECE}", lambda f: KeepLargest()),
    (rf"{_REMOVE} (?:all |the |any )?(?:{_SMALL} )?{_PIECE}(?: (?:that are )?(?:below|under|smaller than|less than|fewer than|<)) (?P<n>\d+(?:[.,]\d+)?) ?(?P<u>voxels?|vox|ml|millilit(?:er|re)s?|cc|mm3|mm\^3|cubic millimet(?:er|re)s?|cm3)?", _small),
    (rf"{_REMOVE} (?:all |the |any )?{_SMALL} {_PIECE}{_BELOW}", _small),
    (rf"{_REMOVE} (?:all |the |any )?(?:specks?|fragments?|noise|islands)(?P<n>)(?P<u>)", lambda f: RemoveSmall()),
    (rf"{_KEEP} (?:only )?(?:the )?{_PIECE} (?:number |no\.? |#)?(?P<n>\d+|one|two|three|four|five|six)(?: only)?", _select(True)),
    (rf"{_REMOVE} (?:the )?{_PIECE} (?:number |no\.? |#)?(?P<n>\d+|one|two|three|four|five|six)", _select(False)),
    (rf"{_ONLY} (?:only )?(?:the )?(?P<n>{'|'.join(_ORDINALS)})(?: largest)? {_PIECE}", _select(True)),
    (rf"{_REMOVE} (?:the )?(?P<n>{'|'.join(_ORDINALS)})(?: largest)? {_PIECE}", _select(False)),
    (rf"(?:split|separate|divide|break)(?: (?:it|this|the segment|them))?(?: up)?(?: (?:in|into|to|by|the))*(?: (?:its|single|separate|individual|connected|different|own))*(?: {_PIECE})?", lambda f: SplitObjects()),
    # Smoothing
    (rf"(?:gaussian|blur)(?: (?:smooth(?:ing)?|filter|blur))?{_BY}{_N_U}", _smooth(SmoothingMethod.GAUSSIAN)),
    (rf"smooth(?:en)?{_IT} (?:with|by|using) (?:a )?gaussian(?: filter)?(?: of)?{_N_U}", _smooth(SmoothingMethod.GAUSSIAN)),
    (rf"smooth(?:en|ing)?{_IT} ?(?:with|by|using)? ?(?:a )?(?:median)(?: filter)?(?: of)?{_N_U}", _smooth(SmoothingMethod.MEDIAN)),
    (rf"(?:smooth(?:en|ing)?|median(?: filter| smooth(?:ing)?)?|make{_IT} smoother|smoother){_BY}{_N_U}", _smooth(SmoothingMethod.MEDIAN)),
    (rf"(?:(?:morphological )?open(?:ing)?|{_REMOVE} (?:the |any |all )?(?:spikes?|extrusions?|protrusions?|thin (?:bridges|connections|parts)|bridges|spurs?)){_BY}{_N_U}", _smooth(SmoothingMethod.OPENING)),
    (rf"(?:(?:morphological )?clos(?:e|ing)(?: (?:the |any |all |small )*(?:gaps?|cracks?|notches|dents))?|bridge (?:the )?gaps|fill (?:the |any |all |small )*(?:gaps?|cracks?|notches|dents)){_BY}{_N_U}", _smooth(SmoothingMethod.CLOSING)),
    (r"(?:fill|close|plug|remove)(?: (?:in|up))?(?: (?:the|any|all|its|internal|inner))* holes?(?P<s> (?:on|in) (?:each|every) slice| per slice| slice by slice| in 2d)?(?: in 3d)?", lambda f: FillHoles(f["s"] is not None)),
    # Hollow
    (rf"(?:make{_IT}|turn{_IT} into|convert{_IT} (?:to|into)|create|leave|keep|only|as)(?: only)?(?: a| an)?(?: (?:hollow|thin))?(?: ?(?P<n>\d+(?:[.,]\d+)?) ?-?(?P<u>mm|millimet(?:er|re)s?|cm)?(?: thick)?)? ?(?:shell|wall|rim|rind|crust|hollow)(?: (?:inwards?|outwards?|inside|outside|around it|medial))?", _hollow),
    (rf"(?:make{_IT}|turn{_IT} into|convert{_IT} (?:to|into)|create|leave|keep)(?: a| an)?(?: thin)? ?(?:shell|wall|rim|hollow|rind)(?: (?:of|with|inwards?|outwards?|inside|outside|thickness|around it|a))* ?(?P<n>\d+(?:[.,]\d+)?) ?(?P<u>mm|millimet(?:er|re)s?|cm)?(?: (?:thick(?:ness)?|wide|inwards?|outwards?|inside|outside))*", _hollow),
    (rf"(?:hollow|shell)(?: out)?(?: (?:it|this|the segment))?(?: out)?(?: (?:by|of|with|to|inwards?|outwards?|inside|outside|medial|a|shell|wall))*{_N_U}(?: (?:thick|shell|wall|inside|outside))*", _hollow),
    # Margin
    (rf"(?:shrink|erode|tighten|contract|deflate|trim|peel|thin|make{_IT} (?:smaller|thinner|tighter)|smaller|tighter|thinner|reduce|decrease|move{_IT} in){_BY}{_N_U}", _shrink),
    (rf"(?:{_REMOVE}|take) {_NEED_N_U.strip('?')} ?(?:from|off|of)(?: (?:the|its))? (?:edge|border|surface|outside|margin)s?", _shrink),
    (rf"(?:grow|expand|dilate|enlarge|extend|inflate|thicken|widen|fatten|make{_IT} (?:bigger|larger|thicker|wider)|bigger|larger|wider|increase|pad|move{_IT} out){_BY}{_N_U}", _grow),
    (rf"(?:add|apply|put|with|use)(?: a| an)?(?: safety)?{_NEED_N_U}(?: (?:safety )?margin)(?: around(?: it)?)?", _grow),
    (rf"(?:add|apply|put|with|use)(?: a| an)?(?: safety)? margin of{_NEED_N_U}(?: around(?: it)?)?", _grow),
    (rf"margin{_NEED_N_U}", _signed_margin),
    # Slices
    (rf"(?:nothing|no voxels?|cut(?: off)?{_IT}|{_REMOVE}(?: {_ELSE})?|clear(?: {_ELSE})?|stop) {_DIRECTION} (?:slice (?P<n>\d+)|(?P<x>(?!-?\d)[\w' -]+?))", _beyond),
    (rf"{_ONLY}(?: {_ELSE})? {_DIRECTION} (?:slice (?P<n>\d+)|(?P<x>(?!-?\d)[\w' -]+?))", _keep_beyond),
    (rf"(?:nothing|{_REMOVE}(?: {_ELSE})?|{_REMOVE} (?:all )?slices) (?P<d>before|after) slice (?P<n>\d+)", _before_after),
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to|crop{_IT} to)(?: the)?(?: {_ELSE} (?:on|in|between))? ?slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:|\.\.) ?(?:slice )?(?P<b>\d+))?(?: only)?", _slices(True)),
    (rf"(?:between )?slices? (?P<a>\d+) ?(?:to|-|through|until|and) ?(?P<b>\d+) only", _slices(True)),
    (rf"{_REMOVE}(?: {_ELSE} (?:on|in|between|from))?(?: the)? slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:) ?(?:slice )?(?P<b>\d+))?", _slices(False)),
    (rf"clear slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:) ?(?P<b>\d+))?", _slices(False)),
    # Intensity
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to)?(?: {_ELSE})? ?(?:where )?(?:with )?(?:{_INTENSITY} )?(?:of |from |in |range |is )?(?:between )?(?P<a>-?\d+(?:[.,]\d+)?)(?: hu)? ?(?:to|and|\.\.|-) ?(?P<b>-?\d+(?:[.,]\d+)?)(?: (?:hu|{_INTENSITY}))?", lambda f: _range(True)(f) if _names_intensity(f.group(0)) else None),
    (rf"{_REMOVE}(?: {_ELSE})? ?(?:with )?(?:{_INTENSITY} )?(?:of |from )?(?:between )?(?P<a>-?\d+(?:[.,]\d+)?)(?: hu)? ?(?:to|and|-) ?(?P<b>-?\d+(?:[.,]\d+)?)(?: {_INTENSITY})?", lambda f: _range(False)(f) if _names_intensity(f.group(0)) else None),
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to)?(?: {_ELSE})? ?(?:where )?(?:with )?(?:{_INTENSITY} )?(?:is |are )?{_COMPARE} ?(?P<a>-?\d+(?:[.,]\d+)?)(?: (?:hu|{_INTENSITY}))?", _limit(True)),
    (rf"(?:nothing|{_REMOVE}(?: {_ELSE})?) ?(?:where )?(?:with )?(?:{_INTENSITY} )?(?:is |are )?{_COMPARE} ?(?P<a>-?\d+(?:[.,]\d+)?)(?: {_INTENSITY})?", _limit(False)),
    # Sides and parts
    (rf"(?:{_ONLY} )?(?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}(?: only)?", _part(True)),
    (rf"{_ONLY}(?: {_ELSE})?(?: (?:on|in|at|to))* (?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}(?: only)?", _part(True)),
    (rf"{_REMOVE}(?: {_ELSE})?(?: (?:on|in|at))? (?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}", _part(False)),
    # Logical operators
    (r"(?:invert|flip|negate|complement)(?: (?:it|this|the segment|the mask|selection))?|take the complement", lambda f: Combine(Operation.INVERT)),
    (r"(?:clear|empty|erase|wipe)(?: (?:it|everything|all|this|the segment|the mask))?|(?:remove|delete) (?:everything|all|it all)", lambda f: Combine(Operation.CLEAR)),
    (rf"(?:{_REMOVE}|subtract|exclude)(?: {_ELSE})? (?:outside(?: of)?|not in|beyond|out of) (?P<x>.+)", _combine(Operation.INTERSECT)),
    (rf"(?:nothing) (?:outside(?: of)?) (?P<x>.+)", _combine(Operation.INTERSECT)),
    (rf"(?:{_REMOVE}|subtract|exclude)(?: {_ELSE}| the part| parts?| the overlap)? (?:in|inside(?: of)?|within|overlapping(?: with)?|that overlaps(?: with)?|with) (?P<x>.+)", _combine(Operation.SUBTRACT)),
    (rf"(?:{_ONLY}|limit{_IT}|restrict{_IT}|clip{_IT}|crop{_IT}|mask{_IT}|confine{_IT})(?: {_ELSE}| the part| parts?)? (?:that (?:is|are) )?(?:to|in|inside(?: of)?|within|by|with|overlapping) (?P<x>.+?)(?: only)?", _combine(Operation.INTERSECT)),
    (r"(?:inside(?: of)?|within) (?P<x>.+?)(?: only)?|(?:intersect|intersection)(?: (?:it|this))?(?: with)? (?P<y>.+)", lambda f: _combine(Operation.INTERSECT)(_renamed(f))),
    (r"(?:without|minus|subtract|exclude|less|but not|except|not) (?P<x>.+?)(?: from it)?", _combine(Operation.SUBTRACT)),
    (rf"nothing (?:in|inside(?: of)?|within) (?P<x>.+)", _combine(Operation.SUBTRACT)),
    (r"(?:add|include|plus|union with|unite with|merge(?: it)? with|join(?: it)? with|combine(?: it)? with|also) (?P<x>.+?)(?: to it| too| as well)?", _combine(Operation.UNION)),
    (r"(?:copy|replace(?: it)? (?:with|by)) (?P<x>.+)", _combine(Operation.COPY)),
    (rf"{_REMOVE} (?P<x>(?!.*\b(?:slices?|pieces?|islands?)\b).+)", _combine(Operation.SUBTRACT)),
    # The rest
    (r"(?:set (?:the )?)?threshold(?: to| of| at|:)? ?(?P<n>\d*[.,]?\d+)", _recut),
    (r"(?P<m>more|less) (?:sensitive|inclusive|generous)|(?:be )?(?P<k>stricter|more specific|looser)", lambda f: Recut(None, f["m"] == "more" or f["k"] == "looser")),
    (r"(?:re)?(?:name|call|label)(?: (?:it|this|the segment))?(?: (?:to|as))? (?P<x>[\w][\w ()-]{0,60})", lambda f: Rename(f["x"])),
    (r"(?:how (?:big|large|much)(?: is (?:it|this|the segment))?|what(?:'s| is) (?:the|its) (?:volume|size)|measure(?: it)?|volume|size)", lambda f: Measure()),
)  # fmt: skip


def _names_intensity(words: str) -> bool:
    return bool(re.search(_INTENSITY, words)) or bool(re.search(r"-\d", words))


class _Renamed:
    """A match whose group ``y`` stands in for ``x``."""

    def __init__(self, found: Match[str]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> str:
        return str(self._found["x"] if self._found["x"] is not None else self._found["y"])


def _renamed(found: Match[str]) -> Match[str]:
    return _Renamed(found)  # type: ignore[return-value]
