"""How a SAM 3 is trained on: what of it, on which questions, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from MedSAM3SegmentLib.adapters.slice_adapter import REACH
from MedSAM3SegmentLib.training.batches import BatchPlan
from MedSAM3SegmentLib.training.loop import Schedule

from .tuning import LoraOptions, Tune

if TYPE_CHECKING:
    from MedSAM3SegmentLib.training.losses import LossWeights
    from MedSAM3SegmentLib.training.meta.matching import MetaLossWeights


class PromptKind(StrEnum):
    """What a model is trained to be asked with, as MedSAM-3's paper calls it."""

    TEXT = "T"
    """Words alone."""
    TEXT_AND_BOX = "T+I"
    """Words with a box around an object of the concept, as a person draws it."""
    BOTH = "both"
    """Half and half; of the boxes some come without words."""

    @property
    def in_card(self) -> tuple[str, ...]:
        return ("T", "T+I") if self is PromptKind.BOTH else (self.value,)

    def plan(self, plan: BatchPlan) -> BatchPlan:
        """A plan that asks so."""
        probability, alone = {
            PromptKind.TEXT: (0.0, 0.0),
            PromptKind.TEXT_AND_BOX: (1.0, 0.0),
            PromptKind.BOTH: (0.5, 0.25),
        }[self]
        return replace(plan, box_probability=probability, box_alone_probability=alone)


@dataclass(frozen=True)
class FineTuning:
    """How to train.

    Attributes:
        tune: which weights.
        schedule: how long and how hard.
        plan: what is asked.
        seed: of all choices.
        losses: what counts how much: this project's or Meta's; None for this project's usual.
        lora: of ``Tune.LORA``.
        layer_decay: of ``Tune.ALL``; 1 for the same rate everywhere.
        accumulate: parts that a batch is gone through in, to need less memory.
    """

    tune: Tune
    schedule: Schedule
    plan: BatchPlan
    seed: int = 1
    losses: LossWeights | MetaLossWeights | None = None
    lora: LoraOptions = field(default_factory=LoraOptions)
    layer_decay: float = 0.9
    accumulate: int = 1

    @property
    def effective_plan(self) -> BatchPlan:
        """The plan; frozen encoders look at each of a few views of a slice once, and at no picture of nothing."""
        if not self.tune.freezes_encoders:
            return self.plan
        neighbors = REACH if self.tune is Tune.SLICE_ADAPTER else 0
        return replace(self.plan, views=self.plan.views or 1, neighbors=neighbors, empty_probability=0.0)

    def describe(self) -> dict[str, Any]:
        """JSON that says how, for the card and for going on after a break."""
        plan = {name: value for name, value in asdict(self.effective_plan).items() if name not in _LONG}
        words: dict[str, Any] = {
            "tune": self.tune.value,
            "schedule": asdict(self.schedule),
            "questions": plan,
            "seed": self.seed,
            "accumulate": self.accumulate,
        }
        if self.tune is Tune.LORA:
            words["lora"] = {"rank": self.lora.rank, "alpha": self.lora.alpha, "targets": list(self.lora.targets)}
        if self.tune is Tune.ALL:
            words["layer decay"] = self.layer_decay
        if self.losses is not None:
            words["losses"] = {"kind": type(self.losses).__name__, **asdict(self.losses)}
        return words


#: Of a plan, what is not for a card.
_LONG = ("synonyms", "others")


def concepts_of(stacks: Sequence[Any]) -> tuple[str, ...]:
    """The concepts that stacks label, in their order."""
    return tuple(dict.fromkeys(name for stack in stacks for name in stack.concepts))


def describe_data(stacks: Sequence[Any], source: str) -> str:
    """Training data in words, without any name of a patient or a file of one."""
    slices = sum(len(stack.slices) for stack in stacks)
    return f"{len(stacks)} volumes with {slices} slices, from {source}."
