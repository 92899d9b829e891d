"""Learning a task into an adapter: it is installed only if it is better at the task and forgets none before it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_folder
from MedSAM3SegmentLib.model_store.store import (
    find_installed,
    new_model,
    remove_replay,
    replay_bytes,
    store_folder,
)
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.dataset import read_stacks

from .held_out import split_task
from .options import HearHeldOut, LearnOptions, LearnProgress, LearnReport, LearnStage, check_options
from .outcome import LearnOutcome
from .replay import Task, read_replay, write_task
from .task_training import TaskTraining, check_cancelled

__all__ = ["LearnOptions", "LearnProgress", "LearnReport", "LearnStage", "check_options", "learn"]


def learn(
    dataset: LabelledDataset,
    options: LearnOptions,
    *,
    report: LearnReport = lambda _progress: None,
    cancel: CancelCheck | None = None,
    hear: HearHeldOut | None = None,
    workspace: Path | None = None,
) -> LearnOutcome:
    """Learn what is segmented in a few volumes into an adapter, and install it if it is worth it.

    Args:
        dataset: what to learn, such as ``datasets.segmented_volumes.segmented_dataset`` makes of files or of volumes in
            memory; ``val`` and ``test`` splits of it are left out.
        report: told how far it is.
        cancel: may end it, between two steps, two volumes or two tasks.
        hear: told the stage, the stack, the slice, the concept and the mask ``[row, column]`` that was found there, for
            each held-out slice of the new task that is looked at, in the same order before and after.
        workspace: an existing folder for what is not finished; None for a hidden one beside the installed models.

    Returns:
        The figures before and after, and where the adapter is installed, if it is.

    Raises:
        InputError: the data or an option cannot be used.
        ModelError: the base or the adapter cannot.
        PackageError: LoRA is trained without the package peft.
        Cancelled: nothing was installed.
    """
    check_options(options)
    findings = Findings()
    stacks = []
    total = len(dataset.cases_of("train"))
    for stack in read_stacks(dataset, findings, "train"):
        stacks.append(stack)
        report(LearnProgress(LearnStage.READING, len(stacks), total))
        check_cancelled(cancel)
    task = split_task(stacks, options.hold_out, options.seed)
    earlier = _earlier_tasks(options)
    store = store_folder()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".learning-", dir=workspace or store) as folder:
        run = TaskTraining(task, earlier, options, Path(folder) / "adapter", report, cancel, hear)
        outcome = run.go()
        outcome = replace(outcome, messages=tuple(findings.sentences()))
        if not run.is_kept:
            return outcome
        report(LearnProgress(LearnStage.INSTALLING, 0, 0))
        check_cancelled(cancel)
        return _install(outcome, run.output, Task(f"task {len(earlier) + 1}", task.train, task.held_out), options)


def _earlier_tasks(options: LearnOptions) -> list[Task]:
    """The tasks that must not be forgotten.

    Raises:
        InputError: nothing was kept of them.
    """
    if not options.continues:
        return []
    earlier = read_replay(options.adapter)
    if not earlier:
        raise InputError(
            "Nothing was kept of what the adapter '{name}' learnt before, so that nobody could tell what it forgets; "
            "learn into a new adapter.",
            name=options.adapter,
        )
    return earlier


def _install(outcome: LearnOutcome, trained: Path, task: Task, options: LearnOptions) -> LearnOutcome:
    """Put an adapter into the store, and keep a part of its task."""
    if not options.continues:
        remove_replay(options.adapter)  # Of one whose folder was deleted by hand.
        with new_model(options.adapter) as draft:
            shutil.copytree(trained, draft, dirs_exist_ok=True)
    else:
        with atomic_folder(store_folder() / options.adapter) as draft:
            shutil.copytree(trained, draft, dirs_exist_ok=True)
    if options.replay_size is not None:
        write_task(options.adapter, task, options.replay_size)
    return replace(outcome, folder=find_installed(options.adapter), replay=replay_bytes(options.adapter))
