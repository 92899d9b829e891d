"""Learning jobs as Slicer sees them: started in a process of their own, found again, cancelled, discarded.

A job may outlive the Slicer that started it. One that ended while nobody looked waits with its outcome until it is
discarded; what is left of one whose process was killed says so in a sentence.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from MedSAM3SegmentLib.engine.process.discovery import run_folder
from MedSAM3SegmentLib.engine.process.start_process import StartedProcess, Starter, last_line, start_process
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.store import discard_draft
from MedSAM3SegmentLib.python_process import child_environment, kill_children

from .job_folder import JobFolder
from .records import JobStage, LearningOrder, LearningResult, LearningStatus

#: Seconds that a process which is not heard of yet may take to begin; packages may come from a slow disk.
_START_TIMEOUT_S = 120.0

#: Seconds for a process to end by itself, before it is killed.
_POLITE_S = 1.5

#: Seconds for one that is installing, which copies a few megabytes.
_INSTALL_S = 20.0


class LearningJob:
    """One job, running or ended.

    Args:
        folder: with its order.
        process: where this process started it.
    """

    def __init__(self, folder: JobFolder, order: LearningOrder, process: StartedProcess | None = None) -> None:
        self.folder, self.order = folder, order
        self._process = process
        self._known: ProcessId | None = None

    @property
    def status(self) -> LearningStatus:
        """How far it is."""
        return self.folder.read_status()

    @property
    def curve(self) -> dict[int, float]:
        """The loss by step."""
        return self.folder.read_curve()

    @property
    def is_running(self) -> bool:
        known = self._learner
        if known is not None:
            return known.is_alive
        if self._process is not None:
            return self._process.poll() is None
        return time.time() - _age(self.folder) < _START_TIMEOUT_S

    def result(self) -> LearningResult | None:
        """What came of it, or None while it is on its way.

        Of a process that was killed the data are deleted.
        """
        # In this order: a process may say what came of it and end between two looks.
        is_running = self.is_running
        result = self.folder.read_result()
        if result is not None or is_running:
            return result
        self._clean_up()
        said = last_line(self.folder.log)
        return LearningResult.failed(
            message(
                "Learning ended early, perhaps because there was not enough memory, and nothing was installed; try "
                "again with fewer volumes. Its process said: {said}",
                said=said or message("nothing"),
            )
        )

    def cancel(self) -> bool:
        """End the job within three seconds and delete all of it; call it on a thread.

        Returns:
            Whether it ended before anything was installed. If not it has an outcome, which is kept.
        """
        _ = self.is_running  # which remembers the process: one that ends by itself deletes its folder
        self.folder.ask_to_cancel()
        self._wait(_POLITE_S)
        # Read after it was asked: a process that installs after this sees that it was asked before.
        if self.is_running and self.status.stage is JobStage.INSTALLING:
            self._wait(_INSTALL_S)
        self._kill()
        result = self.folder.read_result()
        if result is not None and not result.is_failure:
            return False
        self.discard()
        return True

    def discard(self) -> None:
        """Delete what is left of a job that has ended."""
        self._clean_up()
        self.folder.remove()

    def _clean_up(self) -> None:
        self.folder.remove_data()
        if not self.order.continues and self.folder.read_result() is None:
            discard_draft(self.order.adapter)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.is_running and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def _learner(self) -> ProcessId | None:
        """The process that learns, also after it has deleted its folder; None before it has begun."""
        self._known = self._known or self.folder.process
        return self._known

    def _kill(self) -> None:
        known = self._learner
        if known is not None and known.is_alive:
            kill_children(known.pid)
            known.kill()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._wait(1.0)


def start_learning(
    folder: JobFolder, order: LearningOrder, *, python: str = sys.executable, start: Starter = start_process
) -> LearningJob:
    """Start the process of a job whose data lie in ``folder``.

    Args:
        python: the interpreter to use; in Slicer that of ``PythonSlicer``.

    Raises:
        InputError: the disk failed.
        ModelError: the interpreter does not start.
    """
    folder.write_order(order)
    command = [python, "-m", "MedSAM3SegmentLib.engine.learning.run_job", str(folder.path)]
    try:
        process = start(command, child_environment(), folder.log)
    except OSError as error:
        folder.remove()
        raise ModelError(
            "Learning could not be started with {python} ({why}).", python=python, why=str(error.strerror)
        ) from None
    return LearningJob(folder, order, process)


def find_jobs() -> list[LearningJob]:
    """The jobs of this user that run or that nobody has discarded, newest first; none where psutil is missing yet.

    Jobs that end with another process that lives are that one's. What a process left that died while it wrote a job's
    data is deleted.
    """
    try:
        import psutil  # noqa: F401  what tells whether a process lives
    except ImportError:
        return []
    jobs = []
    with suppress(InputError):
        for folder in JobFolder.find_all() if run_folder().is_dir() else ():
            order, owner = folder.read_order(), folder.owner
            if order is None:
                if owner is None or not owner.is_alive:
                    folder.remove()
                continue
            parent = order.parent
            if parent is None or parent == ProcessId.of(os.getpid()) or not parent.is_alive:
                jobs.append(LearningJob(folder, order))
    return jobs


def end_own_jobs() -> None:
    """End the jobs that end with this process, and delete them; waits a few seconds at most."""
    own = ProcessId.of(os.getpid())
    for job in find_jobs():
        if job.order.parent == own and job.is_running:
            job.cancel()


def _age(folder: JobFolder) -> float:
    try:
        return (folder.path / "order.json").stat().st_mtime
    except OSError:
        return 0.0
