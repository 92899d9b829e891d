"""A run's tables, with what was measured and how, as Markdown and as an HTML page, from its summary."""

from __future__ import annotations

import html
from collections.abc import Sequence

from MedSAM3SegmentLib.units import format_count

from .tables import Summary, tables_of


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
        f"{format_count(split['cases'], 'case')}: {split['description']}; SHA-256 of the split {split['sha256'][:16]}.",
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


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
