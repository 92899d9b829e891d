"""What frozen encoders say of pictures and phrases, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from MedSAM3SegmentLib.adapters.slice_adapter import SliceAdapter
from MedSAM3SegmentLib.models.detector import FeaturePyramid, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.models.devices import training_dtype
from MedSAM3SegmentLib.training.batches import Batch, Run, ViewKey


class FrozenFeatures:
    """The features of a training's pictures and phrases.

    Kept is the image encoder's output, in main memory and in the network's number format: 10 MB for each picture of a
    full-size SAM 3 in bfloat16, 0.2 MB for one of the demo model. Each is encoded by itself: what is encoded together
    differs in the last digits, and a training that goes on after a break must be the same.

    Args:
        model: whose encoders are not trained.
        pyramid_bytes: how much the feature pyramids of pictures that are asked for again and again may take, which are
            seven times as large; 0 to build them anew for each batch.
    """

    def __init__(self, model: Sam3Detector, pyramid_bytes: int = 0) -> None:
        self._model = model
        self._pyramid_bytes = pyramid_bytes
        self._pyramids: dict[ViewKey, FeaturePyramid] = {}
        self._tokens: dict[ViewKey, torch.Tensor] = {}
        self._phrases: dict[str, torch.Tensor] = {}

    def pyramid(self, batch: Batch) -> FeaturePyramid:
        """Of a batch's pictures, one entry each; where a slice adapter is trained, as it changes them."""
        adapter = self._model.trained_slice_adapter
        if adapter is not None and batch.runs:
            return self._model.build_pyramid(VisionFeatures(self._in_context(adapter, batch.runs)))
        with torch.no_grad():
            pictures = zip(batch.views, batch.pictures, strict=True)
            if self._pyramid_bytes:
                return _joined([self._pyramid_of(key, picture) for key, picture in pictures])
            return self._model.build_pyramid(VisionFeatures(torch.stack([self._of(*one) for one in pictures])))

    def _pyramid_of(self, key: ViewKey, picture: Callable[[], torch.Tensor]) -> FeaturePyramid:
        """Of one picture, kept while there is room for it."""
        if key in self._pyramids:
            return self._pyramids[key]
        pyramid = self._model.build_pyramid(VisionFeatures(self._of(key, picture)[None]))
        size = sum(level.nbytes for level in pyramid.levels)
        if (len(self._pyramids) + 1) * size <= self._pyramid_bytes:
            self._pyramids[key] = pyramid
        return pyramid

    def _in_context(self, adapter: SliceAdapter, runs: Sequence[Run]) -> torch.Tensor:
        """Features of the slices in the middle of runs, ``[slice, token, channel]``."""
        with torch.no_grad():
            known = [[None if one is None else self._of(*one) for one in run] for run in runs]
        nothing = torch.zeros_like(next(one for one in known[0] if one is not None))
        tokens = torch.stack([torch.stack([nothing if one is None else one for one in run]) for run in known])
        there = torch.tensor([[one is not None for one in run] for run in known], device=self._model.device)
        changed: torch.Tensor = adapter(tokens.to(self._model.device), there)
        return changed[:, changed.shape[1] // 2]

    def _of(self, key: ViewKey, picture: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Of one picture, ``[token, channel]``."""
        if key not in self._tokens:
            with self._mixed():
                self._tokens[key] = self._model.encode_images(picture()).tokens[0].cpu()
        return self._tokens[key]

    def _mixed(self) -> torch.autocast:
        """What encoders compute in: the same in a training step and before the first, when some pictures are looked at.

        What is kept must not depend on which of the two asked first, or a training that goes on would be another one.
        """
        device = self._model.device.type
        return torch.autocast(device, torch.bfloat16, enabled=training_dtype(device) is torch.bfloat16)

    @torch.no_grad()
    def pooled(self, batch: Batch) -> torch.Tensor:
        """Of a batch's pictures, float32 ``[picture, channel]``, means over tokens."""
        tokens = [self._of(key, picture) for key, picture in zip(batch.views, batch.pictures, strict=True)]
        return torch.stack([one.float().mean(dim=0) for one in tokens])

    @torch.no_grad()
    def phrases(self, phrases: list[str]) -> TextFeatures:
        """One entry for each phrase."""
        for phrase in dict.fromkeys(phrases):
            if phrase not in self._phrases:
                with self._mixed():
                    encoded = self._model.encode_phrases([phrase])
                self._phrases[phrase] = encoded.text_embeds[0][encoded.attention_mask[0]]
        known = [self._phrases[phrase] for phrase in phrases]
        embeds = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        lengths = torch.tensor([len(one) for one in known], device=embeds.device)
        return TextFeatures(embeds, torch.arange(embeds.shape[1], device=embeds.device)[None] < lengths[:, None])


def _joined(pyramids: Sequence[FeaturePyramid]) -> FeaturePyramid:
    """Of single pictures, one after the other; where a feature lies is the same in all."""
    levels = zip(*(one.levels for one in pyramids), strict=True)
    positions = tuple(place.expand(len(pyramids), -1, -1, -1) for place in pyramids[0].positions)
    return FeaturePyramid(tuple(torch.cat(level) for level in levels), positions)
