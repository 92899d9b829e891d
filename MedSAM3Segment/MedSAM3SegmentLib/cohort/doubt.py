"""How much a person should doubt a result, from what is known without the truth: 0 for none, 1 for the most.

None of this is a probability. It only sorts, so that a person looks first where it is most likely needed: at scores
near the threshold, at volumes that are far from those of the other cases, at what is missing where the others have it,
and at what is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .records import CaseRecord, ConceptRow

#: Cases with a volume of a concept from which on one can be unusual among them.
_FEWEST_VOLUMES = 5

#: Median absolute deviations of the logarithm of the volume up to which a volume is usual, and from which the doubt is
#: full: 3.5 is the limit that Iglewicz and Hoaglin recommend for outliers (How to Detect and Handle Outliers, 1993).
_USUAL, _FULL = 3.5, 10.0

#: The least spread of volumes that is assumed, as a factor: organs of healthy people differ by as much.
_LEAST_FACTOR = 1.15

#: A MAD is this many standard deviations of a normal distribution.
_MAD_OF_SD = 0.6745

#: Share of the cases that show a concept from which on it is missed where it is not found.
_USUALLY_FOUND = 0.8

#: Doubt of what is not found although nearly all others show it, and of what is cut off.
_MISSED, _CUT_OFF = 0.7, 0.3

#: From here on a reason is worth telling.
_TOLD = 0.3


@dataclass(frozen=True)
class Doubt:
    """Of one concept of one case, or of a whole case.

    Attributes:
        value: 0 to 1.
        reasons: in a few words each, the weightiest first.
    """

    value: float = 0.0
    reasons: tuple[str, ...] = ()


def doubts_of(records: Iterable[CaseRecord]) -> dict[tuple[str, str], Doubt]:
    """The doubt of each concept of each case, and under the concept "" that of the whole case: the most of them."""
    records = list(records)
    volumes: dict[str, list[float]] = {}
    looked_for: dict[str, int] = {}
    for record in records:
        for row in record.concepts:
            looked_for[row.concept] = looked_for.get(row.concept, 0) + 1
            if row.found:
                volumes.setdefault(row.concept, []).append(_size(row))
    spreads = {concept: _spread(sizes) for concept, sizes in volumes.items() if len(sizes) >= _FEWEST_VOLUMES}
    shares = {concept: len(volumes.get(concept, [])) / count for concept, count in looked_for.items()}
    found: dict[tuple[str, str], Doubt] = {}
    for record in records:
        if record.failure:
            found[record.case, ""] = Doubt(1.0, ("failed",))
            continue
        of_rows = [_doubt_of(row, spreads, shares, looked_for[row.concept]) for row in record.concepts]
        found |= {(record.case, row.concept): doubt for row, doubt in zip(record.concepts, of_rows, strict=True)}
        found[record.case, ""] = _worst(record.concepts, of_rows)
    return found


def _doubt_of(
    row: ConceptRow, spreads: Mapping[str, tuple[float, float]], shares: Mapping[str, float], count: int
) -> Doubt:
    parts: list[tuple[float, str]] = []
    if row.found:
        room = max(1 - row.threshold, 1e-6)
        parts.append((_within(1 - (row.score - row.threshold) / room), f"score {row.score:.2f} is near the threshold"))
        if row.concept in spreads:
            middle, spread = spreads[row.concept]
            distance = (np.log(_size(row)) - middle) / spread
            times = float(np.exp(np.log(_size(row)) - middle))
            factor = f"{times:.1f} times" if times >= 1 else f"1/{1 / times:.0f} of"
            share = _within((abs(distance) - _USUAL) / (_FULL - _USUAL))
            if abs(distance) > _USUAL:
                parts.append((0.5 + share / 2, f"volume is {factor} the median"))
        if row.is_cut_off:
            parts.append((_CUT_OFF, "cut off"))
    else:
        limit = max(row.threshold, 1e-6)
        parts.append((_within(row.score / limit) ** 2, f"not found, best score {row.score:.2f}"))
        if count >= _FEWEST_VOLUMES and shares[row.concept] >= _USUALLY_FOUND:
            parts.append((_MISSED, f"not found, but in {shares[row.concept]:.0%} of the cases"))
    parts.sort(key=lambda part: part[0], reverse=True)
    value = max((part for part, _ in parts), default=0.0)
    return Doubt(round(value, 3), tuple(reason for part, reason in parts if part >= _TOLD))


def _worst(rows: Sequence[ConceptRow], doubts: Sequence[Doubt]) -> Doubt:
    named = sorted(zip(doubts, rows, strict=True), key=lambda pair: pair[0].value, reverse=True)
    reasons = tuple(f"{row.concept}: {reason}" for doubt, row in named for reason in doubt.reasons)
    return Doubt(max((doubt.value for doubt in doubts), default=0.0), reasons)


def _size(row: ConceptRow) -> float:
    return max(row.volume_ml if row.volume_ml is not None else float(row.voxels), 1e-6)


def _spread(sizes: Sequence[float]) -> tuple[float, float]:
    """Median and spread (a standard deviation, were they normal) of the logarithm of sizes."""
    logarithms = np.log(sizes)
    middle = float(np.median(logarithms))
    deviation = float(np.median(np.abs(logarithms - middle))) / _MAD_OF_SD
    return middle, max(deviation, float(np.log(_LEAST_FACTOR)))


def _within(value: float) -> float:
    return float(min(max(value, 0.0), 1.0))
