"""From the network's raw answer on one slice to evidence: scores by the model's rule, soft masks, overlaps removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard, ScoreRule
from MedSAM3SegmentLib.geometry.mask_ops import mask_iou
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import DetectorOutput

#: Lowest score that is kept as evidence; the threshold can be moved down to here without running the model.
MIN_SCORE = 0.05

#: Two masks that overlap more than this (intersection over union) show the same object; the better one is kept.
#: MedSAM-3's inference uses the same limit on boxes.
NMS_IOU = 0.5


def postprocess_slice(raw: DetectorOutput, pair: int, slice_index: int, card: ModelCard) -> SliceDetections:
    """What the network said about one phrase on one slice.

    Args:
        raw: the network's answer for a batch of pairs.
        pair: which of them.
        slice_index: of the slice along its stack.
        card: the model's score and mask rules.
    """
    query_scores = raw.pred_logits[pair].sigmoid().numpy(force=True)
    presence = float(raw.presence_logits[pair].sigmoid())
    scores = query_scores * presence if card.score_rule is ScoreRule.WITH_PRESENCE else query_scores
    best = float(scores.max())
    if best < MIN_SCORE:
        return SliceDetections(slice_index, best, presence)
    kept = [int(query) for query in np.argsort(-scores) if scores[query] >= MIN_SCORE]
    masks = raw.masks.of(pair, kept).sigmoid().numpy(force=True)
    boxes = raw.pred_boxes[pair, kept].clamp(0, 1).numpy(force=True)
    detections = tuple(
        Detection(
            score=float(scores[kept[n]]),
            query_score=float(query_scores[kept[n]]),
            presence=presence,
            box=tuple(float(x) for x in boxes[n]),  # type: ignore[arg-type]
            mask=SoftMask.of(masks[n]),
        )
        for n in nms_masks(masks)[: 1 if card.mask_rule is MaskRule.BEST_INSTANCE else None]
    )
    semantic = None
    if card.mask_rule is MaskRule.SEMANTIC:
        semantic = SoftMask.of(raw.semantic_seg[pair].sigmoid().numpy(force=True))
    return SliceDetections(slice_index, best, presence, detections, semantic)


def nms_masks(masks: NDArray[np.float32]) -> list[int]:
    """Indices of the masks ``[mask, row, column]``, best first, that do not repeat a better one."""
    binary = masks.reshape(len(masks), -1) > MASK_THRESHOLD
    chosen: list[int] = []
    for n, mask in enumerate(binary):
        if not mask.any():
            continue
        if all(mask_iou(mask, binary[m]) <= NMS_IOU for m in chosen):
            chosen.append(n)
    return chosen
