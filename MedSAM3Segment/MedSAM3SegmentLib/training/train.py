"""From labeled stacks to a model folder: a new model, or one that another model is trained on from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.progress import CancelCheck
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .dataset import LabelledStack

if TYPE_CHECKING:
    from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
    from MedSAM3SegmentLib.models.detector import Sam3Detector

    from .architecture import Architecture
    from .batches import BatchPlan
    from .loop import Schedule, TrainingState

Report = Callable[["TrainingState"], None]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a model is to learn.

    Attributes:
        stacks: labeled slices; gone through once.
        plan: what is asked about them.
        texts: what a new model's tokenizer is trained on.
    """

    stacks: Iterable[LabelledStack]
    plan: BatchPlan
    texts: Sequence[str]


def lessons_of(labelled: Iterable[LabelledStack], with_vocabulary: bool) -> Lessons:
    """What labelled stacks teach, their concepts spelt as the model is asked for them.

    Args:
        labelled: see ``dataset.read_stacks``, whose errors are raised here.
        with_vocabulary: also teach that the vocabulary's other phrases are not there. That is right for a new model,
            which knows nothing but these stacks, and wrong for one that may know them already and have them in view.
    """
    from .batches import BatchPlan
    from .text_augmentation import all_prompt_texts

    stacks = list(labelled)
    concepts = list(dict.fromkeys(name for stack in stacks for name in stack.concepts))
    others = unrelated_phrases(concepts) if with_vocabulary else []
    return Lessons(stacks, BatchPlan(others=others), all_prompt_texts(concepts, {}, others))


def unrelated_phrases(concepts: Iterable[str]) -> list[str]:
    """The phrases of the vocabulary that have no word in common with any of ``concepts`` nor name one of them."""
    vocabulary = Vocabulary.load()
    names = {concept for concept in map(vocabulary.find, concepts) if concept}
    words = {word for name in concepts for word in name.split()}
    words |= {word for concept in names for word in concept.phrase.split()}
    return sorted(c.phrase for c in vocabulary.concepts if words.isdisjoint(c.phrase.split()))


def train_new_model(
    lessons: Lessons,
    card: ModelCard,
    architecture: Architecture,
    output: Path,
    *,
    schedule: Schedule,
    seed: int,
    merges: int = 300,
    device: str = "cpu",
    report: Report | None = None,
    cancel: CancelCheck | None = None,
) -> Sam3Detector:
    """Train a model from nothing into the folder ``output``.

    Args:
        seed: of the first weights and of all choices.
        merges: of the tokenizer.

    Returns:
        The model as it was saved.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    from MedSAM3SegmentLib.models.detector import Sam3Detector

    from .architecture import new_network, train_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(lessons.texts, merges, Path(folder))
    model = Sam3Detector(new_network(architecture, tokenizer, seed), tokenizer, card, device)
    train_model(model, lessons, output, schedule=schedule, seed=seed, report=report, cancel=cancel)
    return model


def train_model(
    model: Sam3Detector,
    lessons: Lessons,
    output: Path,
    *,
    schedule: Schedule,
    seed: int,
    report: Report | None = None,
    cancel: CancelCheck | None = None,
) -> None:
    """Train all weights of ``model`` on, into the folder ``output``.

    Raises:
        Cancelled: ``cancel`` said so; the last snapshot stays.
    """
    from .batches import BatchMaker
    from .detector_trainer import train

    stacks = list(until_cancelled(lessons.stacks, cancel))
    patch_size = int(model.network.config.vision_config.backbone_config.patch_size)
    mask_size = 4 * model.image_size // patch_size
    batches = BatchMaker(stacks, lessons.plan, model.image_size, mask_size, seed)
    train(model, batches, schedule, output, report=report, cancel=cancel)


def check_can_be_trained_on(model: Sam3Detector) -> None:
    """Refuse what would be lost on the way.

    Raises:
        InputError: the base has an adapter that a whole model has no place for.
    """
    if model.slice_adapter is not None:
        raise InputError(
            "The base {name} has an adapter that works between slices, which would be lost; train on its base by "
            "itself.",
            name=model.card.name,
        )


def until_cancelled(stacks: Iterable[LabelledStack], cancel: CancelCheck | None) -> Iterator[LabelledStack]:
    """``stacks``, of which making each takes a while.

    Raises:
        Cancelled: ``cancel`` said so.
    """
    for stack in stacks:
        if cancel is not None and cancel():
            raise Cancelled("Stopped before training began; nothing was written.")
        yield stack
