"""Scores of single objects: panoptic quality and average precision of instance maps.

Panoptic quality as Kirillov et al. (CVPR 2019): objects match where their IoU is above 0.5, which makes the match
unique. Average precision as the Data Science Bowl 2018 counted it: TP / (TP + FP + FN) at the IoU thresholds 0.5 to
0.95 in steps of 0.05, averaged over the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The thresholds of the Data Science Bowl 2018, exact in hundredths.
_THRESHOLDS = tuple(hundredths / 100 for hundredths in range(50, 100, 5))

#: Numbers up to which a table of all of them is smaller than what is counted, or small.
_SMALL = 65535


@dataclass(frozen=True)
class InstanceScores:
    """Objects of one picture or volume.

    Attributes:
        reference, predicted: how many objects there are.
        matched: pairs whose IoU is above 0.5.
        pq: panoptic quality; None where there is no object on either side.
        ap, ap50: average precision over all thresholds and at 0.5; None as for ``pq``.
        hits: pairs whose IoU is at least 0.5, 0.55 and so on to 0.95, as SAM 3 counts them.
    """

    reference: int
    predicted: int
    matched: int
    pq: float | None
    ap: float | None
    ap50: float | None
    hits: tuple[int, ...]


def score_instances(predicted: NDArray[Any], reference: NDArray[Any]) -> InstanceScores:
    """Score an instance map.

    Args:
        predicted, reference: whole numbers of one shape, 0 where there is nothing, another number for each object.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"The instance map has shape {predicted.shape}, the reference {reference.shape}.")
    # Both numbered from 0 without gaps, where 0 is the background, which may be absent.
    ours, our_numbers = _numbered(np.append(predicted.ravel(), 0))
    theirs, their_numbers = _numbered(np.append(reference.ravel(), 0))
    pairs = np.bincount(their_numbers * len(ours) + our_numbers, minlength=len(ours) * len(theirs))
    shared = pairs.reshape(len(theirs), len(ours))
    ours_at, theirs_at = ours != 0, theirs != 0
    their_sizes, our_sizes = shared.sum(axis=1)[theirs_at], shared.sum(axis=0)[ours_at]
    shared = shared[np.ix_(theirs_at, ours_at)]
    union = their_sizes[:, None] + our_sizes[None, :] - shared
    iou = shared / union if shared.size else np.zeros(shared.shape)
    # A pair above 0.5 is the only one of both its objects; at a threshold that it is equal to it does not match.
    best = iou[iou > 0.5]
    count_theirs, count_ours = len(their_sizes), len(our_sizes)
    if not count_theirs + count_ours:
        return InstanceScores(0, 0, 0, None, None, None, (0,) * len(_THRESHOLDS))
    precisions = []
    for threshold in _THRESHOLDS:
        hits = int(np.count_nonzero(best > threshold))
        precisions.append(hits / (count_theirs + count_ours - hits))
    pq = 2 * float(best.sum()) / (count_theirs + count_ours)
    ap = float(np.mean(precisions))
    return InstanceScores(count_theirs, count_ours, len(best), pq, ap, precisions[0], _hits(iou))


def _numbered(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """As ``np.unique`` with the inverse, without sorting where numbers are as small as those of objects are."""
    if values.dtype.kind not in "biu" or values.min() < 0 or values.max() > max(_SMALL, len(values)):
        found, inverse = np.unique(values, return_inverse=True)
        return found, inverse
    places = values.astype(np.int64)
    is_there = np.bincount(places) > 0
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[places]


def _hits(iou: NDArray[np.float64]) -> tuple[int, ...]:
    """Matches at each threshold, which a pair reaches where it is equal."""
    from scipy.optimize import linear_sum_assignment

    # Only of pairs at exactly 0.5 can one object have two.
    matched = iou[linear_sum_assignment(iou, maximize=True)] if (iou == 0.5).any() else iou[iou > 0.5]
    return tuple(int(np.count_nonzero(matched >= threshold)) for threshold in _THRESHOLDS)
