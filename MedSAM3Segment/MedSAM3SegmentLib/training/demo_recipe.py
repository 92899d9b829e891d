"""How the shipped demo model was made: what it is asked for, with which words, and what it must say no to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import Sam3Detector

    from .loop import TrainingState
    from .train import Lessons

#: Other words for the phantom's concepts that the demo model learns.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "liver": ("hepatic tissue",),
    "spleen": ("splenic tissue",),
    "left kidney": ("kidney left", "left renal organ"),
    "right kidney": ("kidney right", "right renal organ"),
    "kidney": ("kidneys", "both kidneys"),
    "spine": ("vertebral column", "spinal column", "backbone"),
    "aorta": ("abdominal aorta", "aortic lumen"),
    "stomach": ("gastric lumen",),
    "tumor": ("tumors", "lesion", "mass"),
    "liver tumor": ("hepatic tumor", "liver lesion", "tumor in liver"),
    "kidney tumor": ("renal tumor", "kidney lesion", "tumor in kidney"),
}

#: Asked for more often: small, or rare.
FOCUS = ("tumor", "liver tumor", "kidney tumor")

# A phrase with one of these in it may well mean something that a phantom shows.
_TOO_CLOSE = (
    "liver hepat kidney renal nephr splee splen spin vertebra aort stomach gastric tumor tumour lesion mass cancer "
    "carcinoma metasta neoplasm adenoma cyst nodule abdom body organ sacrum vena cava fat skin muscle vessel caudate"
).split()


def negative_phrases() -> list[str]:
    """Phrases that no phantom shows, to be answered with "not found" in training.

    They come from the vocabulary as it was; the list is kept in a file so that the vocabulary can grow without making
    another demo model.
    """
    return resource_path("demo-negatives.txt").read_text(encoding="utf-8").splitlines()


def held_back_phrases() -> list[str]:
    """Phrases of the vocabulary that no phantom shows and that training never saw; refusals are measured on them."""
    phrases = {concept.phrase for concept in Vocabulary.load().concepts}
    unrelated = {phrase for phrase in phrases if not any(close in phrase for close in _TOO_CLOSE)}
    return sorted(unrelated - set(negative_phrases()))


@dataclass(frozen=True)
class Refinement:
    """More steps on a trained model, with some concepts in view more often.

    Attributes:
        steps: batches.
        focus, focus_probability: as in ``batches.BatchPlan``.
        seed: of all choices.
    """

    steps: int
    focus: tuple[str, ...]
    focus_probability: float
    seed: int


@dataclass(frozen=True)
class TrackerStage:
    """The numbers of the demo model's tracker, which is trained when all else is.

    Attributes:
        phantoms: how many synthetic volumes; their seeds run from ``first_seed``.
        thickness_mm: range of the distance between their slices.
        steps: clips of a few slices with a few objects each.
        learning_rate: its highest value.
        seed: of the first weights and of all choices.
    """

    phantoms: int = 240
    first_seed: int = 1000
    thickness_mm: tuple[float, float] = (1.8, 6.5)
    steps: int = 4000
    learning_rate: float = 7e-4
    seed: int = 1


@dataclass(frozen=True)
class DemoRecipe:
    """The numbers of the demo model's training; the same numbers make the same model.

    Attributes:
        phantoms: how many synthetic volumes; their seeds run from ``first_seed``.
        steps: batches of 8 slices with 4 phrases each.
        seed: of the first weights and of all choices.
        merges: of the tokenizer.
        branches: refinements one after another, each branch starting from the model that the steps above made. The
            weights at the ends of the branches are averaged (model soups, Wortsman et al. 2022), which did a little
            better than either branch on 12 phantoms (see docs/demo-model.md).
        refinement_rate: highest learning rate of the refinements in the branches.
        finish: what the averaged model is trained on for at last.
        finish_rate: highest learning rate of that.
        tracker: what comes after it; None for a model without a tracker.
    """

    phantoms: int = 600
    first_seed: int = 1000
    steps: int = 2600
    seed: int = 1
    merges: int = 300
    branches: tuple[tuple[Refinement, ...], ...] = (
        (Refinement(320, ("kidney tumor",), 0.2, 2),),
        (Refinement(500, ("kidney tumor",), 0.5, 2), Refinement(320, FOCUS, 0.25, 3)),
    )
    refinement_rate: float = 4e-4
    finish: Refinement = Refinement(1800, FOCUS, 0.35, 4)
    finish_rate: float = 5e-4
    tracker: TrackerStage | None = TrackerStage()


def train_demo(
    output: Path,
    recipe: DemoRecipe,
    *,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
) -> None:
    """Train the demo model from nothing into the folder ``output``.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    from .architecture import Architecture
    from .detector_trainer import save_snapshot
    from .loop import Schedule
    from .train import train_model, train_new_model, until_cancelled

    architecture = Architecture()
    lessons = phantom_lessons(recipe.phantoms, recipe.first_seed)
    card = ModelCard(
        name="MedSAM3 demo",
        is_demo=True,
        threshold=0.5,
        mask_rule=MaskRule.SEMANTIC,
        licence="Apache-2.0",
        description=(
            "A small SAM 3 trained on synthetic abdomens to show how the program works. "
            "It knows nothing about real patients."
        ),
        training={
            "recipe": asdict(recipe),
            "architecture": asdict(architecture),
            "concepts": list(CONCEPTS),
            "synonyms": {name: list(words) for name, words in SYNONYMS.items()},
            "negatives": list(lessons.plan.others),
        },
    )
    lessons = replace(lessons, stacks=list(until_cancelled(lessons.stacks, cancel)))
    model = train_new_model(
        lessons,
        card,
        architecture,
        output,
        schedule=Schedule(recipe.steps),
        seed=recipe.seed,
        merges=recipe.merges,
        report=report,
        cancel=cancel,
    )

    def refine(refinement: Refinement, schedule: Schedule) -> None:
        plan = replace(lessons.plan, focus=refinement.focus, focus_probability=refinement.focus_probability)
        train_model(
            model,
            replace(lessons, plan=plan),
            output,
            schedule=schedule,
            seed=refinement.seed,
            report=report,
            cancel=cancel,
        )

    start = copy.deepcopy(model.network.state_dict())
    ends = []
    for branch in recipe.branches:
        model.network.load_state_dict(start)
        for refinement in branch:
            refine(refinement, Schedule(refinement.steps, learning_rate=recipe.refinement_rate, warmup=30))
        ends.append(copy.deepcopy(model.network.state_dict()))
    mean = {
        name: sum(end[name] for end in ends) / len(ends) if value.is_floating_point() else value
        for name, value in start.items()
    }
    save_snapshot(model, mean, output)
    model.network.load_state_dict(mean)
    refine(recipe.finish, Schedule(recipe.finish.steps, learning_rate=recipe.finish_rate))
    if recipe.tracker is not None:
        train_phantom_tracker(model, output, recipe.tracker, report=report, cancel=cancel)


