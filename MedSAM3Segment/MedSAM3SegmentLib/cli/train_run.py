"""One training, from checked options to a written model folder: which data, which start, which schedule."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.training.demo_recipe import (
    DemoRecipe,
    TrackerStage,
    phantom_lessons,
    train_demo,
    train_phantom_tracker,
)

from .options.training_data import training_stacks
from .terminal import Terminal

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.training.loop import Schedule
    from MedSAM3SegmentLib.training.train import Lessons, Report


#: Steps and highest learning rate where none are given: of a model trained on (MedSAM-3's published rate), and of a
#: new one (the demo model's are in its recipe).
STEPS = 2000
RATE_OF_TRAINING_ON = 5e-5


def train(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    """Train what the options of ``medsam3 train`` ask for; they were checked to go together.

    Raises:
        InputError, ModelError: the data, the base or the architecture cannot be used.
        Cancelled: ``stop`` said so.
    """
    if options.tracker:
        _train_tracker(options, terminal, report, stop)
    elif options.phantoms is None and options.manifest is None:
        train_demo(options.output, _demo_recipe(options), report=report, cancel=stop)
    elif options.base is not None:
        _train_on(options, terminal, report, stop)
    else:
        _train_new(options, terminal, report, stop)


def _demo_recipe(options: argparse.Namespace) -> DemoRecipe:
    given = {"steps": options.steps, "seed": options.seed}
    return replace(DemoRecipe(), **{name: value for name, value in given.items() if value is not None})


def _train_new(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard
    from MedSAM3SegmentLib.models.devices import choose_device
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
    from MedSAM3SegmentLib.models.detector import Sam3Detector
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.training.train import train_model

    model = load_model(options.base, options.device or "auto", dtype="float32")
    terminal.note(f"Model: {model.card.name} on {model.device}.")
    schedule = _schedule(options, RATE_OF_TRAINING_ON)
    training = {**_training(options, schedule), "base": {"name": model.identity.name, "sha256": model.identity.sha256}}
    card = replace(
        model.card,
        name=options.output.name,
        is_demo=options.phantoms is not None,
        description=_description(options),
        source="",
        training=training,
    )
    _make_trainable(model)
    trained = Sam3Detector(model.network, model.tokenizer, card, str(model.device))
    train_model(
        trained,
        _lessons(options, terminal),
        options.output,
        schedule=schedule,
        seed=_seed(options),
        report=report,
        cancel=stop,
    )


def _train_tracker(options: argparse.Namespace, terminal: Terminal, report: Report, stop: CancelCheck) -> None:
    from MedSAM3SegmentLib.models.load_model import load_model
    from MedSAM3SegmentLib.training.tracker.train import TrackerRecipe, add_tracker, tracker_schedule

    model = load_model(options.base, options.device or "auto", dtype="float32")
    terminal.note(f"Model: {model.card.name} on {model.device}.")
    given = {
        "phantoms": options.phantoms,
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
    }
    stage = replace(TrackerStage(), **{name: value for name, value in given.items() if value is not None})
    if options.manifest is None:
        train_phantom_tracker(model, options.output, stage, report=report, cancel=stop)
        return
    add_tracker(
        model,
        training_stacks(options, lambda sentence: terminal.note(sentence, "yellow")),
        TrackerRecipe(tracker_schedule(stage.steps, stage.learning_rate), seed=stage.seed),
        options.output,
        data={"manifest": options.manifest.name},
        on_synthetic=False,
        report=report,
        cancel=stop,
    )


def _make_trainable(model: Sam3Detector) -> None:
    """Give the weights memory of their own: loaded ones may be a file's, which training must not write to."""
    for parameter in model.network.parameters():
        parameter.data = parameter.data.clone()
        parameter.requires_grad_(True)


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
