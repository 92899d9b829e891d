"""The process of a learning job: ``python -m MedSAM3SegmentLib.engine.learning.run_job FOLDER``."""

from __future__ import annotations

import math
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import Cancelled, MedSAM3Error
from MedSAM3SegmentLib.messages.message import as_message, message
from MedSAM3SegmentLib.reporting.packages import find_broken_package

from .job_folder import JobFolder
from .records import JobStage, LearningOrder, LearningResult, LearningStatus, TaskFigures

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.learning.learn import LearnOptions, LearnProgress
    from MedSAM3SegmentLib.training.learning.outcome import TaskComparison

#: Seconds between two looks whether the job is still wanted, at least: a look at another process is not free.
_LOOK_S = 0.2


def run_job(folder: JobFolder) -> None:
    """Do what the order in ``folder`` says, and say there what came of it.

    A job that is not wanted any more leaves nothing, not even its folder.
    """
    folder.announce_process()
    order = folder.read_order()
    try:
        result = LearningResult.failed(message("The order of the job is damaged; start learning again."))
        if order is not None:
            result = _learn(folder, order)
    except Cancelled:
        folder.remove()
        return
    except MedSAM3Error as error:
        result = LearningResult.failed(error.message)
    except Exception as error:
        traceback.print_exc()
        result = LearningResult.failed(_broken_off(error, folder.log))
    finally:
        folder.remove_data()
    folder.write_result(result)


def _learn(folder: JobFolder, order: LearningOrder) -> LearningResult:
    from MedSAM3SegmentLib.datasets.findings import Findings
    from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
    from MedSAM3SegmentLib.datasets.segmented_volumes import segmented_dataset
    from MedSAM3SegmentLib.models.threads import wait_passively

    wait_passively()  # before PyTorch is imported
    from MedSAM3SegmentLib.training.learning.learn import LearnStage, check_options, learn

    from .case_file import read_cases
    from .pictures import HeldOutSlices

    options = _options(order)
    check_options(options)
    findings = Findings()
    cases = list(segmented_dataset(read_cases(folder.data), findings).cases)
    slices = HeldOutSlices()

    def report(progress: LearnProgress) -> None:
        stage = JobStage(progress.stage.value)
        if stage is not JobStage.READING:
            cases.clear()  # They are read, and take as much memory again.
        folder.write_status(
            LearningStatus(stage, progress.done, progress.total, progress.seconds_left, progress.losses)
        )
        if progress.losses:
            folder.add_to_curve(progress.done, progress.losses)

    outcome = learn(
        LabelledDataset(Path(), "volumes with segmentations", cases),
        options,
        report=report,
        cancel=_Cancel(folder, order),
        hear=lambda stage, *found: slices.add(stage is LearnStage.AFTER, *found),
        workspace=folder.workspace,
    )
    return LearningResult(
        outcome.is_installed,
        outcome.reason,
        messages=tuple(as_message(one) for one in (*findings.sentences(), *outcome.messages)),
        tasks=tuple(_figures(task) for task in outcome.tasks),
        pictures=tuple(slices.draw(folder.path)),
    )


def _options(order: LearningOrder) -> LearnOptions:
    from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
    from MedSAM3SegmentLib.training.learning.learn import LearnOptions

    return LearnOptions(
        order.adapter,
        order.base,
        order.continues,
        Tune(order.tune),
        steps=order.steps,
        device=order.device,
        modality=order.modality,
    )


class _Cancel:
    """Whether a job is not wanted any more: it was cancelled, or what it ends with has ended."""

    def __init__(self, folder: JobFolder, order: LearningOrder) -> None:
        self._folder, self._parent = folder, order.parent
        self._looked, self._is_over = -math.inf, False

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._is_over and now - self._looked >= _LOOK_S:
            self._looked = now
            self._is_over = self._folder.is_cancelled or (self._parent is not None and not self._parent.is_alive)
        return self._is_over or self._folder.is_cancelled


def _figures(task: TaskComparison) -> TaskFigures:
    before, after = task.before, task.after
    return TaskFigures(
        task.name,
        task.concepts,
        task.is_earlier,
        task.held_out,
        (_known(before.dice), _known(after.dice)),
        (_known(before.presence), _known(after.presence)),
    )


def _known(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _broken_off(error: Exception, log: Path) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for GPUs
        return message(
            "There was not enough memory to learn; choose the CPU or a smaller model in the Set-up section, or fewer "
            "volumes. Nothing was installed."
        )
    broken = find_broken_package()
    if broken is not None:
        return message("{why} Nothing was installed.", why=broken.message)
    return message(
        "Learning broke off by a defect of the program ({kind}), and nothing was installed; {log} says where.",
        kind=type(error).__name__,
        log=log,
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    run_job(JobFolder(Path(sys.argv[1])))
