"""What a person said of a case of a cohort: accepted, corrected, or flagged with a remark.

A review is a file of its own, so that a run of the cohort and a review at the same time do not take each other's
words away; the table repeats it. It is of one result: when a case is done anew, it is to be looked at anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_write

from .doubt import Doubt, doubts_of
from .records import RECORDS, SEGMENTATIONS, CaseRecord, other_records
from .table import TABLE, write_table

#: The folder of reviews in a cohort's output.
REVIEWS = "reviews"

#: What a corrected segmentation is called, beside the original.
_CORRECTED = ".corrected.seg.nrrd"


class ReviewStatus(StrEnum):
    """What a person decided."""

    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class Review:
    """Of one case.

    Attributes:
        case: its id.
        asked: of the record that was looked at.
        status: what was decided.
        remark: what the person wrote.
        file: of the corrected segmentation, below the output folder; or "".
        time: when, with the time zone.
    """

    case: str
    asked: str
    status: ReviewStatus
    remark: str = ""
    file: str = ""
    time: str = ""


@dataclass(frozen=True, eq=False)
class CohortCase:
    """A case to look at.

    Attributes:
        review: what was said of this result, or None.
    """

    record: CaseRecord
    doubt: Doubt
    review: Review | None = None


def read_cohort(output: Path) -> list[CohortCase]:
    """The cases of a cohort's output: those with a result by doubt, the most doubtful first, then those that failed.

    Raises:
        InputError: it is none.
    """
    if not (output / RECORDS).is_dir():
        raise InputError("{output} holds no results of 'medsam3 cohort'; choose its output folder.", output=output)
    records = other_records(output, ())
    if not records:
        raise InputError("{output} holds no case that is done; let 'medsam3 cohort' go on first.", output=output)
    doubts = doubts_of(records)
    cases = [CohortCase(one, doubts[one.case, ""], read_review(output, one)) for one in records]
    return sorted(cases, key=lambda case: (bool(case.record.failure), -case.doubt.value, case.record.case))


def read_review(output: Path, record: CaseRecord) -> Review | None:
    """What was said of a result; None where nothing was, or only of an earlier result."""
    try:
        plain = json.loads(_path(output, record.case).read_bytes())
        review = Review(**{**plain, "status": ReviewStatus(plain["status"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return review if (review.case, review.asked) == (record.case, record.asked) else None


def read_reviews(output: Path, records: Iterable[CaseRecord]) -> dict[str, Review]:
    """Reviews by case."""
    found = {record.case: read_review(output, record) for record in records}
    return {case: review for case, review in found.items() if review is not None}


def write_review(output: Path, record: CaseRecord, status: ReviewStatus, remark: str = "", file: str = "") -> Review:
    """Keep what a person said of a case, and bring the table up to date; each is written whole.

    Raises:
        InputError: the disk failed.
    """
    time = datetime.now().astimezone().isoformat(timespec="seconds")
    review = Review(record.case, record.asked, status, " ".join(remark.split()), file, time)
    try:
        (output / REVIEWS).mkdir(exist_ok=True)
    except OSError as error:
        raise InputError("{output} cannot be written to ({why}).", output=output, why=str(error.strerror)) from None
    with atomic_write(_path(output, record.case)) as draft:
        draft.write_text(json.dumps(asdict(review), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    records = other_records(output, ())
    write_table(output / TABLE, records, doubts_of(records), read_reviews(output, records))
    return review


def corrected_path(output: Path, case: str) -> Path:
    """Where the corrected segmentation of a case is written, beside the original."""
    return output / SEGMENTATIONS / f"{case}{_CORRECTED}"


def segmentation_of(output: Path, case: CohortCase) -> Path:
    """The segmentation of a case that counts: the corrected one where there is one.

    Raises:
        InputError: there is none.
    """
    names = [name for name in case.record.files if name.startswith(f"{SEGMENTATIONS}/")]
    corrected = [case.review.file] if case.review is not None and case.review.file else []
    for name in (*corrected, *names):
        if (output / name).is_file():
            return output / name
    raise InputError(
        "The segmentation of {case} is not in {output} any more; let 'medsam3 cohort --resume' make it again.",
        case=case.record.case,
        output=output,
    )


def _path(output: Path, case: str) -> Path:
    return output / REVIEWS / f"{case}.json"
