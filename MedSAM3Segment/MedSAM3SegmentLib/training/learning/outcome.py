"""What came of learning: how good each task was before and is after, and whether the adapter was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.training.fine_tuning.validation import ValidationScore


@dataclass(frozen=True)
class TaskComparison:
    """A task before and after.

    Attributes:
        name: ``this task``, or that of an earlier one.
        concepts: that it is about.
        is_earlier: whether it was learnt before.
        held_out: slices that were looked at, none of which was learnt from.
    """

    name: str
    concepts: tuple[str, ...]
    is_earlier: bool
    held_out: int
    before: ValidationScore
    after: ValidationScore

    @property
    def dice_gain(self) -> float:
        """How much Dice rose; NaN where no held-out slice shows a concept."""
        return self.after.dice - self.before.dice

    @property
    def presence_gain(self) -> float:
        return self.after.presence - self.before.presence

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, for the card."""
        return {
            "name": self.name,
            "concepts": list(self.concepts),
            "held_out_slices": self.held_out,
            "before": self.before.figures,
            "after": self.after.figures,
        }


@dataclass(frozen=True, eq=False)
class LearnOutcome:
    """What came of learning.

    Attributes:
        adapter: its name.
        folder: where it is installed, or None where nothing was.
        reason: why it was installed, or why not.
        tasks: the new one first.
        messages: what else to know.
        replay: bytes on the disk of what is kept of all tasks of the adapter.
    """

    adapter: str
    folder: Path | None
    reason: Message
    tasks: tuple[TaskComparison, ...]
    messages: tuple[str, ...] = ()
    replay: int = 0

    @property
    def is_installed(self) -> bool:
        return self.folder is not None


def judge_tasks(tasks: Sequence[TaskComparison], least_gain: float, margin: float) -> Message | None:
    """Why what was learnt is not kept, or None where it is.

    Args:
        least_gain: how much better the new task must be in Dice, or where nothing is to be found in presence.
        margin: how much worse an earlier task may be in Dice or presence, and the new one in presence.
    """
    for task in tasks:
        if task.is_earlier:
            for words, gain, before, after in (
                ("Dice", task.dice_gain, task.before.dice, task.after.dice),
                ("presence", task.presence_gain, task.before.presence, task.after.presence),
            ):
                if gain < -margin:
                    return message(
                        "Nothing was installed: {figure} of {task}, which was learnt before, falls from {before} to "
                        "{after}, more than {margin}; learn into a new adapter, or keep more of earlier tasks.",
                        figure=words,
                        task=task.name,
                        before=f"{before:.3f}",
                        after=f"{after:.3f}",
                        margin=f"{margin:g}",
                    )
            continue
        is_dice = bool(np.isfinite(task.dice_gain))
        gain = task.dice_gain if is_dice else task.presence_gain
        before, after = (one.dice if is_dice else one.presence for one in (task.before, task.after))
        if not gain >= least_gain:
            return message(
                "Nothing was installed: on slices that were held out, {figure} was {before} before and is {after} "
                "afterwards, which is not {gain} better; give more labelled slices or more steps.",
                figure="Dice" if is_dice else "presence",
                before=f"{before:.3f}",
                after=f"{after:.3f}",
                gain=f"{least_gain:g}",
            )
        if task.presence_gain < -margin:
            return message(
                "Nothing was installed: on slices that were held out, the share of right answers to whether something "
                "is there falls from {before} to {after}, more than {margin}; give slices without it too.",
                before=f"{task.before.presence:.3f}",
                after=f"{task.after.presence:.3f}",
                margin=f"{margin:g}",
            )
    return None
