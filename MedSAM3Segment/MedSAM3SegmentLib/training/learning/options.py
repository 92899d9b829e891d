"""What can be chosen of learning a task, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.model_store.resolve import find, pieces_of
from MedSAM3SegmentLib.model_store.store import check_new_name, find_installed
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.fine_tuning.recipe import PromptKind
from MedSAM3SegmentLib.training.fine_tuning.tuning import LoraOptions, Tune

from .held_out import HoldOut
from .replay import ReplaySize


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
