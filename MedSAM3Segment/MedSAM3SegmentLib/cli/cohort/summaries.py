"""What is known of all cases of a cohort: its table and its overview."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.doubt import doubts_of
from MedSAM3SegmentLib.cohort.overview import OVERVIEW, Heading, write_overview
from MedSAM3SegmentLib.cohort.records import CaseRecord, other_records
from MedSAM3SegmentLib.cohort.review import read_reviews
from MedSAM3SegmentLib.cohort.table import TABLE, write_table

if TYPE_CHECKING:
    from MedSAM3SegmentLib.provenance import ModelIdentity

    from .case_work import CohortJob


def write_summaries(
    job: CohortJob, identity: ModelIdentity, cases: list[Case], records: Mapping[str, CaseRecord]
) -> list[CaseRecord]:
    """Write the table and the overview of what is known so far; the records in them.

    Raises:
        InputError: the disk failed.
    """
    from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

    ordered = [records[case.id] for case in cases if case.id in records]
    ordered += other_records(job.output, {case.id for case in cases})
    doubts = doubts_of(ordered)
    vocabulary = Vocabulary.load()
    concepts = dict.fromkeys([*job.request.concepts, *(row.concept for one in ordered for row in one.concepts)])
    colors = {
        name: "#" + "".join(f"{round(255 * part):02x}" for part in vocabulary.color_for(name)) for name in concepts
    }
    settings = [f"{job.request.plane} slices", f"mode {job.request.mode}"]
    if job.request.threshold is not None:
        settings.append(f"threshold {job.request.threshold:g}")
    created = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    heading = Heading(colors, identity.name, identity.is_demo, settings, created)
    write_table(job.output / TABLE, ordered, doubts, read_reviews(job.output, ordered))
    write_overview(job.output / OVERVIEW, heading, ordered, doubts)
    return ordered


def model_name(identity: ModelIdentity) -> str:
    """The model and its adapters as people read them."""
    names = " + ".join([identity.name, *(adapter.name for adapter in identity.adapters)])
    return f"{names} (DEMO)" if identity.is_demo else names
