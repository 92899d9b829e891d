"""Learning a task into an adapter: it is installed only if it is better at the task and forgets none before it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.labelled_case import LabelledDataset
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.io.atomic_write import atomic_folder
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.resolve import find, pieces_of, with_whole_paths
from MedSAM3SegmentLib.model_store.store import (
    check_new_name,
    find_installed,
    new_model,
    remove_replay,
    replay_bytes,
    store_folder,
)
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.batches import BatchPlan, known_slices
from MedSAM3SegmentLib.training.dataset import LabelledStack, read_stacks
from MedSAM3SegmentLib.training.fine_tuning.fine_tune import TrainingRun, fine_tune
from MedSAM3SegmentLib.training.fine_tuning.recipe import FineTuning, PromptKind, concepts_of, describe_data
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune, default_rate
from MedSAM3SegmentLib.training.fine_tuning.validation import FoundOnSlice, ValidationScore, validate
from MedSAM3SegmentLib.training.loop import Schedule, TrainingState

from .held_out import HoldOut, SplitTask, split_task
from .outcome import LearnOutcome, TaskComparison, judge_tasks
from .replay import ReplaySize, Task, read_replay, write_task
from .start_adapter import start_from, tuning_of

if TYPE_CHECKING:
    from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter
    from MedSAM3SegmentLib.models.detector import Sam3Detector


class LearnStage(StrEnum):
    """The stages of learning, in order."""

    READING = "reading the volumes"
    BEFORE = "looking at held-out slices before"
    TRAINING = "learning"
    AFTER = "looking at held-out slices after"
    INSTALLING = "installing"


@dataclass(frozen=True)
class LearnProgress:
    """How far it is.

    Attributes:
        done, total: volumes read, tasks looked at, or steps; a total of 0 where it is not known.
        losses: running means of the losses by name, while it is trained.
    """

    stage: LearnStage
    done: int
    total: int
    seconds_left: float | None = None
    losses: dict[str, float] = field(default_factory=dict)


LearnReport = Callable[[LearnProgress], None]

#: Hears what was found on a held-out slice of the new task, before or after.
HearHeldOut = Callable[[LearnStage, LabelledStack, int, str, BoolMask], None]


@dataclass(frozen=True)
class LearnOptions:
    """Into which adapter, how, and when it is kept.

    Attributes:
        adapter: its name; a new one, or with ``continues`` an installed one.
        base: of a new adapter, as ``--model`` takes it.
        continues: whether an installed adapter learns the task in addition.
        tune: what of a new adapter learns; ``lora`` or ``detector``.
        steps: batches of ``batch_size`` times ``accumulate`` slices.
        learning_rate: its highest value; None for what suits the base.
        hold_out: what is set apart to judge by; None for whole volumes where there are three or more.
        least_gain: how much better Dice on held-out slices must be; -1 takes what comes, as for measurements.
        margin: how much worse earlier tasks may be.
        replay_share: of the slices that a continued adapter trains on, those of earlier tasks.
        replay_size: what is kept of the task, or None to keep nothing.
        modality: of the pictures in words, for the card.
    """

    adapter: str
    base: str = ""
    continues: bool = False
    tune: Tune = Tune.LORA
    lora: LoraOptions = field(default_factory=LoraOptions)
    prompts: PromptKind = PromptKind.BOTH
    steps: int = 80
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float | None = None
    seed: int = 1
    device: str = "auto"
    hold_out: HoldOut | None = None
    least_gain: float = 0.005
    margin: float = 0.02
    replay_share: float = 0.5
    replay_size: ReplaySize | None = field(default_factory=ReplaySize)
    modality: str = ""


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
        _check_cancelled(cancel)
    task = split_task(stacks, options.hold_out, options.seed)
    earlier = _earlier_tasks(options)
    store = store_folder()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".learning-", dir=workspace or store) as folder:
        run = _Learning(task, earlier, options, Path(folder) / "adapter", report, cancel, hear)
        outcome = run.go()
        outcome = replace(outcome, messages=tuple(findings.sentences()))
        if not run.is_kept:
            return outcome
        report(LearnProgress(LearnStage.INSTALLING, 0, 0))
        _check_cancelled(cancel)
        return _install(outcome, run.output, Task(f"task {len(earlier) + 1}", task.train, task.held_out), options)


def check_options(options: LearnOptions) -> None:
    """Find out before anything is read whether there can be an adapter of this name.

    Raises:
        InputError: it is taken or not there, or options do not go together.
        ModelError: the base is not there, or is itself a base with an adapter.
    """
    if options.tune is Tune.ALL:
        raise InputError("Learning writes adapters; choose lora or detector to tune.")
    if options.steps < 1:
        raise InputError("{steps} steps are too few; give at least 1.", steps=options.steps)
    if not 0 <= options.replay_share < 1:
        raise InputError(
            "The share {share} of earlier tasks is not from 0 to below 1; give one such as 0.5.",
            share=options.replay_share,
        )
    if not 0 <= options.margin <= 1:
        raise InputError("The margin {margin} is not from 0 to 1; give one such as 0.02.", margin=options.margin)
    if options.continues:
        folder = find_installed(options.adapter)
        if folder is None or not ModelCard.load(folder).base:
            raise InputError(
                "No adapter named '{name}' is installed that could be continued; see 'medsam3 adapters list'.",
                name=options.adapter,
            )
        return
    if not options.base:
        raise InputError("A new adapter needs a base; name the model that it goes on top of.")
    check_new_name(options.adapter)
    if len(pieces_of(options.base)) > 1 or ModelCard.load(_folder(find(options.base))).base:
        raise InputError(
            "The base {base} is itself a base with an adapter, and only one adapter is used at a time; name the base "
            "alone, or continue the adapter.",
            base=options.base,
        )


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


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


def _check_cancelled(cancel: CancelCheck | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("Learning was stopped; nothing was installed.")


class _Learning:
    """One task on its way into an adapter, whose folder lies where nobody finds it yet."""

    def __init__(
        self,
        task: SplitTask,
        earlier: Sequence[Task],
        options: LearnOptions,
        output: Path,
        report: LearnReport,
        cancel: CancelCheck | None,
        hear: HearHeldOut | None,
    ) -> None:
        self._task, self._earlier, self._options = task, earlier, options
        self.output = output
        self._report, self._cancel, self._hear = report, cancel, hear
        self.is_kept = False

    def go(self) -> LearnOutcome:
        options = self._options
        adapter: Adapter | None = None
        base = options.base
        if options.continues:
            folder = find_installed(options.adapter)
            assert folder is not None
            adapter = load_adapter(folder)
            base = adapter.card.base
        model = load_model(base, options.device, dtype="float32")
        if adapter is not None and adapter.card.base_sha256 not in ("", model.identity.sha256):
            raise ModelError(
                "The adapter '{adapter}' was trained on other weights than those of its base '{base}' now; restore "
                "them, or learn into a new adapter.",
                adapter=options.adapter,
                base=base,
            )
        before = self._validate(model, adapter, LearnStage.BEFORE)
        recipe = self._recipe(model, adapter)
        card = self._card(model, adapter, with_whole_paths(base), recipe)
        run = TrainingRun(
            self.output,
            report=self._report_step,
            cancel=self._cancel,
            start=start_from(adapter) if adapter is not None else lambda _network: None,
        )
        stacks = [*self._task.train, *self._replayed]
        try:
            fine_tune(model, stacks, recipe, card, run)
        except Cancelled:
            raise Cancelled("Learning was stopped; nothing was installed.") from None
        after = self._validate(model, load_adapter(self.output), LearnStage.AFTER)
        tasks = tuple(
            TaskComparison(name, concepts, number > 0, sum(len(known_slices(s)) for s in held_out), *figures)
            for number, ((name, concepts, held_out), *figures) in enumerate(
                zip(self._held_out, before, after, strict=True)
            )
        )
        refusal = judge_tasks(tasks, options.least_gain, options.margin)
        self.is_kept = refusal is None
        if refusal is not None:
            return LearnOutcome(options.adapter, None, refusal, tasks)
        self._write_figures(card, tasks)
        reason = message(
            "On {held_out} that were held out, Dice was {before} before and is {after} after learning.",
            held_out=self._task.words,
            before=f"{tasks[0].before.dice:.3f}",
            after=f"{tasks[0].after.dice:.3f}",
        )
        return LearnOutcome(options.adapter, None, reason, tasks)

    @property
    def _replayed(self) -> list[LabelledStack]:
        return [stack for task in self._earlier for stack in task.stacks] if self._options.replay_share else []

    @property
    def _held_out(self) -> list[tuple[str, tuple[str, ...], Sequence[LabelledStack]]]:
        """Name, concepts and held-out stacks of each task, the new one first."""
        own = ("this task", concepts_of(self._task.train), self._task.held_out)
        return [own, *((one.name, one.concepts, one.held_out) for one in self._earlier)]

    def _validate(self, model: Sam3Detector, adapter: Adapter | None, stage: LearnStage) -> list[ValidationScore]:
        """Figures of each task with an adapter, or with the base alone."""
        assert model.adapters is not None
        if adapter is not None:
            model.adapters.adapters.pop(adapter.identity.name, None)
            model.adapters.add(adapter)
            model.adapters.merge(adapter.identity.name)
        scores = []
        for number, (_, _, held_out) in enumerate(self._held_out):
            self._report(LearnProgress(stage, number, len(self._held_out)))
            _check_cancelled(self._cancel)
            scores.append(validate(model, held_out, self._listener(stage) if number == 0 else None))
        model.adapters.merge(None)
        return scores

    def _listener(self, stage: LearnStage) -> FoundOnSlice | None:
        """Passes on what was found on held-out slices of the new task."""
        hear, stacks = self._hear, self._task.held_out
        if hear is None:
            return None
        return lambda place, index, concept, found: hear(stage, stacks[place], index, concept, found)

    def _recipe(self, model: Sam3Detector, adapter: Adapter | None) -> FineTuning:
        options = self._options
        tune, lora = (options.tune, options.lora) if adapter is None else tuning_of(adapter, model.network)
        plan = options.prompts.plan(BatchPlan(slices=options.batch_size * options.accumulate))
        plan = replace(
            plan,
            views=4 if tune is Tune.DETECTOR else 0,
            replay_stacks=len(self._replayed),
            replay_probability=options.replay_share,
        )
        rate = options.learning_rate or default_rate(tune, model.network)
        schedule = Schedule(options.steps, rate, warmup=min(60, max(1, options.steps // 4)), save_every=options.steps)
        return FineTuning(tune, schedule, plan, options.seed, lora=lora, accumulate=options.accumulate)

    def _card(self, model: Sam3Detector, adapter: Adapter | None, base: str, recipe: FineTuning) -> ModelCard:
        """Of what is written, but for its figures."""
        options = self._options
        old = model.card if adapter is None else adapter.card
        data = describe_data(self._task.train, "'medsam3 learn'")
        learnt = concepts_of(self._task.train)
        return replace(
            old,
            name=options.adapter,
            is_demo=model.card.is_demo or old.is_demo,
            description="Learnt from segmentations by 'medsam3 learn'",
            source="",
            base=base,
            base_sha256=model.identity.sha256,
            prompts=options.prompts.in_card,
            modality=options.modality or old.modality,
            concepts=learnt if adapter is None else tuple(dict.fromkeys((*old.concepts, *learnt))),
            data=data if adapter is None else f"{old.data} {data}",
            validation={},
            training={
                **recipe.describe(),
                "base": {"name": model.identity.name, "sha256": model.identity.sha256},
                "learnt": [] if adapter is None else list(old.training.get("learnt", [])),
            },
        )

    def _write_figures(self, card: ModelCard, tasks: Sequence[TaskComparison]) -> None:
        """Put before and after into the card of what was trained."""
        learnt = [*card.training["learnt"], {"tasks": [task.as_dict() for task in tasks], "held_out": self._task.words}]
        card = replace(card, validation=tasks[0].after.figures, training={**card.training, "learnt": learnt})
        card.save(self.output)

    def _report_step(self, state: TrainingState) -> None:
        self._report(
            LearnProgress(LearnStage.TRAINING, state.step, state.steps, state.seconds_left, dict(state.losses))
        )


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
