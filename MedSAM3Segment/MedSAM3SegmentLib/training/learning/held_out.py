"""What of a task is held out from training, to tell whether it was learnt: whole volumes, or slices of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.training.batches import known_slices
from MedSAM3SegmentLib.training.dataset import LabelledStack
from MedSAM3SegmentLib.training.fine_tuning.validation import split_stacks

from .replay import select_slices


class HoldOut(StrEnum):
    """What is held out."""

    VOLUMES = "volumes"
    """One volume in four, chosen by the seed: tells what is worth on new volumes."""
    SLICES = "slices"
    """One labelled slice in four of each volume: where there are few volumes; neighbors flatter the figures."""


#: Volumes from which on whole ones are held out: two are left to learn from.
_FEWEST_VOLUMES = 3

#: One in so many is held out.
_EVERY = 4


@dataclass(frozen=True, eq=False)
class SplitTask:
    """A task in two parts.

    Attributes:
        words: what is held out, as part of a sentence.
    """

    train: Sequence[LabelledStack]
    held_out: Sequence[LabelledStack]
    words: Message


def split_task(stacks: Sequence[LabelledStack], hold_out: HoldOut | None, seed: int) -> SplitTask:
    """Set apart what a task is judged by.

    Args:
        hold_out: None for whole volumes where there are enough.

    Raises:
        InputError: there is too little.
    """
    chosen = hold_out or (HoldOut.VOLUMES if len(stacks) >= _FEWEST_VOLUMES else HoldOut.SLICES)
    if chosen is HoldOut.VOLUMES:
        train, held_out = split_stacks(stacks, 1 / _EVERY, seed)
        words = message("{count} of {total} volumes", count=len(held_out), total=len(stacks))
        return SplitTask(train, held_out, words)
    pairs = [_split_slices(stack) for stack in stacks]
    held_out = [held for _, held in pairs if held is not None]
    train = [rest for rest, _ in pairs]
    count, total = (sum(len(known_slices(one)) for one in some) for some in (held_out, stacks))
    if not held_out:
        raise InputError(
            "There are {count} labelled slices, too few to learn from and to tell whether it was learnt; label at "
            "least {least} of a volume.",
            count=total,
            least=_EVERY,
        )
    return SplitTask(train, held_out, message("{count} of {total} labelled slices", count=count, total=total))


def _split_slices(stack: LabelledStack) -> tuple[LabelledStack, LabelledStack | None]:
    """Slices to learn from, and those between them that are held out; None where there are too few.

    Slices that show something are parted and slices that show nothing, so that both are in both.
    """
    known = known_slices(stack)
    held: list[int] = []
    for shows in (True, False):
        some = [index for index in known if bool(stack.codes[index].any()) is shows]
        inner = some[1:-1]
        count = len(some) // _EVERY
        held += sorted({inner[round(n)] for n in np.linspace(0, len(inner) - 1, count + 2)[1:-1]} if inner else ())
    if not held or not any(stack.codes[index].any() for index in held):
        return stack, None
    return select_slices(stack, [i for i in known if i not in held]), select_slices(stack, sorted(held))
