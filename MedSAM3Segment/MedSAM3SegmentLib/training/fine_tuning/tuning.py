"""Which weights of a SAM 3 are trained, and how fast each learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from transformers import Sam3Model


class Tune(StrEnum):
    """What is trained."""

    DETECTOR = "detector"
    """Everything but the image and text encoders, whose features are computed once per picture (MedSAM-3's paper)."""
    LORA = "lora"
    """Low-rank changes of the linear layers (MedSAM-3's published adapter)."""
    SLICE_ADAPTER = "slice-adapter"
    """As ``DETECTOR``, with a small module between neighboring slices behind the image encoder (after MA-SAM)."""
    ALL = "all"
    """Every weight, those near the picture more slowly (Meta's published training)."""

    @property
    def freezes_encoders(self) -> bool:
        """Whether features of pictures and phrases stay as they are, and are computed once."""
        return self in (Tune.DETECTOR, Tune.SLICE_ADAPTER)


#: Modules of the network that ``DETECTOR`` leaves alone.
ENCODERS = ("vision_encoder.", "text_encoder.", "text_projection.")

_FEED_FORWARD = r"mlp\.fc[12]"
_LAYER = rf"layers\.\d+\.(\w+\.[qkvo]_proj|{_FEED_FORWARD})"

#: The linear layers that MedSAM-3's published adapter changes, by the part of the network that they are in. It also
#: has three in Meta's geometry encoder for points, which transformers' network does not have.
LORA_TARGETS = {
    "vision": rf"vision_encoder\.backbone\.layers\.\d+\.(attention\.[qkvo]_proj|{_FEED_FORWARD})",
    "text": rf"text_encoder\.text_model\.encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|{_FEED_FORWARD})",
    "encoder": rf"detr_encoder\.{_LAYER}",
    "decoder": rf"detr_decoder\.{_LAYER}",
    "geometry": rf"geometry_encoder\.({_LAYER}|final_proj|boxes_(direct|pos_enc)_project)",
    "mask": r"mask_decoder\.prompt_cross_attn\.[qkvo]_proj",
    "scoring": r"dot_product_scoring\.(text_proj|query_proj)",
}

#: Widest detector that counts as small; the demo model's has 64, SAM 3's 256.
_SMALL_WIDTH = 128

#: Highest learning rates. For SAM 3: MedSAM-3's (LoRA) and Meta's (its transformer; the rest follows by layer). Small
#: networks learn from larger steps: measured with the demo model, 80 steps on one CT.
_RATES = {Tune.DETECTOR: 8e-5, Tune.SLICE_ADAPTER: 8e-5, Tune.LORA: 5e-5, Tune.ALL: 8e-5}
_SMALL_RATES = {Tune.DETECTOR: 1e-3, Tune.SLICE_ADAPTER: 1e-3, Tune.LORA: 3e-3, Tune.ALL: 5e-4}


@dataclass(frozen=True)
class LoraOptions:
    """The size of low-rank changes.

    Attributes:
        rank, alpha: MedSAM-3's; a change counts ``alpha`` over ``rank``.
        targets: keys of ``LORA_TARGETS``.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = tuple(LORA_TARGETS)

    def __post_init__(self) -> None:
        unknown = [name for name in self.targets if name not in LORA_TARGETS]
        if unknown or not self.targets:
            raise InputError(
                "'{name}' is no part of the network that LoRA can change; choose of {known}.",
                name=", ".join(unknown),
                known=", ".join(LORA_TARGETS),
            )
        if self.rank < 1:
            raise InputError("The rank {rank} is too small; give at least 1.", rank=self.rank)
        if not 0 < self.alpha < float("inf"):
            raise InputError("The alpha {alpha} is not above 0.", alpha=self.alpha)


def default_rate(tune: Tune, network: Sam3Model) -> float:
    """The highest learning rate where none is given."""
    width = int(network.config.detr_decoder_config.hidden_size)
    return (_SMALL_RATES if width <= _SMALL_WIDTH else _RATES)[tune]


def lora_modules(network: Sam3Model, targets: tuple[str, ...]) -> list[str]:
    """The linear layers of a network that low-rank changes are for."""
    pattern = re.compile("|".join(f"(?:{LORA_TARGETS[name]})" for name in targets))
    return [name for name, _ in network.named_modules() if pattern.fullmatch(name)]


def freeze_encoders(network: Sam3Model) -> None:
    """Make the detector's weights trainable and no others."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(ENCODERS))


def own_memory(network: Sam3Model) -> None:
    """Give trainable weights memory of their own: loaded ones may be a file's, which training must not write to."""
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()


@dataclass(frozen=True)
class LayerDecay:
    """Layers learn more slowly the nearer they are to the picture or the words (Clark et al. 2020; Meta uses 0.9).

    Attributes:
        factor: of the learning rate, from a layer to the one before it.
        vision_layers, text_layers: of the encoders.
    """

    factor: float
    vision_layers: int
    text_layers: int

    @classmethod
    def of(cls, network: Sam3Model, factor: float) -> LayerDecay:
        config = network.config
        layers = int(config.vision_config.backbone_config.num_hidden_layers)
        return cls(factor, layers, int(config.text_config.num_hidden_layers))

    def rate_of(self, name: str) -> float:
        """Factor of the learning rate of a weight."""
        for depth, layers in self._depths(name):
            return float(self.factor ** (layers - depth))
        return 1.0

    def _depths(self, name: str) -> Iterator[tuple[int, int]]:
        if name.startswith("vision_encoder.backbone."):
            match = re.search(r"backbone\.layers\.(\d+)\.", name)
            yield (int(match[1]) + 1 if match else 0), self.vision_layers + 1
        elif name.startswith("text_encoder."):
            match = re.search(r"encoder\.layers\.(\d+)\.", name)
            is_last = "final_layer_norm" in name or "text_projection" in name
            yield (int(match[1]) + 1 if match else self.text_layers * is_last), self.text_layers + 1
