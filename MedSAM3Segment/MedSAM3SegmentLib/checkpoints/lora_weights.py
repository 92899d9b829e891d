"""What a low-rank adapter does to the weights of a base.

An adapter changes a weight ``W`` to ``W + scale * (A B)^T`` with ``A`` ``[in, rank]`` and ``B`` ``[rank, out]``
(Hu et al. 2021, LoRA; MedSAM-3 uses rank 16 and scale 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from MedSAM3SegmentLib.provenance import AdapterIdentity

from .model_card import ModelCard
from .weight_targets import DETECTOR_MODEL


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """A change of one weight.

    Attributes:
        down: ``[rank, in]``.
        up: ``[out, rank]``.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def delta(self) -> torch.Tensor:
        """What is added to the weight, float32 ``[out, in]``."""
        return self.scale * (self.up.float() @ self.down.float())


@dataclass(frozen=True, eq=False)
class Adapter:
    """What an adapter does to a base, under the names of ``Sam3VideoModel``.

    Attributes:
        changes: low-rank changes by weight.
        replacements: whole weights that it brings along.
        additions: weights of modules that the base does not have, as ``adapters.slice_adapter`` names them.
        unused: names in its file that SAM 3's detector has no use for (it is never given points).
        card: name, rules and thresholds of the base with this adapter.
    """

    path: Path
    identity: AdapterIdentity
    changes: Mapping[str, LoraWeights]
    card: ModelCard
    replacements: Mapping[str, torch.Tensor] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    additions: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {*self.changes, *self.replacements}

    @property
    def touches_vision(self) -> bool:
        """Whether image features differ with it."""
        return any(name.startswith(DETECTOR_MODEL + "vision_encoder.") for name in self.names)

    def apply(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The weight with this adapter, float32; a name it does not touch comes back as it is."""
        if name in self.replacements:
            return self.replacements[name].float()
        if name in self.changes:
            return weight.float() + self.changes[name].delta().to(weight.device)
        return weight
