"""The patterns of the command grammar: what a clause may look like, and the builder of its command; the first fits.

Long lines on purpose: one pattern, one line.
"""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from .builders import (
    INTENSITY,
    ORDINALS,
    PARTS,
    build_before_after,
    build_beyond,
    build_combine,
    build_grow,
    build_hollow,
    build_intensity_limit,
    build_intensity_range,
    build_part,
    build_recut,
    build_remove_small,
    build_select,
    build_shrink,
    build_signed_margin,
    build_slice_range,
    build_smooth,
    names_intensity,
    object_count,
)
from .commands import (
    Combine,
    Command,
    FillHoles,
    KeepLargest,
    Measure,
    Operation,
    Recut,
    RemoveSmall,
    Rename,
    SmoothingMethod,
    SplitObjects,
)

_PIECE = r"(?:pieces?|islands?|parts?|components?|objects?|blobs?|fragments?|regions?|bits?|specks?|segments?|ones?)"
_KEEP = r"(?:keep|retain|preserve|leave|take|use|select|i want|show)(?: only| just)?"
_REMOVE = r"(?:remove|delete|drop|discard|erase|get rid of|throw away|clean up|clear away|cut (?:off|away|out)|eliminate|kill|strip)"
_ONLY = rf"(?:(?:only )?{_KEEP}|only|just)"


_SIDE_OR_PART = "left|right|" + "|".join(PARTS)
_HALF = r"(?:-?(?:most|hand))?(?: (?:part|half|side|piece|one|portion|object|lobe|end)s?)?"
_IT = r"(?: (?:it|this|that|the (?:segment|mask|contour|result|outline|surface|segmentation)|everything|all|them))?"
_BY = rf"{_IT}(?: (?:by|with|of|to|using|a bit|slightly|a little|about|around|outwards?|inwards?))*(?: (?:a |an )?(?:margin|kernel|radius|size)(?: of)?)?"
_LENGTH = r" ?(?P<n>[-+]?\d+(?:[.,]\d+)?) ?-?(?P<u>mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?)?"
_LENGTH_REMARK = r"(?: (?:kernel|margin|radius|more|all around|in all directions|everywhere|outwards?|inwards?))*"
_N_U = rf"(?:{_LENGTH})?{_LENGTH_REMARK}"
_NEED_N_U = rf"(?:{_LENGTH}){_LENGTH_REMARK}"
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


