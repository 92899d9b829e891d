"""Set prediction for SAM 3: matching queries to objects, and what the network is penalised for.

Hungarian matching and the terms follow DETR (Carion et al. 2020) and SAM 3's published training configuration in kind
(classification, presence, box L1, GIoU, mask, Dice, semantic); the weights are tuned for small networks on soft masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from MedSAM3SegmentLib.models.detector import DetectorOutput


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is to be found for one pair of image and phrase.

    Attributes:
        masks: soft masks ``[object, row, column]`` at the network's mask resolution; no object when absent.
        boxes: ``[object, 4]`` as ``(x0, y0, x1, y1)`` in fractions of the slice.
        ignored: bool ``[row, column]``, pixels that teach nothing, or None.
        is_whole: bool ``[object]``, False where an object may go on under ignored pixels, so that its box teaches
            nothing; or None for all.
    """

    masks: torch.Tensor
    boxes: torch.Tensor
    ignored: torch.Tensor | None = None
    is_whole: torch.Tensor | None = None

    def to(self, device: torch.device) -> GroundTruth:
        return GroundTruth(
            self.masks.to(device),
            self.boxes.to(device),
            None if self.ignored is None else self.ignored.to(device),
            None if self.is_whole is None else self.is_whole.to(device),
        )

    @property
    def weights(self) -> torch.Tensor:
        """How much each pixel ``[row, column]`` teaches, 0 or 1."""
        shape = self.masks.shape[1:]
        return self.masks.new_ones(shape) if self.ignored is None else 1 - self.ignored.to(self.masks.dtype)


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts.

    The Dice terms weigh most: most of a slice is background, so cross-entropy alone is nearly content with an empty
    mask, and a small network stays there for hundreds of steps.
    """

    presence: float = 3.0
    classification: float = 1.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 5.0
    mask_dice: float = 5.0
    semantic: float = 10.0
    semantic_dice: float = 5.0


def match(raw: DetectorOutput, pair: int, target: GroundTruth) -> tuple[torch.Tensor, torch.Tensor]:
    """The cheapest assignment of objects to queries: indices of queries and of their objects."""
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        boxes = raw.pred_boxes[pair]
        seen = target.weights.flatten()
        probability = raw.pred_masks[pair].flatten(1).sigmoid() * seen
        wanted = target.masks.flatten(1) * seen
        overlap = probability @ wanted.T
        dice = 1 - (2 * overlap + 1) / (probability.sum(1)[:, None] + wanted.sum(1)[None] + 1)
        cost = (
            2 * -raw.pred_logits[pair].sigmoid()[:, None]
            + 5 * torch.cdist(boxes, target.boxes, p=1)
            + 2 * -generalised_iou(boxes[:, None], target.boxes[None])
            + 5 * dice
        )
        queries, objects = linear_sum_assignment(cost.float().numpy(force=True))
    device = raw.pred_boxes.device
    return torch.as_tensor(queries, device=device), torch.as_tensor(objects, device=device)


def generalised_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """GIoU of boxes ``[..., 4]`` as ``(x0, y0, x1, y1)`` (Rezatofighi et al. 2019)."""
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = area_a + area_b - inner
    return inner / union.clamp(min=1e-7) - (outer - union) / outer.clamp(min=1e-7)


def soft_dice_loss(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """1 - Dice of each map ``[map, row, column]``.

    Args:
        weights: how much each pixel teaches, as ``target``; None for all alike.
    """
    probability = logits.sigmoid().flatten(1)
    target = target.flatten(1)
    if weights is not None:
        probability, target = probability * weights.flatten(1), target * weights.flatten(1)
    return 1 - (2 * (probability * target).sum(1) + 1) / (probability.sum(1) + target.sum(1) + 1)


@dataclass(frozen=True)
class Counts:
    """What the losses of a batch are divided by, so that its parts add up to the whole.

    Attributes:
        pairs: of image and phrase.
        present: pairs with an object.
        objects: that are matched with a query.
        boxes: objects whose box is known.
    """

    pairs: int
    present: int
    objects: int
    boxes: int

    @classmethod
    def of(cls, targets: Sequence[GroundTruth], queries: int) -> Counts:
        """Of a whole batch, for a network with so many queries."""
        objects = [min(len(target.boxes), queries) for target in targets]
        # Where there are more objects than queries it is not known beforehand which are matched.
        boxes = [
            min(len(target.boxes) if target.is_whole is None else int(target.is_whole.sum()), queries)
            for target in targets
        ]
        return cls(len(targets), sum(number > 0 for number in objects), sum(objects), max(1, sum(boxes)))


def detection_loss(
    raw: DetectorOutput, targets: Sequence[GroundTruth], weights: LossWeights, counts: Counts | None = None
) -> dict[str, torch.Tensor]:
    """Weighted terms by name, each a scalar; their sum is what is minimised.

    Unlike Meta's recipe, the queries of an absent concept are also taught to score low: presence alone then need not
    carry every "not here".

    Args:
        counts: of the whole batch, where this is a part of one.
    """
    device = raw.pred_boxes.device
    targets = [target.to(device) for target in targets]
    counts = counts or Counts.of(targets, raw.pred_logits.shape[1])
    present = torch.tensor([len(target.boxes) > 0 for target in targets], device=device)
    wanted_class = torch.zeros_like(raw.pred_logits)
    semantic = torch.stack(
        [t.masks.amax(0) if len(t.boxes) else t.masks.new_zeros(raw.semantic_seg.shape[1:]) for t in targets]
    )
    seen = torch.stack([target.weights for target in targets])
    counted = torch.ones_like(raw.pred_logits)
    matched_logits, matched_masks, matched_seen, matched_boxes, wanted_boxes = [], [], [], [], []
    for pair, target in enumerate(targets):
        if target.ignored is not None:
            counted[pair] = _outside(raw.pred_masks[pair], target.ignored)
        if len(target.boxes) == 0:
            continue
        queries, objects = match(raw, pair, target)
        wanted_class[pair, queries] = 1.0
        counted[pair, queries] = 1.0
        matched_logits.append(raw.pred_masks[pair, queries])
        matched_masks.append(target.masks[objects])
        matched_seen.append(target.weights.expand(len(objects), -1, -1))
        if target.is_whole is not None:
            is_whole = target.is_whole[objects]
            queries, objects = queries[is_whole], objects[is_whole]
        matched_boxes.append(raw.pred_boxes[pair, queries])
        wanted_boxes.append(target.boxes[objects])

    entropy = functional.binary_cross_entropy_with_logits
    terms = {
        "presence": weights.presence / counts.pairs * entropy(raw.presence_logits, present.float(), reduction="sum"),
        "classification": weights.classification
        / counts.pairs
        * entropy(raw.pred_logits, wanted_class, counted, reduction="sum"),
        "semantic": weights.semantic / counts.pairs * _pixel_loss(raw.semantic_seg, semantic, seen).sum(),
    }
    if present.any():
        logits, masks = torch.cat(matched_logits), torch.cat(matched_masks)
        pixels = torch.cat(matched_seen)
        boxes, wanted = torch.cat(matched_boxes), torch.cat(wanted_boxes)
        terms |= {
            "semantic dice": weights.semantic_dice
            / counts.present
            * soft_dice_loss(raw.semantic_seg[present], semantic[present], seen[present]).sum(),
            "mask": weights.mask / counts.objects * _pixel_loss(logits, masks, pixels).sum(),
            "mask dice": weights.mask_dice / counts.objects * soft_dice_loss(logits, masks, pixels).sum(),
        }
        if len(boxes):
            terms |= {
                "box": weights.box / counts.boxes * functional.l1_loss(boxes, wanted, reduction="none").mean(1).sum(),
                "giou": weights.giou / counts.boxes * (1 - generalised_iou(boxes, wanted)).sum(),
            }
    return terms


def _pixel_loss(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy over the pixels that teach something, of each map ``[map, row, column]``."""
    loss = functional.binary_cross_entropy_with_logits(logits, target, weights, reduction="none")
    return loss.sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)


def _outside(mask_logits: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """By query 1, or 0 where most of its mask is under ignored pixels, so that nobody knows whether it is right."""
    probability = mask_logits.detach().sigmoid().flatten(1)
    share = (probability * ignored.flatten()).sum(1) / probability.sum(1).clamp(min=1e-6)
    return (share <= 0.5).to(mask_logits.dtype)
