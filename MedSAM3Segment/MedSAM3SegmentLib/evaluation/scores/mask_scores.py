"""Scores of one mask against one reference: overlap, surfaces, presence, and the counts that they come from.

Rules where something is empty, stated once here: without a reference there is no overlap and no surface, so Dice, IoU,
NSD and HD95 are undefined (None) and only the presence says whether something was invented. With a reference and no
prediction Dice, IoU and NSD are 0 and HD95 is undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import PackageError

from .surface_scores import surface_scores

#: The library of the surface scores, as results name it.
SURFACE_LIBRARY = "surface-distance 0.1 (DeepMind)"


class Presence(StrEnum):
    """Whether what is there was found, whatever its shape."""

    FOUND = "found"
    MISSED = "missed"
    FALSE_FOUND = "false found"
    RIGHTLY_ABSENT = "rightly absent"


@dataclass(frozen=True)
class MaskScores:
    """One mask against one reference.

    Attributes:
        tp, fp, fn: voxels in both, in the prediction alone, in the reference alone.
        dice, iou: None without a reference.
        nsd: normalized surface Dice at the tolerance, the share of both surfaces that lies within it; None without a
            reference.
        hd95: the larger of the two 95th percentiles of the distances from one surface to the other, weighted by area,
            in the unit of the spacing; None where either is empty.
    """

    tp: int
    fp: int
    fn: int
    dice: float | None
    iou: float | None
    nsd: float | None
    hd95: float | None
    presence: Presence

    @property
    def reference_voxels(self) -> int:
        return self.tp + self.fn

    @property
    def predicted_voxels(self) -> int:
        return self.tp + self.fp


def check_surface_library() -> None:
    """Make sure, before a long run, that surfaces can be measured.

    Raises:
        PackageError: the package is not installed.
    """
    try:
        import surface_distance  # noqa: F401
    except ImportError:
        raise PackageError(
            "The package surface-distance, which measures HD95 and NSD, is not installed; run "
            "pip install 'medsam3-slicer[evaluate]', or give --no-surfaces."
        ) from None


def score_masks(
    mask: BoolMask,
    reference: BoolMask,
    spacing: Sequence[float],
    tolerance: float | None,
    scored: BoolMask | None = None,
) -> MaskScores:
    """Score a mask.

    Args:
        mask, reference: bool ``[k, j, i]``.
        spacing: between voxels along ``(k, j, i)``, in mm or in pixels. An axis of one voxel is left out: the surface
            of a picture is its contour.
        tolerance: of NSD, in the unit of the spacing; None measures no surfaces.
        scored: False where voxels do not count, or None for all; both masks are empty there.

    Raises:
        ValueError: the shapes differ.
    """
    if mask.shape != reference.shape:
        raise ValueError(f"The mask has shape {mask.shape}, the reference {reference.shape}.")
    if scored is not None:
        mask, reference = mask & scored, reference & scored
    tp = int(np.count_nonzero(mask & reference))
    fp, fn = int(np.count_nonzero(mask)) - tp, int(np.count_nonzero(reference)) - tp
    if not tp + fn:
        presence = Presence.FALSE_FOUND if fp else Presence.RIGHTLY_ABSENT
        return MaskScores(tp, fp, fn, None, None, None, None, presence)
    if not tp + fp:
        return MaskScores(tp, fp, fn, 0.0, 0.0, None if tolerance is None else 0.0, None, Presence.MISSED)
    nsd, hd95 = (None, None) if tolerance is None else _surface_scores(mask, reference, spacing, tolerance)
    return MaskScores(tp, fp, fn, 2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn), nsd, hd95, Presence.FOUND)


def _surface_scores(
    mask: BoolMask, reference: BoolMask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """NSD and HD95 of two masks that are not empty."""
    kept = tuple(axis for axis in range(3) if mask.shape[axis] > 1)
    if len(kept) < 2:  # a line of voxels: there are surfaces and contours only
        kept = (1, 2) if 0 not in kept else (0, 2)
    dropped = tuple(axis for axis in range(3) if axis not in kept)
    flat, flat_reference = (np.squeeze(one, axis=dropped) for one in (mask, reference))
    return surface_scores(flat, flat_reference, [spacing[axis] for axis in kept], tolerance)
