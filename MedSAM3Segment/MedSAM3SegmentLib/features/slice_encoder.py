"""Image features of a volume's slices: through the encoder once, kept, and shared by detector and tracker."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.models.detector import Sam3Detector, VisionFeatures
from MedSAM3SegmentLib.preprocessing.model_input import to_model_input
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.volume import Volume

from .feature_cache import FeatureCache, FeatureKey


class SliceFeatures:
    """The features of one volume, cut one way.

    Args:
        model: whose encoder runs.
        cache: where features are kept.
        volume: what is looked at.
        stack: how it is cut.
    """

    def __init__(self, model: Sam3Detector, cache: FeatureCache, volume: Volume, stack: SliceStack) -> None:
        self.model = model
        self.stack = stack
        self._cache = cache
        self.volume = volume
        self._volume_hash = volume.content_hash
        self._slices = stack.extract(volume.array)

    def along(self, stack: SliceStack) -> SliceFeatures:
        """Of the same volume, cut as ``stack`` is."""
        return SliceFeatures(self.model, self._cache, self.volume, stack)

    def elsewhere(self, volume: Volume, stack: SliceStack) -> SliceFeatures:
        """Of another volume, with the same model and cache."""
        return SliceFeatures(self.model, self._cache, volume, stack)

    def of_model(self, model: Sam3Detector) -> SliceFeatures:
        """Of the same volume, for a model whose image encoder says the same."""
        return SliceFeatures(model, self._cache, self.volume, self.stack)

    def in_context(self, indices: Sequence[int], window: Window) -> VisionFeatures:
        """As ``of``, for the detector: with what the model's slice adapter, if there is one, sees on the slices beside.

        Those are encoded too; what is kept of any slice is what the encoder says of it alone.
        """
        adapter = self.model.slice_adapter
        if adapter is None:
            return self.of(indices, window)

        def alone(needed: Sequence[int]) -> torch.Tensor:
            parts = [self.of(needed[n : n + len(indices)], window).tokens for n in range(0, len(needed), len(indices))]
            return torch.cat(parts)

        return VisionFeatures(adapter.of_slices(alone, indices, len(self._slices)))

    def of(self, indices: Sequence[int], window: Window) -> VisionFeatures:
        """Features of some slices, seen through ``window``; only those not kept from before are computed."""
        keys = [
            FeatureKey.of(self._volume_hash, self.stack.plane, window, self.model.features_key, index)
            for index in indices
        ]
        known = {key: self._cache.get(key) for key in keys}
        missing = [(key, index) for key, index in zip(keys, indices, strict=True) if known[key] is None]
        if missing:
            pictures = to_model_input(self._slices[[index for _, index in missing]], window, self.model.image_size)
            fresh = self.model.encode_images(pictures).tokens
            for (key, _), tokens in zip(missing, fresh, strict=True):
                known[key] = tokens
                self._cache.put(key, tokens)
        return VisionFeatures(torch.stack([known[key] for key in keys]))  # type: ignore[misc]
