"""One task on its way into an adapter: figures before, training, figures after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.checkpoints.lora import load_adapter
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import Cancelled, ModelError
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.model_store.resolve import with_whole_paths
from MedSAM3SegmentLib.model_store.store import find_installed
from MedSAM3SegmentLib.models.load_model import load_model
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.batches import BatchPlan, known_slices
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.fine_tuning.fine_tune import TrainingRun, fine_tune
from MedSAM3SegmentLib.training.fine_tuning.recipe import FineTuning, concepts_of, describe_data
from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune, default_rate
from MedSAM3SegmentLib.training.fine_tuning.validation import FoundOnSlice, ValidationScore, validate
from MedSAM3SegmentLib.training.loop import Schedule, TrainingState

from .held_out import SplitTask
from .options import HearHeldOut, LearnOptions, LearnProgress, LearnReport, LearnStage
from .outcome import LearnOutcome, TaskComparison, judge_tasks
from .replay import Task
from .start_adapter import start_from, tuning_of

if TYPE_CHECKING:
    from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter
    from MedSAM3SegmentLib.models.detector import Sam3Detector


def check_cancelled(cancel: CancelCheck | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("Learning was stopped; nothing was installed.")


class TaskTraining:
    """One task on its way into an adapter, whose folder lies where nobody finds it yet."""

    def __init__(
        self,
        task: SplitTask,
        earlier: Sequence[Task],
        options: LearnOptions,
        output: Path,
        report: LearnReport,
        cancel: CancelCheck | None,
        hear: HearHeldOut | None = None,
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
        card = model.card if adapter is None else adapter.card
        if adapter is not None:
            model.adapters.adapters.pop(adapter.identity.name, None)
            model.adapters.add(adapter)
            model.adapters.merge(adapter.identity.name)
        scores = []
        for number, (_, _, held_out) in enumerate(self._held_out):
            self._report(LearnProgress(stage, number, len(self._held_out)))
            hear = self._listener(stage) if number == 0 else None
            scores.append(validate(model, held_out, card, lambda: check_cancelled(self._cancel), hear))
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
            threshold=old.threshold_of_trained if adapter is None else old.threshold,
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
