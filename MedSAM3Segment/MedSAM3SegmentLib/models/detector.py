"""SAM 3 as the engine uses it: encode images, encode phrases, detect, each by itself.

The network is transformers' ``Sam3Model`` (Apache-2.0), steered so that it gives what Meta's SAM 3 gives for the same
weights. Callers pass one image through ``encode_images`` once, whatever the number of phrases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from MedSAM3SegmentLib.checkpoints.model_card import ModelCard
from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.provenance import ModelIdentity

from .network.detection_stages import detect_phrases, detect_phrases_recorded, detect_whole, share_stages
from .network.graph_replay import GraphReplay
from .network.memory_format import use_channels_last
from .network.query_decoder import box_bias
from .network.roi_align import install_roi_align
from .network.stage_types import PADDING_LABEL, BoxPrompts, DetectorOutput, SharedStages
from .network.vision_backbone import encode_pixels, fits_windows

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, Sam3Model

    from MedSAM3SegmentLib.adapters.slice_adapter import SliceAdapter
    from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks

    from .lora_manager import LoraManager

__all__ = ["PADDING_LABEL", "BoxPrompts", "DetectorOutput", "FeaturePyramid", "Sam3Detector", "TextFeatures"]
__all__ += ["VisionFeatures"]


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """The vision backbone's output: the smallest thing worth keeping, from which the neck rebuilds the pyramid.

    Attributes:
        tokens: ``[slice, token, channel]``, on the model's device.
    """

    tokens: torch.Tensor

    def __getitem__(self, index: slice) -> VisionFeatures:
        return VisionFeatures(self.tokens[index])


@dataclass(frozen=True, eq=False)
class FeaturePyramid:
    """The neck's feature pyramid of a few slices, finest level first, with its position encodings."""

    levels: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    @property
    def count(self) -> int:
        return self.levels[0].shape[0]

    def repeat_each(self, times: int) -> FeaturePyramid:
        """Every slice ``times`` times in a row, to meet as many phrases."""
        if times == 1:
            return self
        return FeaturePyramid(
            tuple(level.repeat_interleave(times, 0) for level in self.levels),
            tuple(p if p.shape[0] == 1 else p.repeat_interleave(times, 0) for p in self.positions),
        )


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Encoded phrases.

    Attributes:
        text_embeds: ``[phrase, token, channel]``.
        attention_mask: bool ``[phrase, token]``, False on padding.
    """

    text_embeds: torch.Tensor
    attention_mask: torch.Tensor

    def __getitem__(self, index: slice) -> TextFeatures:
        return TextFeatures(self.text_embeds[index], self.attention_mask[index])

    @classmethod
    def joined(cls, parts: Sequence[TextFeatures]) -> TextFeatures:
        """The phrases of several lists as one."""
        return cls(torch.cat([part.text_embeds for part in parts]), torch.cat([part.attention_mask for part in parts]))

    def repeat(self, times: int) -> TextFeatures:
        """The whole list of phrases ``times`` times over."""
        return TextFeatures(self.text_embeds.repeat(times, 1, 1), self.attention_mask.repeat(times, 1))


class Sam3Detector:
    """A loaded SAM 3 with its tokenizer and its card.

    Args:
        card: what is known of the model: name, thresholds, rules.
        identity: which weights these are, for reports; without a hash when they were not loaded from a file.

    Attributes:
        network: the transformers module, in evaluation mode on ``device``.
        tracker: SAM 3's tracker and its neck, for models that come with them.
        adapters: what can be merged into the network and what is; None for a network that came from no file.
        source: what ``--model`` finds the base by: ``demo`` or its name in the store; empty where it is elsewhere.
        trained_slice_adapter: one that is being trained, in place of that of ``adapters``.
        sees_neighbors: False for a copy that is to look at each slice by itself.
        own_image_size: edge in pixels of the square input that the model was made for.
        features_device: where image features are kept between runs.
        graphs: records parts of the network, or None where Python queues each kernel.
    """

    def __init__(
        self,
        network: Sam3Model,
        tokenizer: CLIPTokenizer | None,
        card: ModelCard,
        device: str = "cpu",
        identity: ModelIdentity | None = None,
        tracker: TrackerNetworks | None = None,
        adapters: LoraManager | None = None,
        own_image_size: int | None = None,
    ) -> None:
        install_roi_align(network)
        self.network = network.to(device)
        if device.startswith("cuda") and network.dtype.itemsize == 2:
            use_channels_last(network)
        # transformers cuts the presence logit at 10; Meta computes that cut but goes on with the logit itself.
        network.detr_decoder.clamp_presence_logit_max_val = math.inf
        network.detr_decoder._get_rpb_matrix = partial(box_bias, network.detr_decoder)
        self.tokenizer = tokenizer
        self._base_card = card
        self._base_identity = identity or ModelIdentity(card.name, "", card.is_demo)
        self.tracker = tracker
        self.adapters = adapters
        self.source = ""
        self.device = self.features_device = torch.device(device)
        self.own_image_size = own_image_size or self.image_size
        self.trained_slice_adapter: SliceAdapter | None = None
        self.sees_neighbors = True
        self.graphs: GraphReplay | None = None

    @property
    def slice_adapter(self) -> SliceAdapter | None:
        """What lets the detector see neighboring slices, or None where each is looked at by itself."""
        if not self.sees_neighbors:
            return None
        return self.trained_slice_adapter or (self.adapters.slice_adapter if self.adapters else None)

    @property
    def card(self) -> ModelCard:
        """The card of the adapter in use, else the base's."""
        adapter = self.adapters.active_adapter if self.adapters else None
        return adapter.card if adapter else self._base_card

    @property
    def identity(self) -> ModelIdentity:
        """Which weights run, for reports."""
        adapter = self.adapters.active_adapter if self.adapters else None
        return replace(self._base_identity, adapters=(adapter.identity,)) if adapter else self._base_identity

    @property
    def features_key(self) -> str:
        """What image features depend on besides the image: weights, adapter, resolution and number format."""
        merged = self.adapters.active_adapter if self.adapters and self.adapters.vision_merged else None
        parts = [self._base_identity.sha256, str(self.image_size), str(self.network.dtype)]
        if merged is not None and merged.touches_vision:
            parts.append(merged.identity.sha256)
        return "|".join(parts)

    @property
    def image_size(self) -> int:
        """Edge of the square input in pixels."""
        return int(self.network.config.vision_config.backbone_config.image_size)

    @property
    def context_length(self) -> int:
        """The most tokens a phrase may have, its start and end included."""
        return int(self.network.config.text_config.max_position_embeddings)

    def tokenize(self, phrases: Sequence[str]) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask`` ``[phrase, token]``, padded to the longest, cut to what fits."""
        if self.tokenizer is None:
            raise ModelError("The model {model} has no tokenizer and cannot read words.", model=self.card.name)
        encoded: Any = self.tokenizer(
            list(phrases), padding=True, truncation=True, max_length=self.context_length, return_tensors="pt"
        )
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def last_word_read(self, phrase: str) -> str | None:
        """The last word that is read whole of a phrase that does not fit, or ``""``; None where all of it fits."""
        if self.tokenizer is None or self._fits(phrase):
            return None
        words = phrase.split()
        fit = [n for n in range(1, min(len(words), self.context_length)) if self._fits(" ".join(words[:n]))]
        return words[fit[-1] - 1] if fit else ""

    def _fits(self, phrase: str) -> bool:
        assert self.tokenizer is not None
        return len(self.tokenizer(phrase, verbose=False)["input_ids"]) <= self.context_length

    def encode_images(self, pixels: torch.Tensor) -> VisionFeatures:
        """Run the vision backbone, nearly all of the cost.

        Args:
            pixels: ``[slice, 3, size, size]`` from ``model_input.to_model_input``.
        """
        pixels = pixels.to(self.device, self.network.dtype)
        backbone = self.network.vision_encoder.backbone
        if self.device.type == "cpu" and not torch.is_grad_enabled() and fits_windows(backbone, pixels.shape[-1]):
            return VisionFeatures(encode_pixels(backbone, pixels))
        if self.graphs is None:
            return VisionFeatures(backbone(pixels).last_hidden_state)
        return VisionFeatures(*self.graphs.run("image", lambda given: (backbone(*given).last_hidden_state,), (pixels,)))

    def build_pyramid(self, features: VisionFeatures) -> FeaturePyramid:
        """Run the neck over the backbone's output; cheap, and shared by all phrases."""
        tokens = features.tokens.to(self.device, self.network.dtype)
        edge = self.image_size // int(self.network.config.vision_config.backbone_config.patch_size)
        spatial = tokens.view(tokens.shape[0], edge, edge, -1).permute(0, 3, 1, 2)
        levels, positions = self.network.vision_encoder.neck(spatial)
        return FeaturePyramid(tuple(levels), tuple(positions))

    def encode_phrases(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases as text tokens."""
        return self.encode_tokens(**self.tokenize(phrases))

    def encode_tokens(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TextFeatures:
        """Encode phrases that are already numbers, both ``[phrase, token]``."""
        place = self.network.text_projection.weight.device
        features = self.network.get_text_features(
            input_ids=input_ids.to(place), attention_mask=attention_mask.to(place), return_dict=True
        )
        return TextFeatures(features.pooler_output.to(self.device), attention_mask.bool().to(self.device))

    def move_text_encoder_away(self) -> None:
        """Keep the text encoder in main memory; phrases are encoded there from now on."""
        self.network.text_encoder.to("cpu")
        self.network.text_projection.to("cpu")

    def share_stages(self, pyramid: FeaturePyramid) -> SharedStages:
        """Compute what all phrases on the slices of ``pyramid`` share."""
        return share_stages(self.network, pyramid, self._placed(BoxPrompts.none(pyramid.count)))

    def detect(
        self, slices: FeaturePyramid | SharedStages, phrases: TextFeatures, boxes: BoxPrompts | None = None
    ) -> DetectorOutput:
        """Find each pair's phrase in its image.

        Args:
            slices: one entry per pair (see ``repeat_each``); with gradients a pyramid goes through as a whole.
            phrases: one entry per pair (see ``TextFeatures.repeat``).
            boxes: exemplar boxes per pair, or None for words alone.
        """
        if isinstance(slices, FeaturePyramid) and torch.is_grad_enabled():
            boxes = boxes or BoxPrompts.none(slices.count)
            return DetectorOutput.of(detect_whole(self.network, slices, phrases, self._placed(boxes)))
        shared = slices if isinstance(slices, SharedStages) else self.share_stages(slices)
        drawn = None if boxes is None or boxes.are_padding else self._placed(boxes)
        if self.graphs is None or drawn is not None or torch.is_grad_enabled():
            return detect_phrases(self.network, shared, phrases, drawn)
        return detect_phrases_recorded(self.graphs, self.network, shared, phrases)

    def _placed(self, boxes: BoxPrompts) -> BoxPrompts:
        """Boxes on the model's device, in its number format."""
        return BoxPrompts(boxes.boxes.to(self.device, self.network.dtype), boxes.labels.to(self.device))
