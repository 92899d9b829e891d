"""Means, rates and comparisons over the rows of a run, as plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .case_row import CaseRow
from .empty_rule import EmptyRule
from .scores.cgf1 import ObjectCounts, score_cgf1
from .scores.mask_scores import Presence
from .scores.statistics import Interval, bootstrap_mean, compare_paired

#: What is averaged over cases.
MEASURES = ("dice", "iou", "nsd", "hd95", "pq", "ap", "ap50")

#: Dice that words alone may lie below words with a box and still count as not inferior.
MARGIN = 0.05


Key = tuple[str, str, str]


def summarize(rows: Iterable[CaseRow], rule: EmptyRule) -> list[dict[str, Any]]:
    """One entry for each concept and way of asking, in the order they come."""
    return [
        {"concept": concept, "prompt": prompt, "phrase": phrase, **_entry(some, rule)}
        for (concept, prompt, phrase), some in _grouped(rows).items()
    ]


def compare_runs(rows: Sequence[CaseRow], baseline: Sequence[CaseRow], rule: EmptyRule) -> list[dict[str, Any]]:
    """This run against an earlier one, for each concept and way of asking: Dice over the cases that both have.

    A way of asking that the earlier run does not have is compared with its only one, or its only one by words alone.
    """
    compared = []
    earlier = _grouped(baseline)
    for key, some in _grouped(rows).items():
        concept, prompt, phrase = key
        others = [one for one in earlier if one[0] == concept]
        by_words = [one for one in others if one[1] == "T"]
        others = by_words if len(by_words) == 1 else others
        other = key if key in earlier else (others[0] if len(others) == 1 else None)
        if other is None:
            continue
        theirs = {row.case: row for row in earlier[other]}
        pairs = [(row, theirs[row.case]) for row in some if row.case in theirs]
        entry = _paired(pairs, rule)
        if entry is not None:
            left_out = len(some) + len(theirs) - 2 * len(pairs)
            of_baseline = {"prompt": other[1], "phrase": other[2]}
            gains = _gain_by_quality(pairs, rule)
            compared.append(
                {"concept": concept, "prompt": prompt, "phrase": phrase, "baseline": of_baseline, **entry}
                | {"cases_of_one_run_alone": left_out, "gain_by_baseline": gains}
            )
    return compared


def compare_words_with_boxes(rows: Sequence[CaseRow], rule: EmptyRule) -> list[dict[str, Any]]:
    """Words alone (T) against words and an oracle box (T+I) on the same cases, with a test of non-inferiority."""
    groups = _grouped(rows)
    compared = []
    for (concept, prompt, phrase), some in groups.items():
        boxed = {row.case: row for row in groups.get((concept, "T+I", phrase), ())}
        if prompt != "T" or not boxed:
            continue
        entry = _paired([(row, boxed[row.case]) for row in some if row.case in boxed], rule)
        if entry is not None:
            compared.append({"concept": concept, "phrase": phrase, **entry})
    return compared


def summarize_together(
    rows: Sequence[CaseRow], groups: Mapping[str, Sequence[str]], rule: EmptyRule
) -> list[dict[str, Any]]:
    """One entry for each group of concepts and way of asking, over all cases of all of them.

    Args:
        groups: concepts by what they are called together.
    """
    entries = []
    for title, concepts in groups.items():
        some = [row for row in rows if row.concept in concepts]
        for prompt, phrase in dict.fromkeys((row.prompt, row.phrase) for row in some):
            chosen = [row for row in some if (row.prompt, row.phrase) == (prompt, phrase)]
            entries.append({"concept": title, "prompt": prompt, "phrase": phrase, **_entry(chosen, rule)})
    return entries


def compare_methods(
    rows: Sequence[CaseRow], pairs: Sequence[tuple[str, str]], groups: Mapping[str, Sequence[str]], rule: EmptyRule
) -> list[dict[str, Any]]:
    """Ways of asking against each other on the same cases and concepts, for each phrase.

    Args:
        pairs: the first is compared with the second.
        groups: concepts that are compared together; where there is none each concept by itself.
    """
    compared = []
    groups = groups or {row.concept: [row.concept] for row in rows}
    for first, second in pairs:
        for title, concepts in groups.items():
            some = [row for row in rows if row.concept in concepts and row.prompt in (first, second)]
            for phrase in dict.fromkeys(row.phrase for row in some):
                others = {(r.case, r.concept): r for r in some if (r.prompt, r.phrase) == (second, phrase)}
                own = [row for row in some if (row.prompt, row.phrase) == (first, phrase)]
                matched = [(row, other) for row in own if (other := others.get((row.case, row.concept)))]
                entry = _paired(matched, rule)
                if entry is not None:
                    asked = {"concept": title, "prompt": first, "other": second, "phrase": phrase}
                    compared.append({**asked, **entry, "gain_by_baseline": _gain_by_quality(matched, rule)})
    return compared


def value_of(row: CaseRow, measure: str, rule: EmptyRule) -> float | None:
    """A score under the rule for cases without a reference; None where it does not count."""
    if not row.is_present and measure in ("dice", "iou"):
        return None if rule is EmptyRule.LEFT_OUT else float(row.presence == Presence.RIGHTLY_ABSENT)
    value: float | None = getattr(row, measure)
    return value


def _entry(rows: Sequence[CaseRow], rule: EmptyRule) -> dict[str, Any]:
    present = [row for row in rows if row.is_present]
    absent = [row for row in rows if not row.is_present]
    tp, fp, fn = (sum(getattr(row, name) for row in rows) for name in ("tp", "fp", "fn"))
    entry: dict[str, Any] = {"cases": len(rows), "with_reference": len(present), "units": len({r.unit for r in rows})}
    for measure in MEASURES:
        entry[measure] = _mean(rows, measure, rule)
    entry["dice_mean_of_units"] = _mean_of_units(rows, rule)
    entry["dice_pooled"] = 2 * tp / (2 * tp + fp + fn) if tp + fn else None
    # Of films there is none to be had.
    entry["hd95_undefined"] = sum(row.hd95 is None for row in present if (row.frames or 1) == 1)
    entry["found_rate"] = _share(present, Presence.FOUND)
    entry["false_found_rate"] = _share(absent, Presence.FALSE_FOUND)
    entry["false_found"], entry["without_reference"] = _count(absent, Presence.FALSE_FOUND), len(absent)
    counts = [
        ObjectCounts(row.objects_reference, row.objects_predicted, row.object_hits)
        for row in rows
        if row.objects_reference is not None and row.objects_predicted is not None and row.object_hits is not None
    ]
    entry["video"] = _video(rows)
    entry["measured"] = _measured(rows)
    entry["cgf1"] = asdict(score_cgf1(counts)) if counts else None
    groups = list(dict.fromkeys(row.group for row in rows))
    if len(groups) > 1:
        entry["groups"] = {
            group or "others": {
                "cases": sum(row.group == group for row in rows),
                "dice": _mean([row for row in rows if row.group == group], "dice", rule),
            }
            for group in groups
        }
    return entry


def _video(rows: Sequence[CaseRow]) -> dict[str, Any] | None:
    """J, F and their mean, over the frames of each film and then over films; None where there is no film."""
    films: dict[str, list[CaseRow]] = {}
    for row in rows:
        if row.frames:
            films.setdefault(row.sequence, []).append(row)
    if not films:
        return None
    frames = [sum(row.frames or 0 for row in some) for some in films.values()]
    means = {
        name: [
            sum(getattr(row, name) * row.frames for row in some) / count
            for some, count in zip(films.values(), frames, strict=True)
        ]
        for name in ("j", "f")
    }
    means["j_and_f"] = [(j + f) / 2 for j, f in zip(means["j"], means["f"], strict=True)]
    scores = {name: _plain(bootstrap_mean(values, list(films))) for name, values in means.items()}
    return {"films": len(films), "frames": sum(frames), **scores}


def _measured(rows: Sequence[CaseRow]) -> dict[str, Any]:
    """What a study measures besides, by name."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in (row.measured or {}).items():
            values.setdefault(name, []).append(value)
    return {
        name: {"count": len(some), "sum": sum(some), "mean": sum(some) / len(some), "most": max(some)}
        for name, some in values.items()
    }


