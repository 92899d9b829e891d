"""The overview of a cohort: one HTML page with a picture of each case, the most doubtful first.

It needs no network and holds no script but its own. All that somebody typed is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from MedSAM3SegmentLib.io.atomic_write import atomic_write
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.units import format_count, format_milliliters

from .doubt import Doubt
from .records import THUMBNAILS, CaseRecord, ConceptRow

OVERVIEW = "overview.html"

#: Doubts from which on a case is marked.
_MUCH, _SOME = 0.6, 0.3


@dataclass(frozen=True)
class Heading:
    """What the page says of the whole run.

    Attributes:
        concepts: that were asked for, with their colors as ``#rrggbb``.
        model: its name.
        is_demo: whether it was the demo model.
        settings: in words, such as plane and threshold.
        created: date and time.
    """

    concepts: Mapping[str, str]
    model: str
    is_demo: bool
    settings: Sequence[str]
    created: str


def write_overview(
    path: Path, heading: Heading, records: Sequence[CaseRecord], doubts: Mapping[tuple[str, str], Doubt]
) -> None:
    """Write the page, whole.

    Raises:
        InputError: the disk failed.
    """
    template = resource_path("cohort-overview.html").read_text(encoding="utf-8")
    done = [record for record in records if not record.failure]
    failed = [record for record in records if record.failure]
    done.sort(key=lambda record: (-doubts[record.case, ""].value, record.case))
    parts = {
        "title": f"{len(done)} cases" + (f", {len(failed)} failed" if failed else ""),
        "summary": _summary(heading, done, doubts),
        "demo": _DEMO if heading.is_demo else "",
        "concepts": "".join(_concept_row(name, color, done) for name, color in heading.concepts.items()),
        "choices": "".join(f"<option>{escape(name)}</option>" for name in heading.concepts),
        "cases": "".join(_card(record, doubts, heading.concepts) for record in done),
        "failed": _failures(failed),
    }
    for name, text in parts.items():
        template = template.replace(f"<!--{name}-->", text)
    with atomic_write(path) as draft:
        draft.write_text(template, encoding="utf-8")


_DEMO = '<p class="warning">DEMO MODEL: trained on synthetic pictures; this says nothing about a real patient.</p>'


def _summary(heading: Heading, done: Sequence[CaseRecord], doubts: Mapping[tuple[str, str], Doubt]) -> str:
    much = sum(doubts[record.case, ""].value >= _MUCH for record in done)
    words = [
        f"{much} to look at first",
        *heading.settings,
        f"model {heading.model}",
        heading.created,
    ]
    return " · ".join(escape(word) for word in words)


def _concept_row(name: str, color: str, done: Sequence[CaseRecord]) -> str:
    rows = [row for record in done for row in record.concepts if row.concept == name]
    found = [row for row in rows if row.found]
    sizes = sorted(row.volume_ml for row in found if row.volume_ml is not None)
    median = format_milliliters(1000 * sizes[len(sizes) // 2]) if sizes else ""
    between = f"{format_milliliters(1000 * sizes[0])} to {format_milliliters(1000 * sizes[-1])}" if sizes else ""
    return (
        f'<tr><td><span class="swatch" style="background:{color}"></span>{escape(name)}</td>'
        f"<td>{len(found)} of {len(rows)}</td><td>{median}</td><td>{between}</td></tr>"
    )


def _card(record: CaseRecord, doubts: Mapping[tuple[str, str], Doubt], colors: Mapping[str, str]) -> str:
    doubt = doubts[record.case, ""]
    grade = "much" if doubt.value >= _MUCH else "some" if doubt.value >= _SOME else "little"
    rows = "".join(_row(row, doubts.get((record.case, row.concept), Doubt()), colors) for row in record.concepts)
    sentences = [*record.messages, *(f"{row.concept}: {said}" for row in record.concepts for said in row.messages)]
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in dict.fromkeys(sentences))
    more = (
        f"<details><summary>{format_count(len(dict.fromkeys(sentences)), 'remark')}</summary><ul>{notes}</ul></details>"
    )
    segmentation = next(iter(record.files), "")
    case = escape(record.case)
    return (
        f'<article class="{grade}" data-case="{case}" data-doubt="{doubt.value}">'
        f'<a href="{escape(segmentation)}"><img loading="lazy" width="320" height="320" alt="{case}" '
        f'src="{THUMBNAILS}/{case}.png"></a>'
        f'<div class="body"><h2>{case}<span class="doubt" title="doubt, 0 to 1">{doubt.value:.2f}</span></h2>'
        f"<table>{rows}</table>{more if notes else ''}</div></article>"
    )


def _row(row: ConceptRow, doubt: Doubt, colors: Mapping[str, str]) -> str:
    color = colors.get(row.concept, "#888888")
    if row.found:
        size = f"{row.voxels} px" if row.volume_ml is None else format_milliliters(1000 * row.volume_ml)
        amount = ("≥ " if row.is_cut_off else "") + size
    else:
        amount = "not found"
    reasons = f'<tr class="why"><td colspan="3">{escape("; ".join(doubt.reasons))}</td></tr>' if doubt.reasons else ""
    swatch = "swatch" if row.found else "swatch empty"
    return (
        f'<tr data-concept="{escape(row.concept)}" data-doubt="{doubt.value}" data-found="{int(row.found)}" '
        f'data-volume="{row.volume_ml or 0}">'
        f'<td><span class="{swatch}" style="background:{color if row.found else "none"};'
        f'border-color:{color}"></span>{escape(row.concept)}</td>'
        f'<td class="number">{amount}</td><td class="number score">{row.score:.2f}</td></tr>{reasons}'
    )


def _failures(failed: Sequence[CaseRecord]) -> str:
    if not failed:
        return ""
    rows = "".join(f"<tr><td>{escape(one.case)}</td><td>{escape(one.failure)}</td></tr>" for one in failed)
    return f'<section class="failed"><h2>{format_count(len(failed), "case")} failed</h2><table>{rows}</table></section>'
