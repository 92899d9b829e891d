"""What SAM 3's tracker remembers of one object: a little of each slice near the prompts and near where it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True, eq=False)
class MemoryEntry:
    """What was seen of an object on one slice.

    Attributes:
        maskmem_features: ``[token, 1, channel]``, where it was and how it looked there; None once it is out of reach.
        object_pointer: ``[1, channel]``, the object in one vector.
    """

    maskmem_features: torch.Tensor | None
    object_pointer: torch.Tensor

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.maskmem_features, self.object_pointer) if tensor is not None)


@dataclass(eq=False)
class MemoryBank:
    """The memory of one object (SAM 3's memory bank): its slices, by their number in the stack.

    Attributes:
        cond_slices: slices with a prompt; never forgotten.
        non_cond_slices: slices the object was tracked to.
    """

    cond_slices: dict[int, MemoryEntry] = field(default_factory=dict)
    non_cond_slices: dict[int, MemoryEntry] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(memory.bytes for kept in (self.cond_slices, self.non_cond_slices) for memory in kept.values())

    def forget(self, current: int, spatial_reach: int, pointer_reach: int) -> None:
        """Drop what no pass that goes on from ``current``, or starts at a prompted slice, can look back to.

        Args:
            spatial_reach: over how many slices ``MemoryEntry.maskmem_features`` is looked at.
            pointer_reach: over how many slices ``MemoryEntry.object_pointer`` is.
        """
        for position, distance in list(self._distances(current)):
            if distance > max(spatial_reach, pointer_reach):
                del self.non_cond_slices[position]
            elif distance > spatial_reach:
                self.non_cond_slices[position] = replace(self.non_cond_slices[position], maskmem_features=None)

    def _distances(self, current: int) -> Iterator[tuple[int, int]]:
        """Of every tracked slice from the nearest place that a pass may go on from."""
        for position in self.non_cond_slices:
            yield position, min(abs(position - place) for place in (current, *self.cond_slices))
