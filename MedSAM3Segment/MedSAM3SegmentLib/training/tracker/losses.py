"""What a tracker is penalised for: its masks, what it expects of them, and whether the object is there at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

import torch
import torch.nn.functional as functional

from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD
from MedSAM3SegmentLib.models.tracker_types import TrackerOutput
from MedSAM3SegmentLib.training.losses import soft_dice_loss


@dataclass(frozen=True)
class TrackerLossWeights:
    """How much each term counts.

    Attributes:
        end: of the object score on the last slices of an object and the first after it, on top of ``score``; where a
            mask stops is told by these alone.
        spare: of the readings that are not the best one; without it they would never learn (Rupprecht et al. 2017).
    """

    mask: float = 5.0
    mask_dice: float = 5.0
    quality: float = 1.0
    score: float = 3.0
    end: float = 2.0
    spare: float = 0.05


@dataclass(frozen=True, eq=False)
class SliceAnswer:
    """What was answered for one object on one slice, and what was right.

    Attributes:
        readings: one, or three of which the best is taught.
        wanted: soft mask ``[row, column]`` at the decoder's size.
        present: whether the object is on the slice.
        at_end: whether the slice is next to where the object begins or ends.
    """

    readings: Sequence[TrackerOutput]
    wanted: torch.Tensor
    present: bool
    at_end: bool


@dataclass(frozen=True)
class TrackerCounts:
    """What losses are divided by: of a clip, or of what one process goes through of it.

    Attributes:
        importance: of all object scores.
        masks: that are judged.
        readings: of these masks.
        spares: masks of which there are several readings.
    """

    importance: float
    masks: int
    readings: int
    spares: int

    @classmethod
    def of(cls, answers: Sequence[SliceAnswer], weights: TrackerLossWeights) -> TrackerCounts:
        judged = [len(answer.readings) for answer in answers if _is_judged(answer)]
        importance = sum(_importance(answer, weights) for answer in answers)
        return cls(importance, len(judged), sum(judged), sum(readings > 1 for readings in judged))

    @classmethod
    def total(cls, several: Iterable[TrackerCounts]) -> TrackerCounts:
        """Of all processes together."""
        rows = zip(*map(astuple, several), strict=True)
        importance, masks, readings, spares = (sum(row) for row in rows)
        return cls(importance, masks, readings, spares)


def tracker_loss(
    answers: Sequence[SliceAnswer], weights: TrackerLossWeights, counts: TrackerCounts | None = None
) -> dict[str, torch.Tensor]:
    """Weighted terms by name, each a scalar; their sum is what is minimised.

    A mask is judged where the object is and the tracker saw it: one that it takes for missing has no logits to
    correct, only its object score. As in SAM, of several readings the best mask is taught, and the others a little.

    Args:
        counts: of the whole clip, where ``answers`` are a part of it.
    """
    if not answers:
        return {}
    counts = counts or TrackerCounts.of(answers, weights)
    scores = torch.stack([answer.readings[0].object_score_logits for answer in answers])
    present = torch.tensor([float(answer.present) for answer in answers], device=scores.device)
    importance = torch.tensor([_importance(answer, weights) for answer in answers], device=scores.device)
    missed = functional.binary_cross_entropy_with_logits(scores, present, importance, reduction="sum")
    terms = {"score": weights.score * missed / counts.importance}
    logits, wanted, expected, overlaps, spares = [], [], [], [], []
    for answer in answers:
        if not _is_judged(answer):
            continue
        of_answer = torch.stack([reading.pred_masks for reading in answer.readings])
        target = answer.wanted.to(of_answer.device).expand_as(of_answer)
        costs = _mask_cost(of_answer, target, weights)
        best = int(costs.argmin())
        if len(costs) > 1:
            spares.append(costs.mean())
        logits.append(of_answer[best])
        wanted.append(target[best])
        expected.append(torch.stack([reading.iou_score for reading in answer.readings]))
        overlaps.append(_overlap(of_answer, target))
    if logits:
        masks, targets = torch.stack(logits), torch.stack(wanted)
        terms["mask"] = weights.mask * _entropy(masks, targets).sum() / counts.masks
        terms["mask dice"] = weights.mask_dice * soft_dice_loss(masks, targets).sum() / counts.masks
        if spares:
            terms["readings"] = weights.spare * torch.stack(spares).sum() / counts.spares
        quality = functional.l1_loss(torch.cat(expected), torch.cat(overlaps), reduction="sum")
        terms["quality"] = weights.quality * quality / counts.readings
    return terms


def _is_judged(answer: SliceAnswer) -> bool:
    return answer.present and bool(answer.readings[0].object_score_logits > 0)


def _importance(answer: SliceAnswer, weights: TrackerLossWeights) -> float:
    return 1 + weights.end * answer.at_end


def _entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Of each mask."""
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").flatten(1).mean(1)


def _mask_cost(logits: torch.Tensor, wanted: torch.Tensor, weights: TrackerLossWeights) -> torch.Tensor:
    return weights.mask * _entropy(logits, wanted) + weights.mask_dice * soft_dice_loss(logits, wanted)


def _overlap(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """IoU of each mask ``[map, row, column]``; 1 where both are empty."""
    found, right = logits.detach() > 0, wanted > MASK_THRESHOLD
    union = (found | right).flatten(1).sum(1)
    return torch.where(union > 0, (found & right).flatten(1).sum(1) / union.clamp(min=1), 1.0)