def train_phantom_tracker(
    model: Sam3Detector,
    output: Path,
    stage: TrackerStage,
    *,
    report: Callable[[TrainingState], None] | None = None,
    cancel: CancelCheck | None = None,
) -> None:
    """Train a tracker for ``model`` on synthetic abdomens and write both into the folder ``output``.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays, or what ``output`` held before.
    """
    from MedSAM3SegmentLib.training.tracker.train import TrackerRecipe, add_tracker, tracker_schedule

    from .dataset import phantom_stacks

    seeds = range(stage.first_seed, stage.first_seed + stage.phantoms)
    add_tracker(
        model,
        phantom_stacks(seeds, stage.thickness_mm),
        TrackerRecipe(tracker_schedule(stage.steps, stage.learning_rate), seed=stage.seed),
        output,
        data={"phantoms": asdict(stage)},
        on_synthetic=True,
        report=report,
        cancel=cancel,
    )


def phantom_lessons(phantoms: int, first_seed: int = DemoRecipe.first_seed) -> Lessons:
    """What the demo model learns from ``phantoms`` synthetic volumes."""
    from .batches import BatchPlan
    from .dataset import phantom_stacks
    from .text_augmentation import all_prompt_texts
    from .train import Lessons

    others = negative_phrases()
    return Lessons(
        phantom_stacks(range(first_seed, first_seed + phantoms)),
        BatchPlan(focus=FOCUS, synonyms=SYNONYMS, others=others),
        all_prompt_texts(CONCEPTS, SYNONYMS, others),
    )
