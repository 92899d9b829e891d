"""What a training batch is and how batches are put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from .losses import GroundTruth


class ViewKey(NamedTuple):
    """A picture that is always the same: which slice of which stack, and which of the ways it is moved."""

    stack: int
    slice_index: int
    view: int


#: A slice among its neighbors: pictures that give ``[1, 3, size, size]``, and which they are.
Run = tuple[tuple[ViewKey, Callable[[], torch.Tensor]] | None, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices and what is asked of each.

    Attributes:
        pictures: give ``[1, 3, size, size]``, one for each slice.
        phrases: slice by slice, the same number for each.
        boxes: ``[pair, 1, 4]`` center x, center y, width, height.
        box_labels: ``[pair, 1]``, 1 or padding.
        targets: one per pair.
        views: which pictures these are, one for each slice; empty where each is a new one.
        runs: for each slice the pictures of its neighbors and itself, in their order, None beyond an end of the
            volume; empty where nothing looks at neighbors.
    """

    pictures: Sequence[Callable[[], torch.Tensor]]
    phrases: list[str]
    boxes: torch.Tensor
    box_labels: torch.Tensor
    targets: list[GroundTruth]
    views: tuple[ViewKey, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def pixels(self) -> torch.Tensor:
        """``[slice, 3, size, size]``."""
        return torch.cat([picture() for picture in self.pictures])

    def part(self, first: int, end: int) -> Batch:
        """The slices from ``first`` to before ``end``."""
        per_slice = len(self.phrases) // len(self.pictures)
        pairs = slice(first * per_slice, end * per_slice)
        return Batch(
            self.pictures[first:end],
            self.phrases[pairs],
            self.boxes[pairs],
            self.box_labels[pairs],
            self.targets[pairs],
            self.views[first:end],
            self.runs[first:end],
        )


@dataclass(frozen=True)
class BatchPlan:
    """How batches are put together.

    Attributes:
        slices: pictures per batch.
        phrases: prompts per picture.
        focus: concepts that are rare or small and asked for more often.
        focus_probability: how often a slice is chosen because it shows one of them, each as often as the others.
        focus_weight: how many times as often as another concept in view one of them is asked for.
        box_probability: how often a present concept comes with a box.
        box_alone_probability: how often a box has no phrase.
        views: ways that a slice is moved and windowed, so that its picture is one of as many; 0 for a new one each
            time it is drawn.
        neighbors: slices on each side that are drawn too, moved in the same way; 0 for none.
        empty_probability: how often a picture is replaced by one that shows nothing.
        near_probability: how often an absent concept that is asked for has a word in common with one in view, where
            there is such a one (the left kidney beside the right one, the tumor in an organ without), or is one of
            ``focus``, which is seen so often that nothing else would teach to say no to it.
        replay_stacks: how many stacks at the end are of earlier tasks.
        replay_probability: how often a slice is one of theirs.
        synonyms: other wordings of a concept.
        others: phrases of things that are never in these pictures.
    """

    slices: int = 8
    phrases: int = 4
    focus: tuple[str, ...] = ()
    focus_probability: float = 0.25
    focus_weight: float = 2.0
    box_probability: float = 0.2
    box_alone_probability: float = 0.5
    views: int = 0
    neighbors: int = 0
    empty_probability: float = 0.04
    near_probability: float = 0.0
    replay_stacks: int = 0
    replay_probability: float = 0.5
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    others: Sequence[str] = ()
