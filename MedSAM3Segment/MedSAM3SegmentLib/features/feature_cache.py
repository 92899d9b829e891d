"""Image features kept between runs, so that the second concept and the changed phrase are cheap.

Features depend on the volume's content, the plane, the window and the model, never on the phrase.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import Window

if TYPE_CHECKING:
    import torch

#: Bytes of features kept by default: two 300-slice volumes of full-size SAM 3 in bfloat16 (10.1 MiB a slice).
DEFAULT_BUDGET = 6 * 1024**3


@dataclass(frozen=True)
class FeatureKey:
    """What one slice's features depend on."""

    volume_hash: str
    plane: Plane
    window: tuple[float, float]
    model_hash: str
    slice_index: int

    @classmethod
    def of(cls, volume_hash: str, plane: Plane, window: Window, model_hash: str, slice_index: int) -> FeatureKey:
        return cls(volume_hash, plane, (window.low, window.high), model_hash, slice_index)


class FeatureCache:
    """Least recently used features go first once the byte budget is spent.

    Args:
        budget: most bytes to hold.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self.budget = budget
        self.bytes_held = 0
        self._features: OrderedDict[FeatureKey, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._features)

    def get(self, key: FeatureKey) -> torch.Tensor | None:
        """The features ``[token, channel]`` of one slice, or None."""
        features = self._features.get(key)
        if features is not None:
            self._features.move_to_end(key)
        return features

    def put(self, key: FeatureKey, features: torch.Tensor) -> None:
        """Keep a copy of one slice's features; a slice larger than the whole budget is not kept."""
        features = features.detach().clone()
        size = features.numel() * features.element_size()
        if size > self.budget or key in self._features:
            return
        self._features[key] = features
        self.bytes_held += size
        while self.bytes_held > self.budget:
            _, oldest = self._features.popitem(last=False)
            self.bytes_held -= oldest.numel() * oldest.element_size()

    def clear(self) -> None:
        self._features.clear()
        self.bytes_held = 0
