"""Which weights of a model learn during a training, and that no others are ever written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from MedSAM3SegmentLib.adapters.slice_adapter import SliceAdapter
from MedSAM3SegmentLib.models.detector import Sam3Detector

from .lora_layers import lora_layers
from .recipe import FineTuning
from .tuning import Tune, freeze_encoders, own_memory


@contextmanager
def trainable_weights(model: Sam3Detector, recipe: FineTuning) -> Iterator[None]:
    """Within the block the weights that the recipe names learn, and no others; adapters leave no trace."""
    network = model.network
    if recipe.tune is Tune.LORA:
        with lora_layers(network, recipe.lora, recipe.seed):
            yield
        return
    if recipe.tune.freezes_encoders:
        added = _new_slice_adapter(model, recipe.seed) if recipe.tune is Tune.SLICE_ADAPTER else nullcontext()
        learns = {name: p.requires_grad for name, p in network.named_parameters()}
        freeze_encoders(network)
        before = {name: p.data for name, p in network.named_parameters() if p.requires_grad}
        own_memory(network)
        try:
            with added:
                yield
        finally:
            for name, parameter in network.named_parameters():
                parameter.data = before.get(name, parameter.data)
                parameter.requires_grad_(learns[name])
        return
    network.requires_grad_(True)
    own_memory(network)
    yield


@contextmanager
def _new_slice_adapter(model: Sam3Detector, seed: int) -> Iterator[None]:
    """Within the block the model has a slice adapter that changes nothing yet."""
    torch.manual_seed(seed)
    adapter = SliceAdapter(int(model.network.config.vision_config.backbone_config.hidden_size))
    model.trained_slice_adapter = adapter.to(model.device)
    try:
        yield
    finally:
        model.trained_slice_adapter = None
