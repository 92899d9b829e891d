"""The table of a cohort: one row for each case and concept, and one for each case that failed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.io.atomic_write import atomic_write

from .doubt import Doubt
from .records import CaseRecord

if TYPE_CHECKING:
    from .review import Review

TABLE = "table.csv"

COLUMNS = (
    *("case", "status", "concept", "found", "score", "volume_ml", "voxels", "objects", "first_slice", "last_slice"),
    *("mean_intensity", "cut_off", "doubt", "doubt_reasons", "model", "messages"),
    *("review", "review_remark", "review_time", "corrected_file"),
)


def write_table(
    path: Path,
    records: Sequence[CaseRecord],
    doubts: Mapping[tuple[str, str], Doubt],
    reviews: Mapping[str, Review] | None = None,
) -> None:
    """Write the table as CSV, UTF-8 with commas, whole.

    Args:
        reviews: by case what a person said of it.

    Raises:
        InputError: the disk failed.
    """
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for record in records:
            review = (reviews or {}).get(record.case)
            said: dict[str, object] = {}
            if review is not None:
                said = {"review": review.status.value, "review_remark": review.remark}
                said |= {"review_time": review.time, "corrected_file": review.file}
            writer.writerows({**row, **said} for row in _rows(record, doubts))


def _rows(record: CaseRecord, doubts: Mapping[tuple[str, str], Doubt]) -> list[dict[str, object]]:
    if record.failure:
        return [{"case": record.case, "status": "failed", "doubt": 1, "messages": record.failure}]
    rows: list[dict[str, object]] = []
    for row in record.concepts:
        doubt = doubts.get((record.case, row.concept), Doubt())
        first, last = row.slices or ("", "")
        rows.append(
            {
                "case": record.case,
                "status": "done",
                "concept": row.concept,
                "found": "yes" if row.found else "no",
                "score": f"{row.score:.4f}",
                "volume_ml": "" if row.volume_ml is None else f"{row.volume_ml:.3f}",
                "voxels": row.voxels,
                "objects": row.objects,
                "first_slice": first,
                "last_slice": last,
                "mean_intensity": "" if row.mean_intensity is None else f"{row.mean_intensity:.5g}",
                "cut_off": "yes" if row.is_cut_off else "no",
                "doubt": f"{doubt.value:.3f}",
                "doubt_reasons": "; ".join(doubt.reasons),
                "model": record.model,
                "messages": " ".join((*record.messages, *row.messages)),
            }
        )
    return rows
