"""The detector's stages in two parts: what depends on the slice alone, once, and what each phrase adds.

transformers' ``Sam3Model.forward`` computes all of it anew for each phrase (``detect_whole``, which training that keeps
no activations uses and which the parts are measured against). What does not depend on the phrase: the first
self-attention of the DETR encoder, which comes before the first look at the words; the geometry token where nothing is
drawn; of the pixel decoder, whose convolutions are linear, the half that comes from the feature pyramid. The other half
is a convolution of features that were doubled in size by repetition, which is a transposed convolution with less than
half of the multiplications.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import conv2d, conv_transpose2d, interpolate

from .query_decoder import attention_mask, decode_queries, decode_queries_by_layers
from .stage_types import PADDING_LABEL, BoxPrompts, DenseMasks, DetectorOutput, PromptTokens, QueryMasks, SharedStages
from .vision_backbone import WIDENED_AT_ONCE

if TYPE_CHECKING:
    from transformers import Sam3Model
    from transformers.models.sam3.modeling_sam3 import Sam3ImageSegmentationOutput

    from MedSAM3SegmentLib.models.detector import FeaturePyramid, TextFeatures

    from .graph_replay import GraphReplay, Tensors


def share_stages(network: Sam3Model, pyramid: FeaturePyramid, no_boxes: BoxPrompts) -> SharedStages:
    """Compute what all phrases on the slices of ``pyramid`` share.

    Args:
        no_boxes: padding for each slice.
    """
    tokens, positions = (parts[-2].flatten(2).transpose(1, 2) for parts in (pyramid.levels, pyramid.positions))
    attended = _attend_to_slice(network.detr_encoder.layers[0], tokens, positions)
    decoder = network.mask_decoder.pixel_decoder
    # The last level that transformers' detector uses is replaced by what the encoder makes of it.
    finer = tuple(reversed(pyramid.levels[:-2]))
    lateral = tuple(
        convolution(level.contiguous(memory_format=torch.channels_last))
        for convolution, level in zip(decoder.conv_layers, finer, strict=False)
    )
    doubling: tuple[torch.Tensor, ...] = ()
    if tokens.device.type == "cpu" and tokens.dtype is not torch.float16:
        # Timed on CPUs alone; and float16, which is for GPUs, is nearer to Meta's without sums of rounded weights.
        doubling = tuple(
            doubling_kernel(convolution.weight).contiguous(memory_format=torch.channels_last)
            for convolution, _ in zip(decoder.conv_layers, finer, strict=False)
        )
    geometry = encode_geometry(network, pyramid, no_boxes)
    return SharedStages(pyramid, attended, positions, geometry, lateral, doubling)


def encode_geometry(network: Sam3Model, pyramid: FeaturePyramid, boxes: BoxPrompts) -> PromptTokens:
    """Boxes and the geometry encoder's own token as tokens, one set for each entry of ``pyramid``."""
    answer = network.geometry_encoder(
        box_embeddings=boxes.boxes,
        box_mask=boxes.labels != PADDING_LABEL,
        box_labels=torch.where(boxes.labels == PADDING_LABEL, 0, boxes.labels),
        img_feats=pyramid.levels[:-1],
        img_pos_embeds=pyramid.positions[:-1],
    )
    return PromptTokens(answer.last_hidden_state, answer.attention_mask)


def detect_phrases(
    network: Sam3Model, shared: SharedStages, phrases: TextFeatures, boxes: BoxPrompts | None
) -> DetectorOutput:
    """What each phrase adds: ``Sam3Model.forward`` from the encoder's first look at the words on.

    Args:
        shared: one entry per pair.
        phrases: one entry per pair.
        boxes: exemplar boxes per pair, or None where nothing is drawn.
    """
    from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy

    geometry = shared.geometry
    if boxes is not None:
        geometry = encode_geometry(network, shared.pyramid.repeat_each(shared.times), boxes)
    prompt = PromptTokens(
        torch.cat([phrases.text_embeds, geometry.tokens], dim=1), torch.cat([phrases.attention_mask, geometry.mask], 1)
    )
    encoded = _encode(network, shared, prompt)
    decode = decode_queries_by_layers if torch.is_grad_enabled() else decode_queries
    decoded = decode(network.detr_decoder, encoded, shared, prompt)
    queries = decoded.queries
    logits = network.dot_product_scoring(
        decoder_hidden_states=queries[None], text_features=prompt.tokens, text_mask=prompt.mask
    )[0].squeeze(-1)
    masks, semantic = _decode_masks(network, shared, prompt, encoded, queries)
    # Losses look at all of them, and more than once.
    kept = DenseMasks(masks.all()) if torch.is_grad_enabled() else masks
    boxes_xyxy = box_cxcywh_to_xyxy(decoded.boxes)
    return DetectorOutput(logits.float(), decoded.presence.float(), boxes_xyxy.float(), kept, semantic.float())


def detect_phrases_recorded(
    graphs: GraphReplay, network: Sam3Model, shared: SharedStages, phrases: TextFeatures
) -> DetectorOutput:
    """``detect_phrases`` where nothing is drawn, without gradients, by a CUDA graph."""

    def compute(given: Tensors) -> Tensors:
        attended, positions, tokens, mask, embeds, text_mask, *lateral = given
        stages = replace(
            shared,
            attended=attended,
            positions=positions,
            geometry=PromptTokens(tokens, mask),
            lateral=tuple(lateral),
        )
        answer = detect_phrases(network, stages, replace(phrases, text_embeds=embeds, attention_mask=text_mask), None)
        masks = cast(QueryMasks, answer.masks)
        return (
            answer.pred_logits,
            answer.presence_logits,
            answer.pred_boxes,
            answer.semantic_seg,
            masks.kernels,
            masks.constants,
            masks.pixels,
        )

    logits, presence, boxes, semantic, *masks = graphs.run(
        ("phrases", shared.times, shared.grid),
        compute,
        (
            shared.attended,
            shared.positions,
            shared.geometry.tokens,
            shared.geometry.mask,
            phrases.text_embeds,
            phrases.attention_mask,
            *shared.lateral,
        ),
    )
    return DetectorOutput(logits, presence, boxes, QueryMasks(*masks), semantic)


def detect_whole(
    network: Sam3Model, pyramid: FeaturePyramid, phrases: TextFeatures, boxes: BoxPrompts
) -> Sam3ImageSegmentationOutput:
    """The same by ``Sam3Model.forward`` itself, which shares nothing: for training, and to compare with."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

    output: Sam3ImageSegmentationOutput = network(
        vision_embeds=Sam3VisionEncoderOutput(
            fpn_hidden_states=pyramid.levels, fpn_position_encoding=pyramid.positions
        ),
        text_embeds=BaseModelOutputWithPooling(pooler_output=phrases.text_embeds),
        attention_mask=phrases.attention_mask,
        input_boxes=boxes.boxes,
        input_boxes_labels=boxes.labels,
    )
    return output


def doubling_kernel(weight: torch.Tensor) -> torch.Tensor:
    """The kernel of the transposed convolution that first doubles features by repetition and then convolves them.

    Args:
        weight: of the convolution, ``[channel out, channel in, 3, 3]``; it pads with one zero.

    Returns:
        ``[channel in, channel out, 4, 4]`` for a stride of 2 and a padding of 1. Two neighbors of each output along an
        axis are the same input, so that the kernel's entries are sums of those of ``weight``.
    """
    kernel = weight.float() if weight.dtype != torch.float64 else weight
    for axis in (2, 3):
        before, here, after = kernel.unbind(axis)
        kernel = torch.stack([after, here + after, before + here, before], axis)
    return kernel.transpose(0, 1).to(weight.dtype)


def _encode(network: Sam3Model, shared: SharedStages, prompt: PromptTokens) -> torch.Tensor:
    """The DETR encoder from behind its first self-attention on, ``[pair, token, channel]``."""
    hidden = shared.attended
    mask = attention_mask(network.detr_encoder.config, hidden, prompt)
    for number, layer in enumerate(network.detr_encoder.layers):
        if number:
            hidden = _attend_to_slice(layer, hidden, shared.positions)
        attention, _ = layer.cross_attn(
            query=layer.layer_norm2(hidden), key=prompt.tokens, value=prompt.tokens, attention_mask=mask
        )
        # What is computed here and used once is added to in place: these are the largest tensors of a phrase.
        hidden = attention.add_(hidden)
        hidden = _feed_forward(layer, hidden)
    return hidden


def _attend_to_slice(layer: Any, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What a layer of the DETR encoder makes of the slice's tokens before it looks at the prompt."""
    normed = layer.layer_norm1(hidden)
    placed = normed + positions
    attention, _ = layer.self_attn(query=placed, key=placed, value=normed)
    return cast(torch.Tensor, attention.add_(hidden))


def _feed_forward(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The last part of a layer of the DETR encoder, without gradients in place."""
    if torch.is_grad_enabled() or hidden.device.type != "cpu":
        return _mlp(layer.mlp, layer.layer_norm3(hidden)).add_(hidden)
    for tokens in torch.split(hidden.flatten(0, 1), WIDENED_AT_ONCE):
        tokens.add_(_mlp(layer.mlp, layer.layer_norm3(tokens)))
    return hidden


def _mlp(mlp: Any, hidden: torch.Tensor) -> torch.Tensor:
    """transformers' ``Sam3MLP`` without dropout, in place where it rectifies."""
    widened = mlp.fc1(hidden)
    widened = widened.relu_() if mlp.config.hidden_act == "relu" else mlp.activation_fn(widened)
    return cast(torch.Tensor, mlp.fc2(widened))


def _decode_masks(
    network: Sam3Model, shared: SharedStages, prompt: PromptTokens, encoded: torch.Tensor, queries: torch.Tensor
) -> tuple[QueryMasks, torch.Tensor]:
    """The queries' masks, and the logits of the semantic map ``[pair, row, column]``."""
    head = network.mask_decoder
    normed = head.prompt_cross_attn_norm(encoded)
    attention, _ = head.prompt_cross_attn(
        query=normed,
        key=prompt.tokens,
        value=prompt.tokens,
        attention_mask=attention_mask(head.config, normed, prompt),
    )
    pixels = (encoded + attention).unflatten(1, shared.grid).permute(0, 3, 1, 2)
    for number, lateral in enumerate(shared.lateral):
        if shared.doubling:
            added = conv_transpose2d(pixels, shared.doubling[number], stride=2, padding=1)
        else:
            doubled = interpolate(pixels, scale_factor=2, mode="nearest")
            added = conv2d(doubled, head.pixel_decoder.conv_layers[number].weight, padding=1)
        added.view(-1, shared.times, *added.shape[1:]).add_(lateral[:, None])
        pixels = head.pixel_decoder.norms[number](added).relu_()
    # The projection of the pixels is taken over to the few queries.
    projection, embedded = head.instance_projection, head.mask_embedder(queries)
    masks = QueryMasks(embedded @ projection.weight.flatten(1), embedded @ projection.bias, pixels)
    return masks, head.semantic_projection(pixels)[:, 0]
