"""Which wordings of one structure agree: masks that overlap are one opinion, and the one with most wordings leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.mask_ops import mask_iou

#: Masks that overlap this much (intersection over union) show the same thing.
SAME_IOU = 0.5

#: And this much where both need not be shown.
NEARLY_EQUAL_IOU = 0.9


@dataclass(frozen=True, eq=False)
class Opinion:
    """Wordings that gave the same mask.

    Attributes:
        phrases: that gave it, in the order they were asked.
        mask: of the first of them, bool ``[k, j, i]``.
    """

    phrases: tuple[str, ...]
    mask: BoolMask

    @property
    def support(self) -> int:
        """How many wordings gave it."""
        return len(self.phrases)


def opinions_of(masks: Mapping[str, BoolMask], same_iou: float = SAME_IOU) -> list[Opinion]:
    """The opinions of wordings, most supported first, and of equals the one that was asked first.

    Args:
        masks: by phrase, in the order they were asked, bool ``[k, j, i]``; empty ones have no opinion.
        same_iou: from which overlap two masks are one opinion.
    """
    groups: list[tuple[list[str], BoolMask]] = []
    for phrase, mask in masks.items():
        if not mask.any():
            continue
        same = [group for group in groups if mask_iou(group[1], mask) >= same_iou]
        if same:
            best = max(same, key=lambda group: mask_iou(group[1], mask))
            best[0].append(phrase)
        else:
            groups.append(([phrase], mask))
    opinions = [Opinion(tuple(phrases), mask) for phrases, mask in groups]
    return sorted(opinions, key=lambda opinion: -opinion.support)


def claimed_by(mask: BoolMask, others: Mapping[str, BoolMask]) -> str:
    """The phrase among ``others`` whose mask is the same, or empty."""
    overlaps = {phrase: mask_iou(mask, other) for phrase, other in others.items() if other.any()}
    best = max(overlaps, key=lambda phrase: overlaps[phrase], default="")
    return best if best and overlaps[best] >= SAME_IOU else ""


def share_in(mask: BoolMask, others: Sequence[BoolMask]) -> float:
    """The largest share of a mask that lies in one of the others."""
    size = max(int(np.count_nonzero(mask)), 1)
    return max((np.count_nonzero(mask & other) / size for other in others), default=0.0)


def is_one_against(typed: str, opinions: Sequence[Opinion]) -> bool:
    """Whether the typed phrase gave nothing and no two others agree: one wording's word against it is not enough."""
    gave = {phrase for opinion in opinions for phrase in opinion.phrases}
    return typed not in gave and all(opinion.support < 2 for opinion in opinions)
