"""From the network's raw answer on one slice to evidence: scores by the model's rule, soft masks, overlaps removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.checkpoints.model_card import MaskRule, ModelCard, ScoreRule
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceEvidence, SoftMask

if TYPE_CHECKING:
    from MedSAM3SegmentLib.models.detector import RawDetections

#: Lowest score that is kept as evidence; the threshold can be moved down to here without running the model.
EVIDENCE_FLOOR = 0.05

#: Two masks that overlap more than this (intersection over union) show the same object; the better one is kept.
#: MedSAM-3's inference uses the same limit on boxes.
DUPLICATE_IOU = 0.5


def slice_evidence(raw: RawDetections, pair: int, slice_index: int, card: ModelCard) -> SliceEvidence:
    """What the network said about one phrase on one slice.

    Args:
        raw: the network's answer for a batch of pairs.
        pair: which of them.
        slice_index: of the slice along its stack.
        card: the model's score and mask rules.
    """
    query_scores = raw.query_logits[pair].sigmoid().numpy(force=True)
    presence = float(raw.presence_logits[pair].sigmoid())
    scores = query_scores * presence if card.score_rule is ScoreRule.WITH_PRESENCE else query_scores
    best = float(scores.max())
    if best < EVIDENCE_FLOOR:
        return SliceEvidence(slice_index, best, presence)
    kept = [int(query) for query in np.argsort(-scores) if scores[query] >= EVIDENCE_FLOOR]
    masks = raw.mask_logits[pair, kept].sigmoid().numpy(force=True)
    boxes = raw.boxes[pair, kept].clamp(0, 1).numpy(force=True)
    detections = tuple(
        Detection(
            score=float(scores[kept[n]]),
            query_score=float(query_scores[kept[n]]),
            presence=presence,
            box=tuple(float(x) for x in boxes[n]),  # type: ignore[arg-type]
            mask=SoftMask.of(masks[n]),
        )
        for n in distinct(masks)[: 1 if card.mask_rule is MaskRule.BEST_INSTANCE else None]
    )
    semantic = None
    if card.mask_rule is MaskRule.SEMANTIC:
        semantic = SoftMask.of(raw.semantic_logits[pair].sigmoid().numpy(force=True))
    return SliceEvidence(slice_index, best, presence, detections, semantic)


def distinct(masks: NDArray[np.float32]) -> list[int]:
    """Indices of the masks ``[mask, row, column]``, best first, that do not repeat a better one."""
    binary = masks.reshape(len(masks), -1) > 0.5
    chosen: list[int] = []
    for n, mask in enumerate(binary):
        if not mask.any():
            continue
        overlaps = ((mask & binary[m]).sum() / max((mask | binary[m]).sum(), 1) for m in chosen)
        if all(overlap <= DUPLICATE_IOU for overlap in overlaps):
            chosen.append(n)
    return chosen
