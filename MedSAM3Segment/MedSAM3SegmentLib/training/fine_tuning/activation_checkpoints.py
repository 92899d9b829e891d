"""Keeping less between the way forward and the way back: layers are gone through again instead (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    import torch
    from transformers import Sam3Model


@contextmanager
def checkpointed_activations(network: Sam3Model) -> Iterator[None]:
    """Within the block each layer keeps only what goes into it; gradients are the same, and a step takes longer."""
    layers = _layers(network)
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # That of the class is left.


def _layers(network: Sam3Model) -> list[torch.nn.Module]:
    return [
        *network.vision_encoder.backbone.layers,
        *network.text_encoder.text_model.encoder.layers,
        *network.detr_encoder.layers,
        *network.detr_decoder.layers,
        network.mask_decoder.pixel_decoder,
    ]
