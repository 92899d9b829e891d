"""Trackers whose answers a test knows, in place of the network's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from MedSAM3SegmentLib.models.detector import VisionFeatures
from MedSAM3SegmentLib.models.memory_bank import MemoryBank, MemoryEntry
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, PointPrompt, TrackerOutput

Mask = NDArray[np.bool_]


@dataclass
class ScriptedTracker:
    """Answers with the mask that the script has for a slice; its features are the slices' numbers.

    Attributes:
        script: by slice, bool ``[row, column]``; slices that are missing are answered with "not here".
        prompts: what was prompted, by slice.
        tracked: slices that were asked for, in order.
    """

    script: Mapping[int, Mask]
    prompts: dict[int, PointPrompt | MaskPrompt] = field(default_factory=dict)
    tracked: list[int] = field(default_factory=list)

    spatial_reach = 6
    pointer_reach = 15

    def answer(self, features: int, prompt: PointPrompt | MaskPrompt) -> TrackerOutput:
        self.prompts[features] = prompt
        return _answer(prompt.mask.numpy() if isinstance(prompt, MaskPrompt) else self.script.get(features))

    def track(self, features: int, position: int, depth: int, memory: MemoryBank, *, reverse: bool) -> TrackerOutput:
        del depth, memory, reverse
        assert features == position
        self.tracked.append(position)
        return _answer(self.script.get(position))

    def encode_memory(self, features: int, mask: TrackerOutput, *, prompted: bool, dtype: torch.dtype) -> MemoryEntry:
        del features, mask, prompted
        return MemoryEntry(None, torch.zeros(1, 1, dtype=dtype))


def _answer(mask: Mask | None) -> TrackerOutput:
    here = mask is not None and bool(mask.any())
    logits = torch.full((64, 64), -1024.0)
    if mask is not None and here:
        logits = torch.where(torch.from_numpy(np.ascontiguousarray(mask)), 8.0, -8.0)
    return TrackerOutput(logits, torch.tensor(5.0 if here else -5.0), torch.tensor(0.9), torch.zeros(4))


@dataclass(frozen=True)
class CopyingTracker:
    """A double with perfect trust: it gives back the mask of the nearest slice that it was told to remember."""

    networks: object

    def build_features(self, image: VisionFeatures) -> VisionFeatures:
        return image

    def answer(self, features: VisionFeatures, prompt: MaskPrompt) -> TrackerOutput:
        del features
        return TrackerOutput(torch.where(prompt.mask, 20.0, -20.0), torch.tensor(9.0), torch.ones(()), torch.zeros(1))

    def encode_memory(
        self, features: object, mask: TrackerOutput, *, prompted: bool, dtype: torch.dtype
    ) -> MemoryEntry:
        del features
        assert prompted
        return MemoryEntry(mask.pred_masks.to(dtype), mask.object_pointer[None])

    def track(self, features: object, position: int, depth: int, memory: MemoryBank, *, reverse: bool) -> TrackerOutput:
        del features
        assert not reverse
        assert sorted(memory.cond_slices) == list(range(position)) == list(range(depth - 1))
        logits = memory.cond_slices[position - 1].maskmem_features
        assert logits is not None
        return TrackerOutput(logits, torch.tensor(9.0), torch.ones(()), torch.zeros(1))
