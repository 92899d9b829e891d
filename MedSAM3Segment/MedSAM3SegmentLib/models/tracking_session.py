"""Carrying objects through a stack of slices, from prompts on some of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import torch

from .memory_bank import MemoryBank
from .tracker import Tracker
from .tracker_types import (
    MaskPrompt,
    PointPrompt,
    TrackerFeatures,
    TrackerOutput,
)


class TrackingSession:
    """The objects that are followed through one stack, and what is remembered of each.

    Objects are independent: what one is found to be depends neither on the others nor on their order, and they may
    overlap. The caller computes each slice's features once (``Tracker.build_features``) and decides where to go and
    when to stop. The same calls give the same bits.

    Memory is bounded by the prompts, not by the stack: kept are prompted slices and the tracked ones near a prompted
    slice or near the slice last stepped to. Masks are those of an unlimited memory as long as every pass starts next to
    a slice that was prompted before the pass went by, and goes on slice by slice. Where a slice far from all prompts is
    corrected later, the passes from there know what is still kept.

    Args:
        depth: slices in the stack.
        memory_dtype: number format of the memory. Meta rounds it to bfloat16, half the size; the rounding grows from
            slice to slice.
    """

    def __init__(self, tracker: Tracker, depth: int, *, memory_dtype: torch.dtype = torch.float32) -> None:
        self._tracker = tracker
        self._depth = depth
        self._memory_dtype = memory_dtype
        self._objects: dict[Hashable, MemoryBank] = {}

    @property
    def objects(self) -> tuple[Hashable, ...]:
        """In the order they were first prompted."""
        return tuple(self._objects)

    @property
    def memory_bytes(self) -> int:
        """What all objects' memories take."""
        return sum(memory.bytes for memory in self._objects.values())

    def prompted(self, object_: Hashable) -> frozenset[int]:
        """The slices on which an object was prompted."""
        return frozenset(self._objects[object_].cond_slices)

    @torch.inference_mode()
    def prompt(
        self, object_: Hashable, position: int, features: TrackerFeatures, prompt: PointPrompt | MaskPrompt
    ) -> TrackerOutput:
        """Show an object on a slice; an earlier prompt or answer there is replaced.

        Args:
            object_: any name for the object; a new one begins a new object.
            position: number of the slice in the stack.
            features: of that slice.

        Returns:
            The object on that slice; a mask prompt comes back as it was, at the decoder's size.
        """
        self._check(position)
        mask = self._tracker.answer(features, prompt)
        memory = self._objects.setdefault(object_, MemoryBank())
        memory.cond_slices[position] = self._tracker.encode_memory(
            features, mask, prompted=True, dtype=self._memory_dtype
        )
        memory.non_cond_slices.pop(position, None)
        return mask

    @torch.inference_mode()
    def step(
        self,
        position: int,
        features: TrackerFeatures,
        *,
        reverse: bool = False,
        objects: Iterable[Hashable] | None = None,
    ) -> dict[Hashable, TrackerOutput]:
        """Track objects to a slice from the ones before it.

        Args:
            position: number of the slice in the stack, next to a prompted slice or to the one stepped to last.
            features: of that slice.
            reverse: whether slices come in falling order.
            objects: which to track, None for all.

        Returns:
            What was found of each, without the objects prompted on this slice: ``prompt`` has answered for those.
        """
        self._check(position)
        tracker, found = self._tracker, {}
        for object_ in self.objects if objects is None else objects:
            memory = self._objects[object_]
            if position in memory.cond_slices:
                continue
            mask = tracker.track(features, position, self._depth, memory, reverse=reverse)
            memory.non_cond_slices[position] = tracker.encode_memory(
                features, mask, prompted=False, dtype=self._memory_dtype
            )
            memory.forget(position, tracker.spatial_reach, tracker.pointer_reach)
            found[object_] = mask
        return found

    def drop(self, object_: Hashable) -> None:
        """End an object and free its memory."""
        del self._objects[object_]

    def _check(self, position: int) -> None:
        if not 0 <= position < self._depth:
            raise ValueError(f"Slice {position} is not in a stack of {self._depth} slices.")
