"""Image features of a volume's slices: through the encoder once, kept, and shared by detector and tracker."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import torch

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.models import devices
from MedSAM3SegmentLib.models.detector import Sam3Detector, VisionFeatures
from MedSAM3SegmentLib.preprocessing.model_input import resize_pictures, to_pictures
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
        self._ahead: tuple[tuple[int, ...], Window, Future[torch.Tensor]] | None = None

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
        keys = [self._key(index, window) for index in indices]
        known = {key: self._cache.get(key) for key in keys}
        missing = [(key, index) for key, index in zip(keys, indices, strict=True) if known[key] is None]
        if missing:
            chosen = tuple(index for _, index in missing)
            size, device = self.model.image_size, self.model.device
            fresh = self.model.encode_images(resize_pictures(self._pictures(chosen, window), size, device)).tokens
            for (key, _), tokens in zip(missing, fresh, strict=True):
                known[key] = tokens
                self._cache.put(key, tokens.to(self.model.features_device))
        return VisionFeatures(torch.stack([known[key].to(self.model.device) for key in keys]))  # type: ignore[union-attr]

    def prepare(self, indices: Sequence[int], window: Window) -> None:
        """Make the pictures of slices that ``of`` will be asked next, beside what a GPU computes; elsewhere nothing.

        A CPU computes both, and nothing would be won there.
        """
        if not devices.computes_beside(self.model.device) or self.model.slice_adapter is not None:
            return
        missing = tuple(index for index in indices if self._cache.get(self._key(index, window)) is None)
        self._ahead = None
        if missing:
            future: Future[torch.Tensor] = Future()
            self._ahead = missing, window, future
            threading.Thread(target=self._make_pictures, args=self._ahead, name="pictures", daemon=True).start()

    def _key(self, index: int, window: Window) -> FeatureKey:
        return FeatureKey.of(self._volume_hash, self.stack.plane, window, self.model.features_key, index)

    def _pictures(self, indices: tuple[int, ...], window: Window) -> torch.Tensor:
        """8-bit pictures of slices, those that were prepared or new ones."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[:2] == (indices, window):
            return ahead[2].result()
        return to_pictures(self._slices[list(indices)], window)

    def _make_pictures(self, indices: tuple[int, ...], window: Window, future: Future[torch.Tensor]) -> None:
        try:
            future.set_result(to_pictures(self._slices[list(indices)], window))
        except BaseException as error:
            future.set_exception(error)
