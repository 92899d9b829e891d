"""How good a model is on stacks that it is not trained on: masks and presence, as a run would give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.assembly.assemble import slice_mask
from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.detection.postprocess import postprocess_slice
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import Sam3Detector, VisionFeatures
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.training.batches import known_slices
from MedSAM3SegmentLib.training.dataset import LabelledStack

#: Slices of a stack that are looked at, spread evenly.
_MOST_SLICES = 24
_BATCH = 4

#: Hears what was found: number of the stack, index of the slice, concept, and its mask ``[row, column]``.
FoundOnSlice = Callable[[int, int, str, BoolMask], None]


@dataclass(frozen=True)
class ValidationScore:
    """Figures of a model.

    Attributes:
        dice: Dice coefficient over all slices of a stack, mean over the concepts that it shows and over stacks; NaN
            where no stack shows any.
        presence: share of pairs of slice and concept where the model says rightly whether it is there, mean of the
            shares among those that are and those that are not.
    """

    dice: float
    presence: float

    @property
    def total(self) -> float:
        """What the best model has most of."""
        return float(np.nanmean([self.dice, self.presence]))

    @property
    def figures(self) -> dict[str, float]:
        known = {"dice": self.dice, "presence": self.presence}
        return {name: round(value, 4) for name, value in known.items() if np.isfinite(value)}


def split_stacks(
    stacks: Sequence[LabelledStack], share: float, seed: int
) -> tuple[list[LabelledStack], list[LabelledStack]]:
    """Stacks to train on and stacks to validate on, which are whole volumes, chosen by ``seed``.

    Raises:
        InputError: there are too few.
    """
    if len(stacks) < 2:
        raise InputError(
            "There is one training volume alone, of which none can be kept for validation; name other data with "
            "--validation, or leave it out."
        )
    count = min(max(round(share * len(stacks)), 1), len(stacks) - 1)
    chosen = set(np.random.default_rng([seed, 17]).permutation(len(stacks))[:count].tolist())
    return (
        [stack for number, stack in enumerate(stacks) if number not in chosen],
        [stack for number, stack in enumerate(stacks) if number in chosen],
    )


@torch.no_grad()
def validate(
    model: Sam3Detector,
    stacks: Sequence[LabelledStack],
    card: ModelCard,
    check: Callable[[], None] = lambda: None,
    hear: FoundOnSlice | None = None,
) -> ValidationScore:
    """Ask a model for every concept of every stack.

    Args:
        card: with the rules and the threshold that it will be used with: those of what is trained, not of its base.
        check: called before each few slices; raises to end it.
        hear: told what was found on each slice that is looked at.
    """
    was_training = model.network.training
    model.network.eval()
    dices, right = [], {True: list[bool](), False: list[bool]()}
    for place, stack in enumerate(stacks):
        known = known_slices(stack)
        chosen = sorted({known[round(n)] for n in np.linspace(0, len(known) - 1, min(len(known), _MOST_SLICES))})
        told = None if hear is None else partial(hear, place)
        dices += _validate_stack(model, stack, card, chosen, right, check, told)
    model.network.train(was_training)
    shares = [np.mean(answers) for answers in right.values() if answers]
    return ValidationScore(float(np.mean(dices)) if dices else float("nan"), float(np.mean(shares)))


def _features(model: Sam3Detector, stack: LabelledStack, batch: list[int]) -> VisionFeatures:
    """Of some slices of a stack, as the detector gets them."""

    def alone(indices: Sequence[int]) -> torch.Tensor:
        pictures = to_model_input(stack.slices[list(indices)], stack.window, model.image_size)
        return model.encode_images(pictures).tokens

    adapter = model.slice_adapter
    return VisionFeatures(alone(batch) if adapter is None else adapter.of_slices(alone, batch, len(stack.slices)))


def _validate_stack(
    model: Sam3Detector,
    stack: LabelledStack,
    card: ModelCard,
    chosen: Sequence[int],
    right: dict[bool, list[bool]],
    check: Callable[[], None],
    hear: Callable[[int, str, BoolMask], None] | None,
) -> list[float]:
    """The Dice coefficient of each concept that is on one of the slices."""
    phrases = model.encode_phrases(list(stack.concepts))
    hits, totals = np.zeros(len(stack.concepts)), np.zeros(len(stack.concepts))
    wanted = np.zeros(len(stack.concepts), bool)
    threshold, shape = card.threshold, stack.codes.shape[1:]
    for first in range(0, len(chosen), _BATCH):
        check()
        batch = list(chosen[first : first + _BATCH])
        pyramid = model.build_pyramid(_features(model, stack, batch))
        for number, concept in enumerate(stack.concepts):
            raw = model.detect(pyramid, phrases[number : number + 1].repeat(len(batch)))
            for pair, index in enumerate(batch):
                item = postprocess_slice(raw, pair, index, card)
                truth = stack.mask(index, concept)
                ignored = stack.ignored_on(index)
                counted = np.ones(shape, bool) if ignored is None else ~ignored
                is_there = bool((truth & counted).any())
                right[is_there].append((item.score >= threshold) == is_there)
                found = slice_mask(item, threshold, shape) & counted
                if hear is not None:
                    hear(index, concept, found)
                hits[number] += 2 * np.count_nonzero(found & truth)
                totals[number] += np.count_nonzero(found) + np.count_nonzero(truth & counted)
                wanted[number] |= is_there
    return [float(hit / total) for hit, total in zip(hits[wanted], totals[wanted], strict=True)]
