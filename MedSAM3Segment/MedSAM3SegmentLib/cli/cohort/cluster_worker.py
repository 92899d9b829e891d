"""A cohort on Ray: what each worker does, and who gives it cases."""

from __future__ import annotations

import os
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib import __version__
from MedSAM3SegmentLib.cli.terminal import Terminal
from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.ray_pool import RayPool, WorkerPlan, connected, plan_workers
from MedSAM3SegmentLib.cohort.records import CaseRecord, is_done, read_record, write_record
from MedSAM3SegmentLib.cohort.schedule_cases import CaseScheduler
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.progress import CancelCheck, Progress, RunCallbacks
from MedSAM3SegmentLib.provenance import ModelIdentity
from MedSAM3SegmentLib.units import format_count

from .case_work import DRAFTS, CaseWork, CohortJob, discard_drafts

#: Told of a case how far it is.
CaseProgress = Callable[[Case, Progress], None]

#: What is said of a case whose worker was lost twice.
_LOST_TWICE = (
    "The process that segmented this case was lost twice, most likely for want of memory; try it by itself with "
    "--resume, with a smaller model, or on another machine."
)


@dataclass(frozen=True)
class RayOptions:
    """Where and how a cohort runs on Ray.

    Attributes:
        address: as for ``ray_pool.connected``.
        workers: how many; None for as many as fit.
        threads: of each on a CPU; None for as many as it has cores.
    """

    address: str
    workers: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker says of itself; the same for all but for where it computes."""

    identity: ModelIdentity
    version: str
    device: str = field(compare=False)


class CohortWorker:
    """Reads, segments and writes cases in a process of its own: one is segmented, another read or written beside it.

    Args:
        job: what is asked.
        folder: that relative paths start from.
        mark: a file of the output folder, which a worker on another machine sees where both have one disk.
        threads: to compute with on a CPU; fewer are taken where a model has no use for them.
    """

    def __init__(self, job: CohortJob, folder: Path, mark: Path, threads: int, verbose: bool) -> None:
        self._job, self._folder, self._mark, self._threads, self._verbose = job, folder, mark, threads, verbose
        self._segmenting, self._ends = threading.Lock(), threading.Event()
        self._work: CaseWork | None = None

    def load(self) -> WorkerInfo:
        """Load the model.

        Raises:
            InputError: the output folder is not there.
            ModelError: the model cannot be loaded exactly.
        """
        from MedSAM3SegmentLib.models.threads import VARIABLES, ask_for_threads, threads_for, wait_passively

        with suppress(OSError):
            os.chdir(self._folder)
        if not self._mark.is_file():
            raise InputError(
                "A worker does not see {output}; inputs and results must lie on a disk that all machines of the "
                "cluster have at the same place.",
                output=self._job.output,
            )
        wait_passively()
        # Ray's own number is that of all cores of the worker, whatever suits the model.
        for name in VARIABLES:
            os.environ.pop(name, None)
        segmenter = self._job.model.load_segmenter()
        import torch

        with threads_for(segmenter.model):
            ask_for_threads(min(self._threads, torch.get_num_threads()))
        identity = segmenter.model.identity
        self._work = CaseWork(self._job, segmenter, identity)
        return WorkerInfo(identity, __version__, str(segmenter.model.device))

    def do(self, case: Case) -> tuple[CaseRecord | None, float]:
        """Do a case; None where ``stop`` was asked for before it was segmented.

        Raises:
            InputError: the disk failed.
            ModelError, PackageError, EngineError: it is none of the case but of all.
        """
        work = self._work
        assert work is not None
        started = time.monotonic()
        try:
            if self._ends.is_set():
                return None, 0.0
            image = work.read(case)
            with self._segmenting:
                result = work.segment(image, RunCallbacks(cancel=self._ends.is_set))
        except Cancelled:
            return None, 0.0
        except Exception as error:
            if self._verbose and not isinstance(error, InputError):
                traceback.print_exc()
            return work.failed(case, error), time.monotonic() - started
        return work.write(case, image, result), time.monotonic() - started

    def stop(self) -> None:
        """End after the slice that is looked at; what is being written is written to its end."""
        self._ends.set()
        if self._work is not None:
            self._work.close()


class CohortCluster:
    """Workers on Ray, the first of which has loaded the model.

    Args:
        job: what is asked.
        pool: where they are.
        plan: how many there are.
        cases: how many cases there are at most.

    Attributes:
        identity: of the model.
        device: what the first worker computes on.
    """

    def __init__(
        self,
        job: CohortJob,
        pool: RayPool[WorkerInfo, CaseRecord],
        plan: WorkerPlan,
        cases: int,
        say: Callable[[str], None],
    ) -> None:
        self._job = job
        self._scheduler = CaseScheduler(pool, plan.count, self._written, self._lost_twice, say)
        self._scheduler.begin(cases)
        assert pool.info is not None
        self.identity, self.device = pool.info.identity, pool.info.device

    def do_cases(
        self, cases: Sequence[Case], progress: CaseProgress, cancel: CancelCheck
    ) -> Iterator[tuple[Case, CaseRecord, float]]:
        """As ``Pipeline.run``; progress is told of whole cases only.

        Raises:
            Cancelled: ``cancel`` said so.
            InputError: the disk failed.
            ModelError, PackageError, EngineError: it is none of a case but of all.
        """
        del progress
        return self._scheduler.run(cases, cancel)

    def _written(self, case: Case) -> CaseRecord | None:
        discard_drafts(self._job.output, case)
        record = read_record(self._job.output, case.id)
        return record if is_done(self._job.output, record, self._job.asked_hash(case, self.identity)) else None

    def _lost_twice(self, case: Case) -> CaseRecord:
        record = CaseRecord(case.id, self._job.asked_hash(case, self.identity), failure=_LOST_TWICE)
        write_record(self._job.output, record)
        return record


@contextmanager
def cluster_for(
    job: CohortJob, asked: RayOptions, cases: Sequence[Case], terminal: Terminal
) -> Iterator[CohortCluster]:
    """Within, there are workers for a cohort.

    Args:
        cases: all that may be asked for.

    Raises:
        PackageError, EngineError, InputError, ModelError: there are none.
    """
    with connected(asked.address, asked.workers) as cluster:
        plan = plan_workers(cluster.cpus, cluster.gpus, job.model.device, asked.workers)
        if cluster.others:
            terminal.note(
                f"Images are read and segmented on {cluster.others} other machines, too: those of the Ray cluster at "
                f"{asked.address}.",
                "yellow",
            )
        where = "a GPU" if plan.gpus else format_count(plan.cores, "CPU core")
        terminal.note(f"{format_count(plan.count, 'worker')} with {where} each.")
        device = "cuda" if plan.gpus else "cpu"
        job = replace(job, model=replace(job.model, device=device))
        mark = job.output / DRAFTS / f".seen-{uuid.uuid4().hex}"
        mark.touch()
        make = partial(CohortWorker, job, Path.cwd(), mark, asked.threads or plan.cores, terminal.verbose)
        if cluster.others and (job.store is not None or any(case.remote for case in cases)):
            terminal.note(
                "Each machine speaks with the PACS itself; a token or login is read from its own environment.", "yellow"
            )
        try:
            yield CohortCluster(job, RayPool(make, plan), plan, len(cases), terminal.note)
        finally:
            mark.unlink(missing_ok=True)
