"""A cohort in the shell: which cases are still to be done, how far it is, and what is said at the end."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.cli.signals import Interruption
from MedSAM3SegmentLib.cli.terminal import ShowProgress, Terminal, duration
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.overview import OVERVIEW
from MedSAM3SegmentLib.cohort.pipeline import Pipeline
from MedSAM3SegmentLib.cohort.records import CaseRecord, is_done, read_record
from MedSAM3SegmentLib.cohort.table import TABLE
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.progress import CancelCheck, Progress, RunCallbacks
from MedSAM3SegmentLib.units import format_count

from .case_work import CaseImage, CaseWork, CohortJob
from .cluster_worker import CaseProgress, CohortCluster, RayOptions, cluster_for
from .summaries import model_name, write_summaries

if TYPE_CHECKING:
    from MedSAM3SegmentLib.results.result import SegmentResult
    from MedSAM3SegmentLib.segmenter import Segmenter

#: How often table and overview are written while cases are done.
_SUMMARY_INTERVAL_S = 60.0


def run_cohort(
    job: CohortJob,
    cases: list[Case],
    resume: bool,
    terminal: Terminal,
    interruption: Interruption,
    ray: RayOptions | None = None,
) -> None:
    """Do all cases that are not done yet, and write table and overview of all.

    Args:
        resume: take what is done and asks for the same as done.
        ray: where workers are; None to do it all in this process.

    Raises:
        Cancelled: ``interruption`` came; what is done is whole.
        InputError: every case failed, or the disk did.
        ModelError: the model cannot be loaded exactly.
        PackageError, EngineError: there are no workers on Ray.
    """
    with ExitStack() as stack:
        if ray is None:
            worker: _ThisProcess | CohortCluster = _ThisProcess(job, terminal)
        else:
            with terminal.busy("loading the model"):
                worker = stack.enter_context(cluster_for(job, ray, cases, terminal))
            terminal.note(f"Model: {model_name(worker.identity)} on {worker.device}.")
        _run_with(worker, job, cases, resume, terminal, interruption)


class _ThisProcess:
    """Does cases one after another, with a model of its own that is loaded with the first; as ``CohortCluster``."""

    def __init__(self, job: CohortJob, terminal: Terminal) -> None:
        with terminal.busy("looking at the model"):
            from MedSAM3SegmentLib.models.load_model import identify_model

            self.identity = identify_model(job.model.source)
        self._job, self._terminal = job, terminal

    def do_cases(
        self, cases: Sequence[Case], progress: CaseProgress, cancel: CancelCheck
    ) -> Iterator[tuple[Case, CaseRecord, float]]:
        """As ``Pipeline.run``."""
        work = CaseWork(self._job, self._load(), self.identity)

        def segment(case: Case, image: CaseImage) -> SegmentResult:
            return work.segment(image, RunCallbacks(lambda how_far: progress(case, how_far), cancel=cancel))

        def failed(case: Case, error: Exception) -> CaseRecord:
            if not isinstance(error, InputError):
                self._terminal.detail("".join(traceback.format_exception(error)))
            return work.failed(case, error)

        try:
            yield from Pipeline(work.read, segment, work.write, failed).run(cases, cancel)
        finally:
            work.close()

    def _load(self) -> Segmenter:
        with self._terminal.busy("loading the model"):
            segmenter = self._job.model.load_segmenter()
        self._terminal.note(f"Model: {model_name(segmenter.model.identity)} on {segmenter.model.device}.")
        return segmenter


def _run_with(
    worker: _ThisProcess | CohortCluster,
    job: CohortJob,
    cases: list[Case],
    resume: bool,
    terminal: Terminal,
    interruption: Interruption,
) -> None:
    identity = worker.identity
    earlier = {case.id: read_record(job.output, case.id) for case in cases} if resume else {}
    records: dict[str, CaseRecord] = {}
    others = 0
    for case in cases:
        record = earlier.get(case.id)
        if record is None:
            continue
        if is_done(job.output, record, job.asked_hash(case, identity)):
            records[case.id] = record
        elif not record.failure:
            others += 1
    if records:
        terminal.note(f"{len(records)} of {format_count(len(cases), 'case')} done already.")
    if others:
        terminal.note(
            "Done again, with another request, model or input than before, or for lack of files: "
            f"{format_count(others, 'case')}."
        )
    todo = [case for case in cases if case.id not in records]
    started = time.monotonic()
    try:
        if todo:
            with interruption.gently() as stop, terminal.progress() as show:
                _do_cases(worker, job, cases, todo, records, terminal, show, stop)
    except Cancelled:
        done, asked = len([case for case in cases if case.id in records]), format_count(len(cases), "case")
        raise Cancelled(
            f"Stopped after {done} of {asked}, each of them whole; repeat with --resume to go on."
        ) from None
    finally:
        ordered = write_summaries(job, identity, cases, records)
    _say_end(job, cases, ordered, time.monotonic() - started, terminal)


def _do_cases(
    worker: _ThisProcess | CohortCluster,
    job: CohortJob,
    cases: list[Case],
    todo: Sequence[Case],
    records: dict[str, CaseRecord],
    terminal: Terminal,
    show: ShowProgress,
    stop: CancelCheck,
) -> None:
    clock = _Clock(len(todo), show)
    written = time.monotonic()
    for case, record, seconds in worker.do_cases(todo, clock.show, stop):
        records[case.id] = record
        clock.advance()
        terminal.note(
            f"[{len(records)}/{len(cases)}] {case.id}: {_in_words(record)} ({duration(seconds)}"
            f"{clock.left_in_words()})",
            "yellow" if record.failure else "",
        )
        if time.monotonic() - written > _SUMMARY_INTERVAL_S:
            write_summaries(job, worker.identity, cases, records)
            written = time.monotonic()


class _Clock:
    """How long the rest takes, by what the cases took so far."""

    def __init__(self, count: int, show: ShowProgress) -> None:
        self._started, self._count, self._done, self._show = time.monotonic(), count, 0, show

    @property
    def seconds_left(self) -> float | None:
        if not self._done:
            return None
        return (time.monotonic() - self._started) / self._done * (self._count - self._done)

    def left_in_words(self) -> str:
        left = self.seconds_left
        return f"; {duration(left)} left" if left and self._done < self._count else ""

    def advance(self) -> None:
        self._done += 1
        self._show("cohort", self._done, self._count, "cases", self.seconds_left)

    def show(self, case: Case, progress: Progress) -> None:
        remark = f"{case.id}: {progress.stage} {progress.done}/{progress.total}"
        self._show("cohort", self._done, self._count, "cases", self.seconds_left, remark)


def _in_words(record: CaseRecord) -> str:
    if record.failure:
        return record.failure
    return ", ".join(row.concept if row.found else f"no {row.concept}" for row in record.concepts)


def _say_end(
    job: CohortJob, cases: Sequence[Case], records: Sequence[CaseRecord], seconds: float, terminal: Terminal
) -> None:
    asked = {case.id for case in cases}
    failed = [record for record in records if record.failure and record.case in asked]
    done = len(asked) - len(failed)
    terminal.result(f"{done} of {format_count(len(asked), 'case')} done, {len(failed)} failed, in {duration(seconds)}.")
    for record in failed:
        terminal.result(f"{record.case}: {record.failure}")
    terminal.result(f"Look at {job.output / OVERVIEW}; the table is {job.output / TABLE}.")
    if not done:
        raise InputError(f"Every case failed; {job.output / TABLE} says why. --dry-run lists which file is which case.")
