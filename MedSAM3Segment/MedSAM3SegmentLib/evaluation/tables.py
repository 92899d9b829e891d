"""The tables of a run, from its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table with a head of its own; cells are plain text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables_of(summary: Summary) -> list[Table]:
    """All tables of a summary; the first has words and words with an oracle box in columns of their own."""
    results: Sequence[Summary] = summary["results"]
    tables = [_dice_table(results)]
    if summary["together"]:
        tables.append(_together_table(summary["together"]))
    for pair in dict.fromkeys((entry["prompt"], entry["other"]) for entry in summary["methods_compared"]):
        some = [entry for entry in summary["methods_compared"] if (entry["prompt"], entry["other"]) == pair]
        tables.append(_comparison_table(f"{pair[0]} against {pair[1]}", some))
        tables.append(_gain_table(some, f"Gain of {pair[0]} by quality of {pair[1]}, in thirds"))
    tables += [Table(**table) for table in summary["further_tables"]]
    tables += [_measure_table(results, summary["rules"]), _presence_table(results)]
    filmed = [entry for entry in results if entry["video"]]
    if filmed:
        tables.append(_video_table(filmed))
    measured = [entry for entry in summary["together"] or results if entry["measured"]]
    if measured:
        tables.append(_measured_table(measured))
    with_objects = [entry for entry in results if entry["cgf1"]]
    if with_objects:
        tables.append(_object_table(with_objects))
    grouped = [entry for entry in results if entry.get("groups")]
    if grouped:
        tables.append(_group_table(grouped))
    if summary["published"]:
        tables.append(_published_table(summary["published"]))
    if summary["words_against_boxes"]:
        tables.append(
            _comparison_table("Words alone (T) against words and oracle box (T+I)", summary["words_against_boxes"])
        )
    if summary["against_baseline"]:
        tables.append(_comparison_table("Against the baseline", summary["against_baseline"]))
        tables.append(_gain_table(summary["against_baseline"]))
    return tables


def _dice_table(results: Sequence[Summary]) -> Table:
    kinds = list(dict.fromkeys(entry["prompt"] for entry in results))
    names = {"": "Dice", "T": "Dice T", "T+I": "Dice T+I (oracle box)"}
    asked = list(dict.fromkeys((entry["concept"], entry["phrase"]) for entry in results))
    by_key = {(entry["concept"], entry["phrase"], entry["prompt"]): entry for entry in results}
    rows = []
    for concept, phrase in asked:
        entries = [by_key.get((concept, phrase, kind)) for kind in kinds]
        counts = [_count(entry) for entry in entries if entry]
        rows.append(
            [concept, phrase, " / ".join(dict.fromkeys(counts))]
            + [_interval(entry["dice"]) if entry else "" for entry in entries]
        )
    if len({concept for concept, _ in asked}) > 1:
        rows += _means_over_concepts(results, kinds)
    return Table("Dice", ["concept", "phrase", "cases", *(names.get(k, f"Dice {k}") for k in kinds)], rows)


def _means_over_concepts(results: Sequence[Summary], kinds: Sequence[str]) -> list[list[str]]:
    """The mean of the concepts' means, where each concept was asked for with one phrase."""
    cells = []
    for kind in kinds:
        some = [entry for entry in results if entry["prompt"] == kind]
        means = [entry["dice"]["mean"] for entry in some if entry["dice"]]
        is_single = len({entry["concept"] for entry in some}) == len(some)
        cells.append(_number(sum(means) / len(means)) if means and is_single else "")
    return [["mean of concepts", "", "", *cells]] if any(cells) else []


def _measure_table(results: Sequence[Summary], rules: Summary) -> Table:
    has_objects = any(entry["pq"] for entry in results)
    unit = f"HD95 ({'/'.join(rules['distance_units'])})"
    columns = ["concept", "prompt", "IoU", "NSD", unit, "HD95 undefined", "Dice pooled", "Dice, mean of units"]
    columns += ["PQ", "AP 0.5:0.95", "AP 0.5"] if has_objects else []
    rows = []
    for entry in results:
        row = [entry["concept"], _asked(entry), *(_interval(entry[name]) for name in ("iou", "nsd", "hd95"))]
        row += [str(entry["hd95_undefined"]) if rules["tolerance"] is not None else ""]
        row += [_number(entry["dice_pooled"]), _number(entry["dice_mean_of_units"])]
        rows.append(row + ([_interval(entry[name]) for name in ("pq", "ap", "ap50")] if has_objects else []))
    return Table("Other measures", columns, rows)


