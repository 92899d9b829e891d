"""What frozen encoders say of pictures and phrases, each computed once."""

from __future__ import annotations

import torch

from MedSAM3SegmentLib.models.detector import FeaturePyramid, Sam3Detector, TextFeatures, VisionFeatures
from MedSAM3SegmentLib.training.batches import Batch, ViewKey


class FrozenFeatures:
    """The features of a training's pictures and phrases.

    Kept is the image encoder's output, in main memory and in the network's number format: 10 MB for each picture of a
    full-size SAM 3 in bfloat16, 0.2 MB for one of the demo model. Each is encoded by itself: what is encoded together
    differs in the last digits, and a training that goes on after a break must be the same.

    Args:
        model: whose encoders are not trained.
    """

    def __init__(self, model: Sam3Detector) -> None:
        self._model = model
        self._tokens: dict[ViewKey, torch.Tensor] = {}
        self._phrases: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def pyramid(self, batch: Batch) -> FeaturePyramid:
        """Of a batch's pictures, one entry each."""
        self._encode(batch)
        return self._model.build_pyramid(VisionFeatures(torch.stack([self._tokens[key] for key in batch.views])))

    @torch.no_grad()
    def pooled(self, batch: Batch) -> torch.Tensor:
        """Of a batch's pictures, float32 ``[picture, channel]``, means over tokens."""
        self._encode(batch)
        return torch.stack([self._tokens[key].float().mean(dim=0) for key in batch.views])

    def _encode(self, batch: Batch) -> None:
        given = dict(zip(batch.views, batch.pictures, strict=True))
        missing = {key: picture for key, picture in given.items() if key not in self._tokens}
        for key, picture in missing.items():
            self._tokens[key] = self._model.encode_images(picture()).tokens[0].cpu()

    @torch.no_grad()
    def phrases(self, phrases: list[str]) -> TextFeatures:
        """One entry for each phrase."""
        for phrase in dict.fromkeys(phrases):
            if phrase not in self._phrases:
                encoded = self._model.encode_phrases([phrase])
                self._phrases[phrase] = encoded.text_embeds[0][encoded.attention_mask[0]]
        known = [self._phrases[phrase] for phrase in phrases]
        embeds = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        lengths = torch.tensor([len(one) for one in known], device=embeds.device)
        return TextFeatures(embeds, torch.arange(embeds.shape[1], device=embeds.device)[None] < lengths[:, None])
