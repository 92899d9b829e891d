"""The losses that Meta's published configurations train SAM 3 with, beside this project's own in ``losses``.

Focal losses (Lin et al. 2017), scores that aim at how well a box fits (IoU-aware, Zhang et al. 2021), every layer of
the decoder (auxiliary), and a second pass of the decoder without attention between queries, in which several queries
may find one object (one-to-many, DAC-DETR, Hu et al. 2023). Numbers are those of the configuration with masks
(``roboflow_v100_full_ft_100_images.yaml``). Unlike this project's losses, they teach queries of an absent concept
nothing: only presence says no.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss

from MedSAM3SegmentLib.models.detector import DetectorOutput
from MedSAM3SegmentLib.training.losses import Counts, GroundTruth, generalised_iou, soft_dice_loss

from .decoder_layers import DecoderCall, DecoderLayer, decoder_layers, without_self_attention
from .matching import Indices, MetaLossWeights, box_iou, center_and_size, match_one_to_many, match_one_to_one

if TYPE_CHECKING:
    from transformers import Sam3Model

__all__ = ["MetaLossWeights", "meta_loss"]


def meta_loss(
    network: Sam3Model,
    raw: DetectorOutput,
    call: DecoderCall,
    targets: Sequence[GroundTruth],
    weights: MetaLossWeights,
    counts: Counts | None = None,
) -> dict[str, torch.Tensor]:
    """Weighted terms by name, each a scalar; their sum is what is minimised.

    Args:
        call: of the decoder, that ``raw`` came from.
        counts: of the whole batch, where this is a part of one.
    """
    targets = [target.to(raw.pred_boxes.device) for target in targets]
    counts = counts or Counts.of(targets, raw.pred_logits.shape[1])
    layers = decoder_layers(network, call.inputs, call.output)
    matches = [match_one_to_one(layers[-1], targets)]
    terms = _layer_terms(layers[-1], targets, matches[0], weights, counts)
    terms |= _mask_terms(raw, targets, matches[0], weights, counts)
    if len(layers) > 1:
        terms["auxiliary"] = _sum_of(
            _layer_terms(layer, targets, match_one_to_one(layer, targets), weights, counts) for layer in layers[:-1]
        )
    if any(len(target.boxes) for target in targets):
        apart = decoder_layers(network, call.inputs, without_self_attention(network.detr_decoder)(**call.inputs), False)
        found = [match_one_to_one(layer, targets) for layer in apart[:-1]]
        found.append(match_one_to_many(apart[-1], targets, weights))
        terms["one-to-many"] = weights.one_to_many * _sum_of(
            _layer_terms(layer, targets, matched, weights, counts) for layer, matched in zip(apart, found, strict=True)
        )
    return terms


def _layer_terms(
    layer: DecoderLayer,
    targets: Sequence[GroundTruth],
    matches: Sequence[Indices],
    weights: MetaLossWeights,
    counts: Counts,
) -> dict[str, torch.Tensor]:
    """Scores, presence and boxes of one layer."""
    nothing = layer.logits.sum() * 0
    terms = {"classification": nothing, "box": nothing, "giou": nothing}
    corners = layer.corners
    for pair, (target, (queries, objects)) in enumerate(zip(targets, matches, strict=True)):
        if not len(target.boxes):
            continue  # Only presence says no.
        fits = box_iou(corners[pair, queries], target.boxes[objects])
        per_pair = _score_loss(layer.logits[pair], queries, fits, weights, target.ignored is None)
        terms["classification"] = terms["classification"] + per_pair
        if target.is_whole is not None:
            whole = target.is_whole[objects]
            queries, objects = queries[whole], objects[whole]
        wanted = target.boxes[objects]
        distance = l1_loss(layer.boxes[pair, queries], center_and_size(wanted), reduction="sum")
        terms["box"] = terms["box"] + distance
        terms["giou"] = terms["giou"] + (1 - generalised_iou(corners[pair, queries], wanted)).sum()
    queries_counted = max(weights.queries, layer.logits.shape[1])
    terms["classification"] = weights.classification * terms["classification"] / (queries_counted * counts.pairs)
    terms["box"] = weights.box * terms["box"] / counts.boxes
    terms["giou"] = weights.giou * terms["giou"] / counts.boxes
    if layer.presence is not None:
        present = torch.tensor([float(len(target.boxes) > 0) for target in targets], device=layer.logits.device)
        entropy = binary_cross_entropy_with_logits(layer.presence, present, reduction="sum")
        terms["presence"] = weights.presence * weights.presence_alpha * entropy / counts.pairs
    return terms


def _score_loss(
    logits: torch.Tensor, queries: torch.Tensor, fits: torch.Tensor, weights: MetaLossWeights, others_count: bool
) -> torch.Tensor:
    """The IoU-aware loss of one pair's scores ``[query]``.

    Args:
        fits: how well the boxes of the matched ``queries`` overlap their objects.
        others_count: False where the rest may be right under ignored pixels.
    """
    score = logits.sigmoid()
    with torch.no_grad():
        aim = score[queries] ** weights.score_alpha * fits.clamp(min=0) ** (1 - weights.score_alpha)
    positive = weights.positive * binary_cross_entropy_with_logits(
        logits[queries], aim.clamp(min=0.01).to(logits.dtype), reduction="sum"
    )
    if not others_count:
        return positive
    is_other = torch.ones_like(logits)
    is_other[queries] = 0
    negative = binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")
    return positive + (negative * score**weights.score_gamma * is_other).sum()


def _mask_terms(
    raw: DetectorOutput,
    targets: Sequence[GroundTruth],
    matches: Sequence[Indices],
    weights: MetaLossWeights,
    counts: Counts,
) -> dict[str, torch.Tensor]:
    """Masks of matched queries, and the semantic map where the concept is present."""
    present = [pair for pair, target in enumerate(targets) if len(target.boxes)]
    if not present:
        return {}
    logits = torch.cat([raw.pred_masks[pair, matches[pair][0]] for pair in present])
    masks = torch.cat([targets[pair].masks[matches[pair][1]] for pair in present])
    seen = torch.cat([targets[pair].weights.expand(len(matches[pair][0]), -1, -1) for pair in present])
    semantic = torch.stack([targets[pair].masks.amax(0) for pair in present])
    counted = torch.stack([targets[pair].weights for pair in present])
    found = raw.semantic_seg[present]
    return {
        "mask": weights.mask / counts.objects * _focal(logits, masks, seen, weights.mask_alpha),
        "mask dice": weights.mask_dice / counts.objects * soft_dice_loss(logits, masks, seen).sum(),
        "semantic": weights.semantic / counts.present * _focal(found, semantic, counted, weights.semantic_alpha),
        "semantic dice": weights.semantic_dice / counts.present * soft_dice_loss(found, semantic, counted).sum(),
    }


def _focal(logits: torch.Tensor, target: torch.Tensor, seen: torch.Tensor, alpha: float) -> torch.Tensor:
    """The focal loss with gamma 2, mean over each map's pixels that teach something, summed over maps."""
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    share = alpha * target + (1 - alpha) * (1 - target)
    entropy = binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    loss = share * (1 - right) ** 2 * entropy * seen
    return (loss.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)).sum()


def _sum_of(layers: Iterator[dict[str, torch.Tensor]]) -> torch.Tensor:
    return torch.stack([term for terms in layers for term in terms.values()]).sum()
