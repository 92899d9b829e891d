"""J and F of objects followed through a video, as DAVIS defines them: how well regions and contours agree.

Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation (CVPR 2016), section 3. J
is the IoU of a frame; where both masks are empty it is 1. F is the F1 of contour pixels, of which one counts as met
where a contour pixel of the other mask lies within a tolerance of 0.8 % of the picture's diagonal. Both are averaged
over the frames of an object, then over objects; J&F is their mean. The first and the last frame are left out, as the
benchmark does, since the first is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask

#: Of the diagonal, in which contour pixels meet; the bound of the benchmark's own code.
TOLERANCE = 0.008


@dataclass(frozen=True)
class VideoScores:
    """Means over the frames of one object, or over objects.

    Attributes:
        j: of regions.
        f: of contours.
        frames: how many were scored.
    """

    j: float
    f: float
    frames: int

    @property
    def j_and_f(self) -> float:
        return (self.j + self.f) / 2


def score_track(found: BoolMask, reference: BoolMask, *, skip_ends: bool = True) -> VideoScores | None:
    """Score one object.

    Args:
        found, reference: ``[frame, row, column]``.
        skip_ends: leave the first and the last frame out; where nothing is left, None comes back.
    """
    if found.shape != reference.shape:
        raise ValueError(f"The masks have the shapes {found.shape} and {reference.shape}.")
    frames = range(1, len(found) - 1) if skip_ends else range(len(found))
    if not len(frames):
        return None
    j = [region_similarity(found[frame], reference[frame]) for frame in frames]
    f = [contour_accuracy(found[frame], reference[frame]) for frame in frames]
    return VideoScores(float(np.mean(j)), float(np.mean(f)), len(frames))


def mean_scores(tracks: Sequence[VideoScores]) -> VideoScores | None:
    """The mean over objects, each counting once however many frames it has; None where there is none."""
    if not tracks:
        return None
    return VideoScores(
        float(np.mean([track.j for track in tracks])),
        float(np.mean([track.f for track in tracks])),
        sum(track.frames for track in tracks),
    )


def region_similarity(found: BoolMask, reference: BoolMask) -> float:
    """J, the IoU of two masks ``[row, column]``; 1 where both are empty."""
    union = np.count_nonzero(found | reference)
    return float(np.count_nonzero(found & reference) / union) if union else 1.0


def contour_accuracy(found: BoolMask, reference: BoolMask, tolerance: float = TOLERANCE) -> float:
    """F, the F1 of contours of two masks ``[row, column]``; 1 where both are empty, 0 where one is.

    Args:
        tolerance: part of the diagonal, rounded up to whole pixels.
    """
    from scipy import ndimage

    radius = math.ceil(tolerance * math.hypot(*reference.shape))
    mine, theirs = contour(found), contour(reference)
    if not mine.any() or not theirs.any():
        return float(mine.any() == theirs.any())
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    precision = np.count_nonzero(mine & ndimage.binary_dilation(theirs, disk)) / np.count_nonzero(mine)
    recall = np.count_nonzero(theirs & ndimage.binary_dilation(mine, disk)) / np.count_nonzero(theirs)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def contour(mask: BoolMask) -> BoolMask:
    """Pixels ``[row, column]`` that differ from the next to the right, below, or both, as the benchmark draws it."""
    right, below, both = mask.copy(), mask.copy(), mask.copy()
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    both[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ both)
    # In the last row and column the benchmark looks along it alone, and never at the last corner.
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge
