"""SAM 3's tracker on single slices: prompts to masks, masks to memory, memory and the next slice to the next mask.

The networks are those of transformers' ``Sam3TrackerVideoModel`` (Apache-2.0). What runs between them follows Meta's
SAM 3 (facebookresearch/sam3, ``sam3_tracker_base.py`` and ``sam3_tracking_predictor.py``) where transformers 5.23 goes
another way; each such place says so. Memory selection (Meta's ``use_memory_selection``) is left out, as transformers
leaves it out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from .detector import VisionFeatures
from .memory_bank import MemoryBank, MemoryEntry
from .tracker_types import (
    MaskPrompt,
    PointPrompt,
    TrackerFeatures,
    TrackerOutput,
)

if TYPE_CHECKING:
    from MedSAM3SegmentLib.checkpoints.networks import TrackerNetworks

#: Logit of "certainly not here", and negated of "certainly here" (Meta's NO_OBJ_SCORE).
NO_OBJECT_LOGIT = 1024.0

#: Object score, as a logit, of a slice whose mask was given: with and without the object (Meta).
_GIVEN_SCORE = 10.0

#: Logits beyond this are cut before they are refined with points (Meta).
_LARGEST_REFINED_LOGIT = 32.0

#: More points than this on one slice are thinned to the first and the last ones (Meta trained with up to eight).
_MOST_POINTS = 16

#: Labels of a box's corners among points, and of the point that stands for none.
_BOX_CORNERS, _NO_POINT = (2, 3), -1


class Tracker:
    """The steps of tracking, none of which keeps any state.

    Gradients flow through all of them; ``tracking_session.TrackingSession`` switches them off.
    """

    def __init__(self, networks: TrackerNetworks) -> None:
        self.network = networks.model
        self._neck = networks.neck

    @property
    def spatial_reach(self) -> int:
        """Over how many slices back the tracker looks at what it saw."""
        return int(self.network.config.num_maskmem) - 1

    @property
    def pointer_reach(self) -> int:
        """Over how many slices back it looks at pointers, at most."""
        return int(self.network.config.max_object_pointers_in_encoder) - 1

    @property
    def _grid(self) -> int:
        """Patches along each side."""
        return int(self.network.prompt_encoder.image_embedding_size[0])

    @property
    def _mask_size(self) -> int:
        return 4 * self._grid

    @property
    def _memory_size(self) -> int:
        """Edge of the masks that the memory encoder and the mask prompts' convolution take."""
        return self._grid * int(self.network.config.mask_downsampler_total_stride)

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.network.dtype
        return dtype

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.network.device
        return device

    def build_features(self, image: VisionFeatures) -> TrackerFeatures:
        """Run the tracker's own neck over what ``Sam3Detector.encode_images`` gave for one slice."""
        tokens = image.tokens.to(self._device, self._dtype)
        spatial = tokens.view(1, self._grid, self._grid, -1).permute(0, 3, 1, 2)
        levels, positions = self._neck(spatial)
        decoder = self.network.mask_decoder
        return TrackerFeatures((decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1])), levels[2], positions[2])

    def candidates(self, features: TrackerFeatures, prompt: PointPrompt) -> tuple[TrackerOutput, ...]:
        """The three readings of a prompt, on one slice by itself, in no fixed order."""
        return self._answer_points(features, prompt, several=True)

    def answer(self, features: TrackerFeatures, prompt: PointPrompt | MaskPrompt) -> TrackerOutput:
        """The object that a prompt shows, without memory of other slices."""
        if isinstance(prompt, MaskPrompt):
            return self._answer_mask(features, prompt)
        count = len(prompt.points) + (2 if prompt.box is not None else 0)
        return _best(self._answer_points(features, prompt, several=self._asks_for_several(count)))

    def track(
        self, features: TrackerFeatures, position: int, depth: int, memory: MemoryBank, *, reverse: bool
    ) -> TrackerOutput:
        """The object on a slice without a prompt.

        Args:
            position: number of the slice in the stack.
            depth: slices in the stack.
            memory: of the object; at least one slice prompted.
            reverse: whether the slices come in falling order.
        """
        seen = self._attend(features, position, depth, memory, reverse)
        return _best(self._decode(features, seen, several=self._asks_for_several(0)))

    def encode_memory(
        self, features: TrackerFeatures, mask: TrackerOutput, *, prompted: bool, dtype: torch.dtype
    ) -> MemoryEntry:
        """Encode a mask and the slice it lies on as memory for other slices.

        Args:
            prompted: whether a person or a detection showed the object here.
            dtype: to keep it in; Meta keeps bfloat16.
        """
        config, size = self.network.config, int(self.network.image_size)
        logits = interpolate(mask.pred_masks[None, None], size=(size, size), mode="bilinear")
        # Meta makes logits into a mask at the image's size and then resizes the mask; transformers resizes the logits
        # first. The two differ at the mask's edge whenever 16 times the grid is not the image's size (patch 14).
        inside = (logits > 0).float() if prompted else logits.sigmoid()
        scaled = inside * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
        scaled = _resize(scaled, self._memory_size).to(self._dtype)
        encoded, _ = self.network.memory_encoder(features.vision_features, scaled)
        absent = (mask.object_score_logits <= 0).to(encoded.dtype)
        encoded = encoded + absent * self.network.occlusion_spatial_embedding_parameter[..., None, None]
        return MemoryEntry(_flatten(encoded).to(dtype), mask.object_pointer[None])

    def _asks_for_several(self, points: int) -> bool:
        """Whether so few points are ambiguous, so that the best of several readings is taken."""
        config = self.network.config
        return bool(config.multimask_min_pt_num <= points <= config.multimask_max_pt_num)

    def _answer_points(
        self, features: TrackerFeatures, prompt: PointPrompt, several: bool
    ) -> tuple[TrackerOutput, ...]:
        corners = () if prompt.box is None else (prompt.box[:2], prompt.box[2:])
        points = torch.tensor((*corners, *prompt.points), dtype=torch.float32) * self.network.image_size
        labels = torch.tensor((*_BOX_CORNERS[: len(corners)], *prompt.labels))
        if len(labels) > _MOST_POINTS:
            half = _MOST_POINTS // 2
            points, labels = torch.cat([points[:half], points[-half:]]), torch.cat([labels[:half], labels[-half:]])
        refined = None
        if prompt.refines is not None:
            refined = _resize(prompt.refines[None, None].float(), self._mask_size)
            refined = refined.clamp(-_LARGEST_REFINED_LOGIT, _LARGEST_REFINED_LOGIT)
        # Added to the level that the decoder sees. transformers' Sam3TrackerModel adds it to the neck's last level,
        # which is never used, so that its masks of single pictures are up to 8 logits away from Meta's.
        seen = features.vision_features + self.network.no_memory_embedding.view(1, -1, 1, 1)
        return self._decode(features, seen, points, labels, refined, several=several)

    def _answer_mask(self, features: TrackerFeatures, prompt: MaskPrompt) -> TrackerOutput:
        mask = prompt.mask.to(self._device)
        # Meta makes the pointer from the mask at 16 times the grid with the soft edge that resizing gives it, and from
        # the decoder's single reading; transformers from the mask cut at the image's size, and the best of several.
        given = _resize(mask[None, None].float(), self._memory_size)
        given = self.network.mask_downsample(given.to(self._dtype))
        (decoded,) = self._decode(features, features.vision_features, mask_prompt=given, several=False)
        present = mask.any()
        # What is answered and remembered goes through a mask of the decoder's size, with certain logits.
        certain = torch.where(mask, NO_OBJECT_LOGIT, -NO_OBJECT_LOGIT)[None, None]
        return TrackerOutput(
            _resize(certain, self._mask_size)[0, 0],
            torch.where(present, _GIVEN_SCORE, -_GIVEN_SCORE),
            torch.ones((), device=self._device),
            torch.where(present, decoded.object_pointer, self.network.no_object_pointer[0]),
        )

    def _decode(
        self,
        features: TrackerFeatures,
        seen: torch.Tensor,
        points: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        mask_prompt: torch.Tensor | None = None,
        *,
        several: bool,
    ) -> tuple[TrackerOutput, ...]:
        """Run SAM's prompt encoder and mask decoder.

        Args:
            seen: ``[1, channel, grid, grid]``, the coarse features with or without memory.
            points: ``[point, 2]`` in pixels of the square input.
            labels: ``[point]``.
            mask_prompt: ``[1, 1, 4 x grid, 4 x grid]``.
            several: whether to give three readings instead of one.
        """
        network = self.network
        if points is None or labels is None:
            points, labels = torch.zeros(1, 2), torch.full((1,), _NO_POINT)
        sparse, dense = network.prompt_encoder(
            input_points=points.to(self._device)[None, None],
            input_labels=labels.to(self._device)[None, None],
            input_boxes=None,
            input_masks=None if mask_prompt is None else mask_prompt.to(self._device, self._dtype),
        )
        logits, qualities, tokens, score = network.mask_decoder(
            image_embeddings=seen,
            image_positional_embeddings=network.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
            high_resolution_features=list(features.high_res_features),
        )
        present = score[0, 0, 0] > 0
        pointers = torch.where(present, network.object_pointer_proj(tokens[0, 0]), network.no_object_pointer)
        logits = torch.where(present, logits[0, 0].float(), -NO_OBJECT_LOGIT)
        return tuple(
            TrackerOutput(one, score[0, 0, 0].float(), quality, pointer)
            for one, quality, pointer in zip(logits, qualities[0, 0].float(), pointers, strict=True)
        )

    def _attend(
        self, features: TrackerFeatures, position: int, depth: int, memory: MemoryBank, reverse: bool
    ) -> torch.Tensor:
        """The coarse features ``[1, channel, grid, grid]`` with what is remembered of the object."""
        network, config = self.network, self.network.config
        back = 1 if reverse else -1
        chosen, others = network._select_closest_cond_frames(position, memory.cond_slices, config.max_cond_frame_num)
        nearest = sorted(chosen.items())  # The order in which they were prompted must not change any bit.
        past: dict[int, MemoryEntry] = {**others, **memory.non_cond_slices}
        spatial: list[tuple[int, dict[str, Any] | None]] = [(0, self._as_output(one)) for _, one in nearest]
        for offset in range(self.spatial_reach, 0, -1):
            spatial.append((offset, self._as_output(past.get(position + back * offset))))
        # Pointers come from the same few prompted slices as the rest and, where those are more, from the others as if
        # they had been tracked (Meta); transformers takes those of all prompted slices of the past.
        reach = min(depth, self.pointer_reach + 1)
        pointers = [(abs(t - position), one.object_pointer) for t, one in nearest if (t - position) * back >= 0]
        for offset in range(1, reach):
            if position + back * offset in past:
                pointers.append((offset, past[position + back * offset].object_pointer))
        memories, positions = network._build_memory_attention_inputs(spatial, self._device)
        count = 0
        if pointers:
            offsets, vectors = zip(*pointers, strict=True)
            tokens, places = network._process_object_pointers(
                offsets, vectors, reach, 1, network.hidden_dim, self._device
            )
            memories, positions, count = [*memories, tokens], [*positions, places], tokens.shape[0]
        attended = network.memory_attention(
            _flatten(features.vision_features),
            torch.cat([one.to(self._dtype) for one in memories]),
            _flatten(features.position_encoding),
            torch.cat(positions),
            num_object_pointer_tokens=count,
        )
        seen: torch.Tensor = attended.reshape(self._grid, self._grid, -1).permute(2, 0, 1)[None]
        return seen

    def _as_output(self, memory: MemoryEntry | None) -> dict[str, Any] | None:
        """In the words of transformers' memory attention; None where there is nothing to look at."""
        if memory is None or memory.maskmem_features is None:
            return None
        encoding = self.network.memory_encoder.position_encoding
        shape = torch.Size((1, memory.maskmem_features.shape[-1], self._grid, self._grid))
        place = encoding(shape, self._device, self._dtype)
        return {"maskmem_features": memory.maskmem_features, "maskmem_pos_enc": _flatten(place)}


def _best(masks: tuple[TrackerOutput, ...]) -> TrackerOutput:
    """The one with the highest expected quality, the first among equals, without what holds the others."""
    best = masks[int(torch.stack([mask.iou_score for mask in masks]).argmax())]
    return replace(best, pred_masks=best.pred_masks.clone(), object_pointer=best.object_pointer.clone())


def _resize(masks: torch.Tensor, size: int) -> torch.Tensor:
    """``[1, 1, row, column]`` to a square, each new pixel the mean of what it covers."""
    resized: torch.Tensor = interpolate(masks, size=(size, size), mode="bilinear", antialias=True)
    return resized


def _flatten(features: torch.Tensor) -> torch.Tensor:
    """``[1, channel, row, column]`` to the ``[token, 1, channel]`` of the memory attention."""
    return features.flatten(2).permute(2, 0, 1)