PATTERNS = _compiled(
    # Islands
    (rf"(?:{_ONLY}|{_REMOVE} (?:everything|all|anything)(?: (?:but|except|other than))) (?:the )?(?:(?P<n>\d+|one|two|three|four|five|six) )?(?:largest|biggest|main|major)(?: (?:connected|single))?(?: (?:{_PIECE}|island|component))?(?: only)?", lambda f: KeepLargest(object_count(f["n"]))),
    (rf"(?:the )?(?:(?P<n>\d+|one|two|three|four|five|six) )?(?:largest|biggest)(?: connected)?(?: {_PIECE})?(?: only)?", lambda f: KeepLargest(object_count(f["n"]))),
    (rf"{_REMOVE} (?:all |the |any )?(?:other|remaining) {_PIECE}", lambda _: KeepLargest()),
    (rf"{_REMOVE} (?:all |the |any )?(?:{_SMALL} )?{_PIECE}(?: (?:that are )?(?:below|under|smaller than|less than|fewer than|<)) (?P<n>\d+(?:[.,]\d+)?) ?(?P<u>voxels?|vox|ml|millilit(?:er|re)s?|cc|mm3|mm\^3|cubic millimet(?:er|re)s?|cm3)?", build_remove_small),
    (rf"{_REMOVE} (?:all |the |any )?{_SMALL} {_PIECE}{_BELOW}", build_remove_small),
    (rf"{_REMOVE} (?:all |the |any )?(?:specks?|fragments?|noise|islands)(?P<n>)(?P<u>)", lambda _: RemoveSmall()),
    (rf"{_KEEP} (?:only )?(?:the )?{_PIECE} (?:number |no\.? |#)?(?P<n>\d+|one|two|three|four|five|six)(?: only)?", build_select(True)),
    (rf"{_REMOVE} (?:the )?{_PIECE} (?:number |no\.? |#)?(?P<n>\d+|one|two|three|four|five|six)", build_select(False)),
    (rf"{_ONLY} (?:only )?(?:the )?(?P<n>{'|'.join(ORDINALS)})(?: largest)? {_PIECE}", build_select(True)),
    (rf"{_REMOVE} (?:the )?(?P<n>{'|'.join(ORDINALS)})(?: largest)? {_PIECE}", build_select(False)),
    (rf"(?:split|separate|divide|break)(?: (?:it|this|the segment|them))?(?: up)?(?: (?:in|into|to|by|the))*(?: (?:its|single|separate|individual|connected|different|own))*(?: {_PIECE})?", lambda _: SplitObjects()),
    # Smoothing
    (rf"(?:gaussian|blur)(?: (?:smooth(?:ing)?|filter|blur))?{_BY}{_N_U}", build_smooth(SmoothingMethod.GAUSSIAN)),
    (rf"smooth(?:en)?{_IT} (?:with|by|using) (?:a )?gaussian(?: filter)?(?: of)?{_N_U}", build_smooth(SmoothingMethod.GAUSSIAN)),
    (rf"smooth(?:en|ing)?{_IT} ?(?:with|by|using)? ?(?:a )?(?:median)(?: filter)?(?: of)?{_N_U}", build_smooth(SmoothingMethod.MEDIAN)),
    (rf"(?:smooth(?:en|ing)?|median(?: filter| smooth(?:ing)?)?|make{_IT} smoother|smoother){_BY}{_N_U}", build_smooth(SmoothingMethod.MEDIAN)),
    (rf"(?:(?:morphological )?open(?:ing)?|{_REMOVE} (?:the |any |all )?(?:spikes?|extrusions?|protrusions?|thin (?:bridges|connections|parts)|bridges|spurs?)){_BY}{_N_U}", build_smooth(SmoothingMethod.OPENING)),
    (rf"(?:(?:morphological )?clos(?:e|ing)(?: (?:the |any |all |small )*(?:gaps?|cracks?|notches|dents))?|bridge (?:the )?gaps|fill (?:the |any |all |small )*(?:gaps?|cracks?|notches|dents)){_BY}{_N_U}", build_smooth(SmoothingMethod.CLOSING)),
    (r"(?:fill|close|plug|remove)(?: (?:in|up))?(?: (?:the|any|all|its|internal|inner))* holes?(?P<s> (?:on|in) (?:each|every) slice| per slice| slice by slice| in 2d)?(?: in 3d)?", lambda f: FillHoles(f["s"] is not None)),
    # Hollow
    (rf"(?:make{_IT}|turn{_IT} into|convert{_IT} (?:to|into)|create|leave|keep|only|as)(?: only)?(?: a| an)?(?: (?:hollow|thin))?(?: ?(?P<n>\d+(?:[.,]\d+)?) ?-?(?P<u>mm|millimet(?:er|re)s?|cm)?(?: thick)?)? ?(?:shell|wall|rim|rind|crust|hollow)(?: (?:inwards?|outwards?|inside|outside|around it|medial))?", build_hollow),
    (rf"(?:make{_IT}|turn{_IT} into|convert{_IT} (?:to|into)|create|leave|keep)(?: a| an)?(?: thin)? ?(?:shell|wall|rim|hollow|rind)(?: (?:of|with|inwards?|outwards?|inside|outside|thickness|around it|a))* ?(?P<n>\d+(?:[.,]\d+)?) ?(?P<u>mm|millimet(?:er|re)s?|cm)?(?: (?:thick(?:ness)?|wide|inwards?|outwards?|inside|outside))*", build_hollow),
    (rf"(?:hollow|shell)(?: out)?(?: (?:it|this|the segment))?(?: out)?(?: (?:by|of|with|to|inwards?|outwards?|inside|outside|medial|a|shell|wall))*{_N_U}(?: (?:thick|shell|wall|inside|outside))*", build_hollow),
    # Margin
    (rf"(?:shrink|erode|tighten|contract|deflate|trim|peel|thin|make{_IT} (?:smaller|thinner|tighter)|smaller|tighter|thinner|reduce|decrease|move{_IT} in){_BY}{_N_U}", build_shrink),
    (rf"(?:{_REMOVE}|take) {_NEED_N_U} ?(?:from|off|of)(?: (?:the|its))? (?:edge|border|surface|outside|margin)s?", build_shrink),
    (rf"(?:grow|expand|dilate|enlarge|extend|inflate|thicken|widen|fatten|make{_IT} (?:bigger|larger|thicker|wider)|bigger|larger|wider|increase|pad|move{_IT} out){_BY}{_N_U}", build_grow),
    (rf"(?:add|apply|put|with|use)(?: a| an)?(?: safety)?{_NEED_N_U}(?: (?:safety )?margin)(?: around(?: it)?)?", build_grow),
    (rf"(?:add|apply|put|with|use)(?: a| an)?(?: safety)? margin of{_NEED_N_U}(?: around(?: it)?)?", build_grow),
    (rf"margin{_NEED_N_U}", build_signed_margin),
    # Slices
    (rf"(?:nothing|no voxels?|cut(?: off)?{_IT}|{_REMOVE}(?: {_ELSE})?|clear(?: {_ELSE})?|stop) {_DIRECTION} (?:slice (?P<n>\d+)|(?P<x>(?!-?\d)[\w' -]+?))", build_beyond(False)),
    (rf"{_ONLY}(?: {_ELSE})? {_DIRECTION} (?:slice (?P<n>\d+)|(?P<x>(?!-?\d)[\w' -]+?))", build_beyond(True)),
    (rf"(?:nothing|{_REMOVE}(?: {_ELSE})?|{_REMOVE} (?:all )?slices) (?P<d>before|after) slice (?P<n>\d+)", build_before_after),
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to|crop{_IT} to)(?: the)?(?: {_ELSE} (?:on|in|between))? ?slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:|\.\.) ?(?:slice )?(?P<b>\d+))?(?: only)?", build_slice_range(True)),
    (r"(?:between )?slices? (?P<a>\d+) ?(?:to|-|through|until|and) ?(?P<b>\d+) only", build_slice_range(True)),
    (rf"{_REMOVE}(?: {_ELSE} (?:on|in|between|from))?(?: the)? slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:) ?(?:slice )?(?P<b>\d+))?", build_slice_range(False)),
    (r"clear slices? (?P<a>\d+)(?: ?(?:to|-|through|until|and|:) ?(?P<b>\d+))?", build_slice_range(False)),
    # Intensity
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to)?(?: {_ELSE})? ?(?:where )?(?:with )?(?:{INTENSITY} )?(?:of |from |in |range |is )?(?:between )?(?P<a>-?\d+(?:[.,]\d+)?)(?: hu)? ?(?:to|and|\.\.|-) ?(?P<b>-?\d+(?:[.,]\d+)?)(?: (?:hu|{INTENSITY}))?", lambda f: build_intensity_range(True)(f) if names_intensity(f.group(0)) else None),
    (rf"{_REMOVE}(?: {_ELSE})? ?(?:with )?(?:{INTENSITY} )?(?:of |from )?(?:between )?(?P<a>-?\d+(?:[.,]\d+)?)(?: hu)? ?(?:to|and|-) ?(?P<b>-?\d+(?:[.,]\d+)?)(?: {INTENSITY})?", lambda f: build_intensity_range(False)(f) if names_intensity(f.group(0)) else None),
    (rf"(?:{_ONLY}|limit{_IT} to|restrict{_IT} to)?(?: {_ELSE})? ?(?:where )?(?:with )?(?:{INTENSITY} )?(?:is |are )?{_COMPARE} ?(?P<a>-?\d+(?:[.,]\d+)?)(?: (?:hu|{INTENSITY}))?", build_intensity_limit(True)),
    (rf"(?:nothing|{_REMOVE}(?: {_ELSE})?) ?(?:where )?(?:with )?(?:{INTENSITY} )?(?:is |are )?{_COMPARE} ?(?P<a>-?\d+(?:[.,]\d+)?)(?: {INTENSITY})?", build_intensity_limit(False)),
    # Sides and parts
    (rf"(?:{_ONLY} )?(?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}(?: only)?", build_part(True)),
    (rf"{_ONLY}(?: {_ELSE})?(?: (?:on|in|at|to))* (?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}(?: only)?", build_part(True)),
    (rf"{_REMOVE}(?: {_ELSE})?(?: (?:on|in|at))? (?:the )?(?P<p>{_SIDE_OR_PART}){_HALF}", build_part(False)),
    (r"(?:be |make it )?(?P<m>more|less) (?:sensitive|inclusive|generous)|(?:be )?(?P<k>stricter|more specific|looser)", lambda f: Recut(None, f["m"] == "more" or f["k"] == "looser")),
    # Logical operators
    (r"(?:invert|flip|negate|complement)(?: (?:it|this|the segment|the mask|selection))?|take the complement", lambda _: Combine(Operation.INVERT)),
    (r"(?:clear|empty|erase|wipe)(?: (?:it|everything|all|this|the segment|the mask))?|(?:remove|delete) (?:everything|all|it all)", lambda _: Combine(Operation.CLEAR)),
    (rf"(?:{_REMOVE}|subtract|exclude)(?: {_ELSE})? (?:outside(?: of)?|not in|beyond|out of) (?P<x>.+)", build_combine(Operation.INTERSECT)),
    (r"(?:nothing) (?:outside(?: of)?) (?P<x>.+)", build_combine(Operation.INTERSECT)),
    (rf"(?:{_REMOVE}|subtract|exclude)(?: {_ELSE}| the part| parts?| the overlap)? (?:in|inside(?: of)?|within|overlapping(?: with)?|that overlaps(?: with)?|with) (?P<x>.+)", build_combine(Operation.SUBTRACT)),
    (rf"(?:{_ONLY}|limit{_IT}|restrict{_IT}|clip{_IT}|crop{_IT}|mask{_IT}|confine{_IT})(?: {_ELSE}| the part| parts?)? (?:that (?:is|are) )?(?:to|in|inside(?: of)?|within|by|with|overlapping) (?P<x>.+?)(?: only)?", build_combine(Operation.INTERSECT)),
    (r"(?:inside(?: of)?|within) (?P<x>.+?)(?: only)?", build_combine(Operation.INTERSECT)),
    (r"(?:intersect|intersection)(?: (?:it|this))?(?: with)? (?P<x>.+)", build_combine(Operation.INTERSECT)),
    (r"(?:without|minus|subtract|exclude|less|but not|except|not) (?P<x>.+?)(?: from it)?", build_combine(Operation.SUBTRACT)),
    (r"nothing (?:in|inside(?: of)?|within) (?P<x>.+)", build_combine(Operation.SUBTRACT)),
    (r"(?:add|include|plus|union with|unite with|merge(?: it)? with|join(?: it)? with|combine(?: it)? with|also) (?P<x>.+?)(?: to it| too| as well)?", build_combine(Operation.UNION)),
    (r"(?:copy|replace(?: it)? (?:with|by)) (?P<x>.+)", build_combine(Operation.COPY)),
    (rf"{_REMOVE} (?P<x>(?!.*\b(?:slices?|pieces?|islands?)\b).+)", build_combine(Operation.SUBTRACT)),
    # The rest
    (r"(?:set (?:the )?)?threshold(?: to| of| at|:)? ?(?P<n>\d*[.,]?\d+)", build_recut),
    (r"(?:re)?(?:name|call|label)(?: (?:it|this|the segment))?(?: (?:to|as))? (?P<x>[\w][\w ()-]{0,60})", lambda f: Rename(f["x"])),
    (r"(?:how (?:big|large|much)(?: is (?:it|this|the segment))?|what(?:'s| is) (?:the|its) (?:volume|size)|measure(?: it)?|volume|size)", lambda _: Measure()),
)
