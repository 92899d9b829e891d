"""One training, from checked options to a written model folder: which data, which start, which schedule."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.devices import choose_device
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.demo_recipe import DemoRecipe, TrackerStage, phantom_lessons
from MedSAM3SegmentLib.training.train_demo import train_demo, train_phantom_tracker
from MedSAM3SegmentLib.units import format_bytes

from .options.training import FineTuningSection
from .options.training_data import dataset_of, training_stacks
from .terminal import Terminal

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.training.dataset import LabelledStack
    from MedSAM3SegmentLib.training.fine_tuning.memory_estimate import TrainingMemory
    from MedSAM3SegmentLib.training.fine_tuning.recipe import FineTuning, PromptKind
    from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
    from MedSAM3SegmentLib.training.loop import Schedule
    from MedSAM3SegmentLib.training.train import Lessons, Report


#: Steps where none are given; the demo model's are in its recipe.
STEPS = 2000


def train(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    """Train what the options of ``medsam3 train`` ask for; they were checked to go together.

    Raises:
        InputError, ModelError: the data, the base or the architecture cannot be used.
        Cancelled: ``stop`` said so.
    """
    if options.tracker:
        _train_tracker(options, terminal, report, stop)
    elif options.phantoms is None and options.manifest is None:
        _train_demo(options, report, stop)
    elif options.base is not None:
        _train_on(options, terminal, report, stop)
    else:
        _train_new(options, terminal, report, stop)


def _train_demo(options: argparse.Namespace, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.training.processes import training_processes

    recipe, resume = _demo_recipe(options), bool(options.resume)
    with training_processes("cpu") as (processes, _):
        train_demo(options.output, recipe, resume=resume, report=report, cancel=stop, processes=processes)


def _demo_recipe(options: argparse.Namespace) -> DemoRecipe:
    recipe = replace(DemoRecipe(), seed=_seed(options))
    return recipe if options.steps is None else replace(recipe, steps=options.steps, refinement=None)


def _train_new(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard
    from MedSAM3SegmentLib.training.architecture import Architecture
    from MedSAM3SegmentLib.training.architecture_file import read_architecture
    from MedSAM3SegmentLib.training.train import train_new_model

    device = choose_device(options.device or "auto")
    architecture = read_architecture(options.architecture) if options.architecture else Architecture()
    lessons = _lessons(options, terminal)
    schedule = _schedule(options, None)
    card = ModelCard(
        name=options.output.name,
        is_demo=options.phantoms is not None,
        mask_rule=MaskRule.SEMANTIC,
        description=_description(options),
        training={**_training(options, schedule), "architecture": asdict(architecture)},
    )
    seed = _seed(options)
    train_new_model(
        lessons,
        card,
        architecture,
        options.output,
        schedule=schedule,
        seed=seed,
        device=device,
        report=report,
        cancel=stop,
    )


def _train_on(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.model_store.resolve import with_whole_paths
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.training.fine_tuning.fine_tune import TrainingRun, fine_tune
    from MedSAM3SegmentLib.training.fine_tuning.recipe import concepts_of, describe_data
    from MedSAM3SegmentLib.training.fine_tuning.tuning import Tune
    from MedSAM3SegmentLib.training.processes import training_processes
    from MedSAM3SegmentLib.training.train import check_can_be_trained_on

    section = FineTuningSection.of(options)
    tune = Tune(section.tune)
    with training_processes(choose_device(options.device or "auto")) as (processes, device):
        model = load_model(options.base, device, dtype="float32")
        if processes.is_first:
            terminal.note(f"Model: {model.card.name} on {model.device}.")
        lessons = _lessons(options, terminal)
        stacks, validation = _with_validation(list(lessons.stacks), section, options, terminal)
        recipe = _recipe(tune, section, options, lessons, model)
        base = model.identity
        card = replace(
            model.card,
            name=options.output.name,
            is_demo=model.card.is_demo or options.phantoms is not None,
            threshold=model.card.threshold_of_trained,
            description=_description(options),
            source="",
            base="" if tune is Tune.ALL else with_whole_paths(options.base),
            base_sha256="" if tune is Tune.ALL else base.sha256,
            prompts=_prompt_kind(section.prompts).in_card,
            modality=section.modality or model.card.modality,
            concepts=concepts_of(stacks),
            data=describe_data(stacks, _data_words(options)),
            training={
                **_training(options, recipe.schedule),
                **recipe.describe(),
                "base": {"name": base.name, "sha256": base.sha256},
            },
        )
        check_can_be_trained_on(model)
        if tune is not Tune.ALL and base.adapters:
            raise InputError(
                f"The base {options.base} is itself a base with an adapter, and only one adapter is used at a time; "
                "make one model of both with 'medsam3 models convert', or use --tune all."
            )
        if tune is Tune.ALL and model.tracker is not None and processes.is_first:
            terminal.note(
                "The tracker is kept as it is; it was trained on image features that change now, so compare the mode "
                "'propagate' before and after, or train it anew with --tracker.",
                "yellow",
            )
        run = TrainingRun(
            options.output,
            validation,
            section.resume,
            {"base": base.sha256, "data": _data_words(options), "concepts": list(card.concepts)},
            report,
            stop,
            lambda step, score: terminal.note(
                f"step {step}: validation Dice {score.dice:.3f}, presence {score.presence:.3f}"
            ),
            lambda memory: _say_memory(memory, terminal),
            processes,
            checkpoint_activations=section.checkpoint_activations,
            tensorboard=section.tensorboard,
        )
        fine_tune(model, stacks, recipe, card, run)


def _recipe(
    tune: Tune, section: FineTuningSection, options: argparse.Namespace, lessons: Lessons, model: Sam3Detector
) -> FineTuning:
    from MedSAM3SegmentLib.training.fine_tuning.recipe import FineTuning
    from MedSAM3SegmentLib.training.fine_tuning.tuning import default_rate
    from MedSAM3SegmentLib.training.meta.matching import MetaLossWeights

    plan = replace(lessons.plan, slices=section.batch_size * section.accumulate)
    plan = _prompt_kind(section.prompts).plan(plan)
    if tune.freezes_encoders:
        plan = replace(plan, views=section.views)
    schedule = _schedule(options, default_rate(tune, model.network))
    warmup = min(schedule.warmup, max(1, schedule.steps // 4))
    return FineTuning(
        tune,
        replace(schedule, warmup=warmup, save_every=section.save_every),
        plan,
        _seed(options),
        lora=section.lora,
        losses=MetaLossWeights() if section.losses == "meta" else None,
        layer_decay=section.layer_decay,
        accumulate=section.accumulate,
    )


def _with_validation(
    stacks: list[LabelledStack], section: FineTuningSection, options: argparse.Namespace, terminal: Terminal
) -> tuple[list[LabelledStack], list[LabelledStack]]:
    from MedSAM3SegmentLib.training.fine_tuning.validation import split_stacks

    if isinstance(section.validation, float):
        return split_stacks(stacks, section.validation, _seed(options))

    def say(sentence: str) -> None:
        terminal.note(sentence, "yellow")

    if section.validation is not None:
        return stacks, list(training_stacks(options, say, None, section.validation))
    if options.manifest is None or "val" not in dataset_of(options).splits:
        return stacks, []
    # What the data set itself sets apart.
    return stacks, list(training_stacks(options, say, "val"))


def _say_memory(memory: TrainingMemory, terminal: Terminal) -> None:
    """Before the first step, what the training takes; a warning where it will not fit."""
    needed = f"Training takes about {format_bytes(memory.total)} beside the model"
    if memory.free is None:
        terminal.note(f"{needed}.")
    elif memory.total <= memory.free:
        terminal.note(f"{needed}; {format_bytes(memory.free)} are free.")
    else:
        terminal.note(
            f"{needed}, of which only {format_bytes(memory.free)} are free; if it stops for want of memory, give a "
            "smaller --batch-size and more --accumulate.",
            "yellow",
        )


def _prompt_kind(name: str) -> PromptKind:
    from MedSAM3SegmentLib.training.fine_tuning.recipe import PromptKind

    return PromptKind(name)


def _data_words(options: argparse.Namespace) -> str:
    return options.manifest.name if options.manifest is not None else "synthetic abdomens"


def _train_tracker(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.training.processes import training_processes
    from MedSAM3SegmentLib.training.tracker.train import TrackerRecipe, add_tracker, tracker_schedule
    from MedSAM3SegmentLib.training.train import check_can_be_trained_on

    given = {
        "phantoms": options.phantoms,
        "steps": options.steps,
        "refinement_steps": None if options.steps is None else 0,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
    }
    stage = replace(TrackerStage(), **{name: value for name, value in given.items() if value is not None})
    with training_processes(choose_device(options.device or "auto")) as (processes, device):
        model = load_model(options.base, device, dtype="float32")
        check_can_be_trained_on(model)
        if processes.is_first:
            terminal.note(f"Model: {model.card.name} on {model.device}.")
        if options.manifest is None:
            train_phantom_tracker(model, options.output, stage, report=report, cancel=stop, processes=processes)
            return
        stacks = training_stacks(options, lambda sentence: terminal.note(sentence, "yellow"))
        add_tracker(
            model,
            islice(stacks, processes.rank, None, processes.count),
            TrackerRecipe(tracker_schedule(stage), seed=stage.seed),
            options.output,
            data={"manifest": options.manifest.name},
            on_synthetic=False,
            report=report,
            cancel=stop,
            processes=processes,
        )


def _lessons(options: argparse.Namespace, terminal: Terminal) -> Lessons:
    from MedSAM3SegmentLib.training.train import lessons_of

    if options.phantoms is not None:
        return phantom_lessons(options.phantoms)
    stacks = training_stacks(options, lambda sentence: terminal.note(sentence, "yellow"))
    return lessons_of(stacks, options.base is None)


def _schedule(options: argparse.Namespace, rate: float | None) -> Schedule:
    from MedSAM3SegmentLib.training.loop import Schedule

    rate = options.learning_rate or rate
    schedule = Schedule(options.steps or STEPS)
    return schedule if rate is None else replace(schedule, learning_rate=rate)


def _seed(options: argparse.Namespace) -> int:
    return DemoRecipe.seed if options.seed is None else int(options.seed)


def _description(options: argparse.Namespace) -> str:
    if options.phantoms is not None:
        return "Trained on synthetic abdomens; it knows nothing about real patients."
    return f"Trained on the volumes of {options.manifest.name}."


def _training(options: argparse.Namespace, schedule: Schedule) -> dict[str, Any]:
    """What the model's card says about how it was made."""
    data: dict[str, Any] = (
        {"phantoms": options.phantoms} if options.manifest is None else {"manifest": options.manifest.name}
    )
    return {**data, "seed": _seed(options), "schedule": asdict(schedule)}