def _paired(pairs: Sequence[tuple[CaseRow, CaseRow]], rule: EmptyRule) -> dict[str, Any] | None:
    values = [(value_of(a, "dice", rule), value_of(b, "dice", rule), a.unit) for a, b in pairs]
    known = [(a, b, unit) for a, b, unit in values if a is not None and b is not None]
    if not known:
        return None
    first, second, units = zip(*known, strict=True)
    result = compare_paired(first, second, units)
    # Two that find nothing are alike, which shows nothing of either.
    is_nothing = not any(first) and not any(second)
    return {
        "cases": result.count,
        "dice": sum(first) / len(first),
        "dice_of_other": sum(second) / len(second),
        "difference": _plain(result.difference),
        "wilcoxon_p": result.p,
        "non_inferior": None if is_nothing else result.is_non_inferior(MARGIN),
        "margin": MARGIN,
    }


def _gain_by_quality(pairs: Sequence[tuple[CaseRow, CaseRow]], rule: EmptyRule) -> list[dict[str, Any]]:
    """The mean gain in thirds of the cases, ordered by how good the baseline was."""
    values = [(value_of(b, "dice", rule), value_of(a, "dice", rule), a.case) for a, b in pairs]
    known = sorted((b, name, a) for b, a, name in values if a is not None and b is not None)
    thirds = [known[len(known) * n // 3 : len(known) * (n + 1) // 3] for n in range(3)]
    return [
        {
            "cases": len(third),
            "baseline_dice": sum(b for b, _, _ in third) / len(third),
            "gain": sum(a - b for b, _, a in third) / len(third),
        }
        for third in thirds
        if third
    ]


def _mean(rows: Sequence[CaseRow], measure: str, rule: EmptyRule) -> dict[str, Any] | None:
    known = [(value_of(row, measure, rule), row.unit) for row in rows]
    values = [(value, unit) for value, unit in known if value is not None]
    if not values:
        return None
    return {"count": len(values), **_plain(bootstrap_mean([v for v, _ in values], [unit for _, unit in values]))}


def _mean_of_units(rows: Sequence[CaseRow], rule: EmptyRule) -> float | None:
    by_unit: dict[str, list[float]] = {}
    for row in rows:
        value = value_of(row, "dice", rule)
        if value is not None:
            by_unit.setdefault(row.unit, []).append(value)
    means = [sum(values) / len(values) for values in by_unit.values()]
    return sum(means) / len(means) if means else None


def _plain(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _count(rows: Sequence[CaseRow], presence: Presence) -> int:
    return sum(row.presence == presence for row in rows)


def _share(rows: Sequence[CaseRow], presence: Presence) -> float | None:
    return _count(rows, presence) / len(rows) if rows else None


def _grouped(rows: Iterable[CaseRow]) -> Mapping[Key, list[CaseRow]]:
    groups: dict[Key, list[CaseRow]] = {}
    for row in rows:
        groups.setdefault((row.concept, row.prompt, row.phrase), []).append(row)
    return groups
