"""Training an adapter on from where it is: its own size, and its weights before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from MedSAM3SegmentLib.checkpoints.lora_weights import Adapter
from MedSAM3SegmentLib.checkpoints.weight_targets import DETECTOR_MODEL
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.training.fine_tuning.tuning import LORA_TARGETS, LoraOptions, Tune, lora_modules

if TYPE_CHECKING:
    from transformers import Sam3Model

#: PEFT's name for the only adapter of a network.
_NAME = "default"


def tuning_of(adapter: Adapter, network: Sam3Model) -> tuple[Tune, LoraOptions]:
    """What an adapter tunes, so that training can go on with the same weights.

    Raises:
        ModelError: it is of a kind that cannot be trained on, such as low-rank changes of several sizes.
    """
    if adapter.additions:
        raise ModelError(
            "The adapter '{adapter}' sees neighboring slices, which learning cannot go on with; learn into a new one.",
            adapter=adapter.identity.name,
        )
    if not adapter.changes:
        return Tune.DETECTOR, LoraOptions()
    changes = {_module(name): change for name, change in adapter.changes.items()}
    sizes = {(int(change.down.shape[0]), change.scale) for change in changes.values()}
    targets = tuple(
        name for name in LORA_TARGETS if any(module in changes for module in lora_modules(network, (name,)))
    )
    if adapter.replacements or len(sizes) > 1 or not targets or set(lora_modules(network, targets)) != changes.keys():
        raise _cannot(adapter)
    rank, scale = sizes.pop()
    return Tune.LORA, LoraOptions(rank, scale * rank, targets)


def start_from(adapter: Adapter) -> Callable[[Sam3Model], None]:
    """Gives a network whose trainable weights are those of ``tuning_of`` the adapter's values.

    Raises:
        ModelError: queries, keys and values do not share what goes into their changes; raised by what is returned.
    """

    @torch.no_grad()
    def start(network: Sam3Model) -> None:
        own = dict(network.named_parameters(remove_duplicate=False))
        for name, weight in adapter.replacements.items():
            own[name.removeprefix(DETECTOR_MODEL)].copy_(weight)
        filled: dict[int, torch.Tensor] = {}
        for name, change in adapter.changes.items():
            for side, weight in (("A", change.down), ("B", change.up)):
                parameter = own[f"{_module(name)}.lora_{side}.{_NAME}.weight"]
                before = filled.setdefault(id(parameter), weight)
                if not torch.equal(before, weight):
                    raise _cannot(adapter)
                parameter.copy_(weight)

    return start


def _module(name: str) -> str:
    return name.removeprefix(DETECTOR_MODEL).removesuffix(".weight")


def _cannot(adapter: Adapter) -> ModelError:
    return ModelError(
        "The adapter '{adapter}' was not made by this program and cannot be continued; learn into a new one.",
        adapter=adapter.identity.name,
    )
