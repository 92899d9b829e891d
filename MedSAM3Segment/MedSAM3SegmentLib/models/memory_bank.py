"""What SAM 3's tracker remembers of one object: a little of each slice near the prompts and near where it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True, eq=False)
class SliceMemory:
    """What was seen of an object on one slice.

    Attributes:
        spatial: ``[token, 1, channel]``, where it was and how it looked there; None once it is out of reach.
        pointer: ``[1, channel]``, the object in one vector.
    """

    spatial: torch.Tensor | None
    pointer: torch.Tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.spatial, self.pointer) if tensor is not None)


@dataclass(eq=False)
class ObjectMemory:
    """An object's slices, by their number in the stack.

    Attributes:
        prompted: slices with a prompt; never forgotten.
        tracked: slices the object was tracked to.
    """

    prompted: dict[int, SliceMemory] = field(default_factory=dict)
    tracked: dict[int, SliceMemory] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(memory.bytes for kept in (self.prompted, self.tracked) for memory in kept.values())

    def forget(self, current: int, spatial_reach: int, pointer_reach: int) -> None:
        """Drop what no pass that goes on from ``current``, or starts at a prompted slice, can look back to.

        Args:
            spatial_reach: over how many slices ``SliceMemory.spatial`` is looked at.
            pointer_reach: over how many slices ``SliceMemory.pointer`` is.
        """
        for position, distance in list(self._distances(current)):
            if distance > max(spatial_reach, pointer_reach):
                del self.tracked[position]
            elif distance > spatial_reach:
                self.tracked[position] = replace(self.tracked[position], spatial=None)

    def _distances(self, current: int) -> Iterator[tuple[int, int]]:
        """Of every tracked slice from the nearest place that a pass may go on from."""
        for position in self.tracked:
            yield position, min(abs(position - place) for place in (current, *self.prompted))
