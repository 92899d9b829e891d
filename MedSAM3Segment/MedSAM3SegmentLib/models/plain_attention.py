"""How a small model attends while it trains on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .detector import Sam3Detector
from .devices import LARGE_LAYER
from .threads import layer_size


@contextmanager
def plain_attention(model: Sam3Detector, dtype: torch.dtype) -> Iterator[None]:
    """Within, a small model that trains in bfloat16 on a CPU attends by plain products of matrices.

    PyTorch's fused kernel takes long to go back in bfloat16: of a step of LoRA on the demo model plain products leave
    two thirds. In float32 the fused kernel is faster by a fifth, and large models had to keep a number for every pair
    of tokens.

    Args:
        dtype: that it trains in.
    """
    network = model.network
    if model.device.type != "cpu" or dtype != torch.bfloat16 or layer_size(network.config) >= LARGE_LAYER:
        yield
        return
    # Each part asks its own configuration.
    configs = {id(config): config for module in network.modules() if (config := getattr(module, "config", None))}
    before = [(config, config._attn_implementation) for config in configs.values()]
    for config, _ in before:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, name in before:
            config._attn_implementation = name
