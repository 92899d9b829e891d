"""How the shipped demo model was made: what it is asked for, with which words, and what it must say no to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
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
class TrackerStage:
    """The numbers of the demo model's tracker, which is trained when all else is.

    Attributes:
        phantoms: how many synthetic volumes; their seeds run from ``first_seed``.
        thickness_mm: range of the distance between their slices.
        steps: clips of a few slices with a few objects each.
        learning_rate: its highest value.
        refinement_steps: how many more.
        refinement_rate: where the learning rate starts again from for these, to fall along another cosine; not above
            ``learning_rate``.
        seed: of the first weights and of all choices.
    """

    phantoms: int = 240
    first_seed: int = 1000
    thickness_mm: tuple[float, float] = (1.8, 6.5)
    steps: int = 2600
    learning_rate: float = 7e-4
    refinement_steps: int = 2600
    refinement_rate: float = 5e-4
    seed: int = 1


@dataclass(frozen=True)
class Refinement:
    """The second part of the demo model's training, on new phantoms.

    Attributes:
        phantoms: how many more of them.
        steps: how many more batches.
        learning_rate: where it starts again from, to fall along another cosine.
        focus_weight: as ``batches.BatchPlan`` has it. Where absent tumors are asked for much more often than those that
            are there, the model learns to say no to all of them.
    """

    phantoms: int = 1080
    steps: int = 3200
    learning_rate: float = 5e-4
    focus_weight: float = 6.0


@dataclass(frozen=True)
class DemoRecipe:
    """The numbers of the demo model's training; the same numbers make the same model.

    Attributes:
        phantoms: how many synthetic volumes; their seeds run from ``first_seed``.
        at_once: how many of them batches are drawn from at a time; as training goes on, the oldest give way to new
            ones, so that none is seen often enough to be learned by heart.
        absence, kidney_tumor: probabilities in every other phantom, as ``make_phantom`` takes them. Both are rarer in
            the rest, too rare to learn from: that an organ can be missing where it always is, and what a tumor of a
            kidney looks like.
        focus_probability, near_probability: as ``batches.BatchPlan`` has them.
        steps: batches of 8 slices with 4 phrases each.
        learning_rate: its highest value.
        seed: of the first weights and of all choices.
        merges: of the tokenizer.
        refinement: what comes after these; None for nothing.
        tracker: what comes at the end; None for a model without a tracker.
    """

    phantoms: int = 1800
    first_seed: int = 1000
    at_once: int = 300
    absence: float = 0.4
    kidney_tumor: float = 0.4
    focus_probability: float = 0.35
    near_probability: float = 0.5
    steps: int = 4400
    learning_rate: float = 8e-4
    seed: int = 1
    merges: int = 300
    refinement: Refinement | None = Refinement()
    tracker: TrackerStage | None = TrackerStage()


def phantom_lessons(phantoms: int, first_seed: int = DemoRecipe.first_seed) -> Lessons:
    """What a new model learns from ``phantoms`` synthetic volumes."""
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
