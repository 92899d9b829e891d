"""The tables of a run as Markdown and HTML, from its summary."""

from __future__ import annotations

import html
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


def markdown_of(summary: Summary) -> str:
    """The tables with what was measured and how, as Markdown."""
    lines = [f"# {_escaped(summary['title'])}", ""]
    lines += [f"- {_escaped(fact)}" for fact in facts_of(summary)]
    for table in tables_of(summary):
        lines += ["", f"## {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line([_escaped(cell) for cell in row]) for row in table.rows]
    return "\n".join(lines) + "\n"


def html_of(summary: Summary, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """As ``markdown_of``, in one HTML file that loads nothing but the pictures beside it.

    Args:
        pictures: caption and relative path of each.
    """
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><meta charset="utf-8">',
        f"<title>{html.escape(summary['title'])}</title>",
        "<style>body{font:15px sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}"
        "td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}figure{display:inline-block;margin:.5em}"
        "img{max-width:22em}</style>",
        f"<h1>{html.escape(summary['title'])}</h1><ul>",
        *(f"<li>{html.escape(fact)}</li>" for fact in facts_of(summary)),
        "</ul>",
    ]
    for table in tables_of(summary):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows
        )
        parts.append(f"<h2>{html.escape(table.title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>")
    if pictures:
        parts.append("<h2>Worst, median and best cases</h2><p>Reference green, prediction magenta, both white.</p>")
    for caption, path in pictures:
        parts.append(
            f'<figure><img src="{html.escape(path, quote=True)}" alt="{html.escape(caption, quote=True)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    return "\n".join(parts) + "\n</html>\n"


def facts_of(summary: Summary) -> list[str]:
    """What was measured and how, one sentence or line each."""
    rules, split = summary["rules"], summary["split"]
    facts = [
        f"{split['cases']} cases: {split['description']}; SHA-256 of the split {split['sha256'][:16]}.",
        f"Predicted by {_predictor(summary['predictor'])}.",
        rules["empty"],
        "Intervals are 95 % bootstrap intervals over cases, or over patients or sequences where they are known.",
    ]
    if rules["tolerance"] is not None:
        facts.append(
            f"HD95 and NSD by {rules['surface_library']}; NSD at a tolerance of {rules['tolerance']:g}, in HD95's unit."
        )
    if any(entry["prompt"] == "T+I" for entry in summary["results"]):
        facts.append(
            "T+I is an oracle box: it is drawn around the largest part of the reference, which nobody has in practice."
        )
    return [*facts, *summary["notes"]]


def _predictor(described: Summary) -> str:
    if "model" not in described:
        return f"the files in {described.get('folder', 'a folder')}"
    model = described["model"]
    demo = " (a demo, trained on synthetic pictures, which says nothing about real ones)" if model["demo"] else ""
    threshold = described.get("threshold")
    at = "the model's own threshold" if threshold is None else f"the threshold {threshold:g}"
    if not model["sha256"]:
        return "no model: shapes and the image alone"
    study = f", study '{described['study']}'" if "study" in described else ""
    return f"{model['name']}{demo}, SHA-256 {model['sha256'][:16]}, at {at}{study}"


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


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
