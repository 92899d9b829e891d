"""Masks that may overlap as one label map, in which a voxel has one label, and what of each that hides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

from .mask_ops import bounding_box


class Overlap(StrEnum):
    """Which label a voxel of several masks gets."""

    SMALLER = "smaller"
    """That of the mask with fewer voxels, so that a tumor stays in its organ; of equal ones the earlier."""
    LATER = "later"
    """That of the mask that comes later."""
    REFUSE = "refuse"
    """None: whoever writes the label map refuses to."""


@dataclass(frozen=True)
class CoveredPart:
    """Voxels of one mask that have the label of another.

    Attributes:
        label: of the mask that lost them.
        by: the label that they have.
        voxels: how many they are.
        whole: voxels of the mask that lost them.
        left: voxels that still have its label.
    """

    label: int
    by: int
    voxels: int
    whole: int
    left: int


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One label per voxel.

    Attributes:
        labels: uint16 ``[k, j, i]``, 0 where no mask is.
        covered: what is hidden, by the label that lost voxels and then by the one that has them.
    """

    labels: NDArray[np.uint16]
    covered: tuple[CoveredPart, ...]


def merge_masks(
    masks: Mapping[int, BoolMask], shape: tuple[int, int, int], overlap: Overlap = Overlap.SMALLER
) -> LabelMap:
    """Merge masks into one label map.

    Args:
        masks: bool ``[k, j, i]`` by label, 1 to 65535, in the order that ``Overlap.LATER`` goes by.
        shape: of the label map.
        overlap: which label a voxel of several masks gets; ``REFUSE`` merges as ``SMALLER`` does, for the caller to
            look at ``LabelMap.covered``.
    """
    boxes = {label: bounding_box(mask) for label, mask in masks.items()}
    parts = {label: mask[boxes[label]] for label, mask in masks.items()}
    sizes = {label: int(np.count_nonzero(part)) for label, part in parts.items()}
    order = list(masks)
    if overlap is not Overlap.LATER:
        # Of equal masks the earlier one is painted last.
        order = sorted(order, key=lambda label: sizes[label])[::-1]
    labels = np.zeros(shape, np.uint16)
    for label in order:
        labels[boxes[label]][parts[label]] = label
    covered = []
    for label, part in parts.items():
        there = np.bincount(labels[boxes[label]][part]) if sizes[label] else np.zeros(0, np.int64)
        left = int(there[label]) if label < len(there) else 0
        covered += [
            CoveredPart(label, int(by), int(there[by]), sizes[label], left)
            for by in np.flatnonzero(there)
            if by != label
        ]
    return LabelMap(labels, tuple(covered))
