"""Which queries are to find which objects, as SAM 3 was trained: one each, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from MedSAM3SegmentLib.training.losses import GroundTruth, generalised_iou

from .decoder_layers import DecoderLayer

#: Numbers of queries and of their objects.
Indices = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class MetaLossWeights:
    """Meta's numbers.

    Attributes:
        score_alpha, score_gamma, positive: of the IoU-aware loss; how much the score itself is in its target, how
            little easy negatives count, and how much positives count.
        queries: a pair counts as if it had at least so many.
        one_to_many: how much the second pass counts; there ``topk`` queries at most that agree with an object by more
            than ``agreement`` find it, where agreement is ``match_alpha`` score and the rest overlap.
    """

    presence: float = 20.0
    classification: float = 20.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 200.0
    mask_dice: float = 10.0
    semantic: float = 20.0
    semantic_dice: float = 30.0
    presence_alpha: float = 0.5
    score_alpha: float = 0.25
    score_gamma: float = 2.0
    positive: float = 10.0
    queries: int = 200
    mask_alpha: float = 0.25
    semantic_alpha: float = 0.6
    one_to_many: float = 2.0
    match_alpha: float = 0.3
    agreement: float = 0.4
    topk: int = 4


def match_one_to_one(layer: DecoderLayer, targets: Sequence[GroundTruth]) -> list[Indices]:
    """The cheapest assignment of objects to queries by focal score and box: indices of queries and of their objects."""
    from scipy.optimize import linear_sum_assignment

    alpha, gamma, matches = 0.25, 2.0, []
    with torch.no_grad():
        for pair, target in enumerate(targets):
            score = layer.logits[pair].float().sigmoid().clamp(1e-8, 1 - 1e-8)
            says_yes = alpha * (1 - score) ** gamma * -score.log()
            says_no = (1 - alpha) * score**gamma * -(1 - score).log()
            cost = (
                2 * (says_yes - says_no)[:, None]
                + 5 * torch.cdist(layer.boxes[pair].float(), center_and_size(target.boxes), p=1)
                - 2 * generalised_iou(layer.corners[pair].float()[:, None], target.boxes[None])
            )
            queries, objects = linear_sum_assignment(cost.numpy(force=True))
            matches.append(_indices(queries, objects, layer.logits.device))
    return matches


def match_one_to_many(layer: DecoderLayer, targets: Sequence[GroundTruth], weights: MetaLossWeights) -> list[Indices]:
    """For each object the few queries that agree with it best, each for the object that it agrees with best."""
    matches = []
    with torch.no_grad():
        for pair, target in enumerate(targets):
            if not len(target.boxes):
                matches.append(_indices([], [], layer.logits.device))
                continue
            overlap = box_iou(layer.corners[pair].float()[:, None], target.boxes[None])
            agreement = weights.match_alpha * layer.logits[pair].float().sigmoid()[:, None]
            agreement = agreement + (1 - weights.match_alpha) * overlap
            best = agreement.topk(min(weights.topk, len(agreement)), dim=0).indices
            is_chosen = torch.zeros_like(agreement, dtype=torch.bool).scatter_(0, best, True)
            is_chosen &= agreement > weights.agreement
            value, objects = torch.where(is_chosen, agreement, -1.0).max(1)
            queries = torch.nonzero(value > 0).flatten()
            matches.append((queries, objects[queries]))
    return matches


def box_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Overlap of boxes ``[..., 4]`` as ``(x0, y0, x1, y1)``."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (a, b)]
    return inner / (areas[0] + areas[1] - inner).clamp(min=1e-7)


def center_and_size(corners: torch.Tensor) -> torch.Tensor:
    return torch.cat([(corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]], -1)


def _indices(queries: Any, objects: Any, device: torch.device) -> Indices:
    numbers = [torch.as_tensor(some, dtype=torch.long, device=device) for some in (queries, objects)]
    return numbers[0], numbers[1]