def _presence_table(results: Sequence[Summary]) -> Table:
    rows = [
        [
            entry["concept"],
            _asked(entry),
            f"{_percent(entry['found_rate'])} of {entry['with_reference']}",
            f"{_percent(entry['false_found_rate'])} of {entry['without_reference']}",
        ]
        for entry in results
    ]
    return Table("Presence", ["concept", "prompt", "found where present", "found where absent (false)"], rows)


def _together_table(together: Sequence[Summary]) -> Table:
    rows = [
        [
            entry["concept"],
            _asked(entry),
            _count(entry),
            _interval(entry["dice"]),
            f"{_percent(entry['found_rate'])} of {entry['with_reference']}",
            f"{_percent(entry['false_found_rate'])} of {entry['without_reference']}",
        ]
        for entry in together
    ]
    columns = ["concepts", "prompt", "cases", "Dice", "found where present", "found where absent (false)"]
    return Table("Concepts together", columns, rows)


def _video_table(results: Sequence[Summary]) -> Table:
    rows = [
        [entry["concept"], _asked(entry), str(entry["video"]["films"]), str(entry["video"]["frames"])]
        + [_interval(entry["video"][name]) for name in ("j", "f", "j_and_f")]
        for entry in results
    ]
    columns = ["concept", "prompt", "films", "frames", "J", "F", "J&F"]
    return Table("Films: mean over frames, then over films", columns, rows)


def _measured_table(results: Sequence[Summary]) -> Table:
    rows = [
        [entry["concept"], _asked(entry), name, str(one["count"]), *(f"{one[k]:.4g}" for k in ("sum", "mean", "most"))]
        for entry in results
        for name, one in entry["measured"].items()
    ]
    return Table("Also measured", ["concept", "prompt", "what", "cases", "sum", "mean", "most"], rows)


def _object_table(results: Sequence[Summary]) -> Table:
    names = ("positive_micro_f1", "il_mcc", "cgf1")
    rows = [[entry["concept"], _asked(entry), *(_number(entry["cgf1"][name]) for name in names)] for entry in results]
    return Table("Objects as SAM 3 counts them", ["concept", "prompt", "positive micro F1", "IL_MCC", "cgF1"], rows)


def _group_table(results: Sequence[Summary]) -> Table:
    rows = [
        [entry["concept"], _asked(entry), group, str(part["cases"]), _interval(part["dice"])]
        for entry in results
        for group, part in entry["groups"].items()
    ]
    return Table("Parts of the data", ["concept", "prompt", "part", "cases", "Dice"], rows)


def _published_table(published: Sequence[Summary]) -> Table:
    rows = [[str(one["concept"]), str(one["method"]), str(one["table"]), f"{one['dice']:.4f}"] for one in published]
    return Table(
        "Published Dice, on the paper's own and undisclosed protocol", ["concept", "method", "table", "Dice"], rows
    )


def _comparison_table(title: str, compared: Sequence[Summary]) -> Table:
    rows = []
    for entry in compared:
        verdict = {True: "yes", False: "not shown", None: ""}[entry["non_inferior"]]
        p = "" if entry["wilcoxon_p"] is None else f"{entry['wilcoxon_p']:.2g}"
        rows.append(
            [
                entry["concept"],
                entry["phrase"],
                str(entry["cases"]),
                _number(entry["dice"]),
                _number(entry["dice_of_other"]),
                _interval(entry["difference"], signed=True),
                p,
                verdict,
            ]
        )
    margin = compared[0]["margin"]
    columns = ["concept", "phrase", "pairs", "Dice", "Dice of the other", "difference", "Wilcoxon p"]
    return Table(title, [*columns, f"not worse by {margin:g}"], rows)


def _gain_table(compared: Sequence[Summary], title: str = "Gain by quality of the baseline, in thirds") -> Table:
    rows = [
        [
            entry["concept"],
            entry["phrase"],
            str(third["cases"]),
            _number(third["baseline_dice"]),
            f"{third['gain']:+.3f}",
        ]
        for entry in compared
        for third in entry["gain_by_baseline"]
    ]
    return Table(title, ["concept", "phrase", "cases", "baseline Dice", "gain"], rows)


def _asked(entry: Summary) -> str:
    if not entry["prompt"]:
        return "files"
    return f"{entry['prompt']} '{entry['phrase']}'" if entry["phrase"] else str(entry["prompt"])


def _count(entry: Summary) -> str:
    return str(entry["dice"]["count"]) if entry["dice"] else "0"


def _interval(value: Summary | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    sign = "+" if signed else ""
    mean = f"{value['mean']:{sign}.3f}"
    return mean if value["low"] is None else f"{mean} ({value['low']:{sign}.3f} to {value['high']:{sign}.3f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
