"""How much memory a training takes, found out with one slice before it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from MedSAM3SegmentLib.models.detector import Sam3Detector
from MedSAM3SegmentLib.models.memory import free_memory

#: Numbers of four bytes that are kept for each trained weight: its gradient, two of the optimiser, its average.
_PER_WEIGHT = 4


@dataclass(frozen=True)
class TrainingMemory:
    """What a training takes beside the loaded model, in bytes.

    Attributes:
        weights: for gradients, optimiser and average.
        pictures: kept from the way forward to the way back, for all slices that go through together.
        free: on the device, or None where that cannot be told.
    """

    weights: int
    pictures: int
    free: int | None

    @property
    def total(self) -> int:
        return self.weights + self.pictures


def estimate_training_memory(
    model: Sam3Detector, losses_of_a_slice: Callable[[], torch.Tensor], slices: int
) -> TrainingMemory:
    """What training takes.

    Args:
        losses_of_a_slice: goes forward with one slice and all that is asked of it.
        slices: that go through together.
    """
    adapter = model.trained_slice_adapter
    all_weights = [*model.network.parameters(), *(adapter.parameters() if adapter is not None else ())]
    weights = [parameter for parameter in all_weights if parameter.requires_grad]
    owned = {parameter.untyped_storage().data_ptr() for parameter in all_weights}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        losses_of_a_slice()
    trained = sum(parameter.numel() for parameter in weights)
    return TrainingMemory(4 * _PER_WEIGHT * trained, slices * sum(kept.values()), free_memory(model.device))
