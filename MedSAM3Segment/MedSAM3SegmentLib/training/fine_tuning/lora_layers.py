"""Low-rank layers of PEFT in a network, in and out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.checkpoints.lora_weights import LoraWeights
from MedSAM3SegmentLib.errors import PackageError

from .tuning import LoraOptions, lora_modules

if TYPE_CHECKING:
    from transformers import Sam3Model

#: PEFT's name for the only adapter.
_NAME = "default"


@contextmanager
def lora_layers(network: Sam3Model, options: LoraOptions, seed: int) -> Iterator[None]:
    """Within the block the network has trainable low-rank layers that change nothing yet, and nothing else learns.

    Afterwards it is as before: its own weights were never written to. Queries, keys and values of the image encoder
    share what goes into their changes, as in MedSAM-3's adapter, where they are one layer.

    Raises:
        PackageError: PEFT is not installed.
    """
    peft = _import_peft()
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, target_modules=lora_modules(network, options.targets), bias="none"
    )
    before = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    peft.inject_adapter_in_model(config, network, _NAME)
    try:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(".lora_" in name)
        for module in network.modules():
            if _is_lora(module):
                # Autocast takes what goes in to its own format; PEFT would first take it to that of the weights.
                module.cast_input_dtype_enabled = False
        for layer in network.vision_encoder.backbone.layers:
            attention = layer.attention
            if _is_lora(attention.q_proj):
                shared = attention.q_proj.lora_A[_NAME]
                attention.k_proj.lora_A[_NAME] = attention.v_proj.lora_A[_NAME] = shared
        yield
    finally:
        _take_out(network)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(before[name])


def lora_weights(weights: Mapping[str, torch.Tensor], options: LoraOptions) -> dict[str, LoraWeights]:
    """The changes by module, from the weights of a network with low-rank layers."""
    end = f".lora_A.{_NAME}.weight"
    modules = [name.removesuffix(end) for name in weights if name.endswith(end)]
    return {
        module: LoraWeights(
            weights[f"{module}{end}"].float(),
            weights[f"{module}.lora_B.{_NAME}.weight"].float(),
            options.alpha / options.rank,
        )
        for module in modules
    }


def _is_lora(module: torch.nn.Module) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")


def _take_out(network: Sam3Model) -> None:
    for name, module in list(network.named_modules()):
        if _is_lora(module):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, module.base_layer)
    # What PEFT leaves behind.
    if hasattr(network, "peft_config"):
        del network.peft_config


def _import_peft() -> Any:
    try:
        import peft
    except ImportError:
        raise PackageError(
            "LoRA is trained with the package peft, which is not installed; install it with 'pip install peft'."
        ) from None
    return peft
