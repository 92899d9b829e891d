"""What each layer of the network's decoder says, with and without attention between queries."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import Sam3Model


@dataclass(eq=False)
class DecoderCall:
    """What went into the network's decoder last and what came out."""

    inputs: dict[str, Any] = field(default_factory=dict)
    output: Any = None


@contextmanager
def recorded_decoder(network: Sam3Model) -> Iterator[DecoderCall]:
    """Within the block the last call of the decoder is known."""
    call = DecoderCall()

    def record(_module: torch.nn.Module, _args: object, kwargs: dict[str, Any], output: object) -> None:
        call.inputs, call.output = kwargs, output

    handle = network.detr_decoder.register_forward_hook(record, with_kwargs=True)
    try:
        yield call
    finally:
        handle.remove()


@dataclass(frozen=True, eq=False)
class DecoderLayer:
    """What one layer of the decoder says.

    Attributes:
        logits: ``[pair, query]``.
        boxes: ``[pair, query, 4]`` as center and size.
        presence: ``[pair]``, or None in the second pass.
    """

    logits: torch.Tensor
    boxes: torch.Tensor
    presence: torch.Tensor | None

    @property
    def corners(self) -> torch.Tensor:
        """The boxes as ``(x0, y0, x1, y1)``."""
        center, half = self.boxes[..., :2], self.boxes[..., 2:] / 2
        return torch.cat([center - half, center + half], -1)


def decoder_layers(
    network: Sam3Model, inputs: dict[str, Any], output: Any, with_presence: bool = True
) -> list[DecoderLayer]:
    """What each layer says, by the heads that the last one's answer comes from."""
    hidden = output.intermediate_hidden_states
    inverse = torch.special.logit(output.reference_boxes, eps=1e-3)
    boxes = (inverse + network.detr_decoder.box_head(hidden)).sigmoid()
    logits = network.dot_product_scoring(
        decoder_hidden_states=hidden, text_features=inputs["text_features"], text_mask=inputs["text_mask"]
    ).squeeze(-1)
    presence = output.presence_logits.flatten(1)
    return [
        DecoderLayer(logits[number], boxes[number], presence[number] if with_presence else None)
        for number in range(len(hidden))
    ]


class _Nothing(torch.nn.Module):
    """In place of what a layer adds."""

    def forward(self, added: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(added)


def without_self_attention(decoder: torch.nn.Module) -> torch.nn.Module:
    """The same decoder, with the same weights, whose queries do not look at one another."""

    def shared_copy(module: torch.nn.Module, **replaced: torch.nn.Module) -> torch.nn.Module:
        copied = copy.copy(module)
        copied.__dict__.pop("forward", None)
        copied._modules = {**module._modules, **replaced}
        copied._forward_hooks = OrderedDict()
        return copied

    layers = [shared_copy(layer, self_attn_dropout=_Nothing()) for layer in decoder.layers]  # type: ignore[union-attr]
    return shared_copy(decoder, layers=torch.nn.ModuleList(layers))
