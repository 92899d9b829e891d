"""Candidates: the objects that phrases gave, cut to side and container, with what is measured of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedSAM3AgentLib.targets import Pick, Side
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.volume import Volume

from .sides import centroid_ras, half_of, side_of

#: An object lies on a side, or in a container, with at least this share of its voxels.
MOSTLY = 0.7

#: And is beside it with at most this share; between the two it is cut.
HARDLY = 0.3


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured of a mask.

    Attributes:
        volume_ml: milliliters.
        centroid: millimeters RAS.
        slices: first and last along the stack, both included.
        mean_intensity: in the volume's unit; of color the mean of its channels.
        objects: connected objects (faces).
    """

    volume_ml: float
    centroid: tuple[float, float, float]
    slices: tuple[int, int]
    mean_intensity: float
    objects: int


def measure(mask: BoolMask, volume: Volume, stack: SliceStack) -> Measures | None:
    """What is measured of a mask ``[k, j, i]``; None where it is empty."""
    if not mask.any():
        return None
    on = np.flatnonzero(stack.extract(mask).any(axis=(1, 2)))
    return Measures(
        volume_ml=np.count_nonzero(mask) * volume.grid.voxel_volume_mm3 / 1000,
        centroid=centroid_ras(mask, volume.grid),
        slices=(int(on[0]), int(on[-1])),
        mean_intensity=float(volume.array[mask].mean()),
        objects=int(ndimage.label(mask)[1]),
    )


def mean_slice_score(concept: ConceptResult, mask: BoolMask, stack: SliceStack) -> float:
    """Mean over the slices with ``mask`` of the scores that the model gave the phrase there; 0 where it is empty."""
    scores = concept.score_by_slice
    on = np.flatnonzero(stack.extract(mask).any(axis=(1, 2))).tolist()
    return float(np.mean([scores.get(index, 0.0) for index in on])) if on else 0.0


def objects_of(concept: ConceptResult) -> list[BoolMask]:
    """The objects of a concept, largest first, bool ``[k, j, i]`` each."""
    if not concept.found:
        return []
    return [concept.instance_map == instance.label for instance in concept.instances]


def on_side(objects: Sequence[BoolMask], side: Side, grid: VoxelGrid, midline: float) -> list[BoolMask]:
    """The objects on one side of the patient; one that lies across the midline is cut there."""
    half = None
    kept = []
    for mask in objects:
        where, share = side_of(mask, grid, midline)
        if share >= MOSTLY:
            if where is side:
                kept.append(mask)
            continue
        half = half_of(grid, side, midline) if half is None else half
        kept.append(mask & half)
    return kept


def within(objects: Sequence[BoolMask], container: BoolMask) -> list[BoolMask]:
    """The objects inside of a container; one that sticks out of it much is cut."""
    kept = []
    for mask in objects:
        share = np.count_nonzero(mask & container) / max(int(np.count_nonzero(mask)), 1)
        if share >= MOSTLY:
            kept.append(mask)
        elif share > HARDLY:
            kept.append(mask & container)
    return kept


def outside(objects: Sequence[BoolMask], excluded: BoolMask) -> list[BoolMask]:
    """The objects without what is excluded; one that is mostly that is dropped."""
    kept = []
    for mask in objects:
        rest = mask & ~excluded
        if np.count_nonzero(rest) > HARDLY * np.count_nonzero(mask):
            kept.append(rest)
    return kept


def pick_objects(objects: Sequence[BoolMask], pick: Pick, count: int, grid: VoxelGrid) -> list[BoolMask]:
    """Which of the objects are meant; ``upper`` is superior, ``front`` anterior, by their centroids."""
    if pick is Pick.ALL or len(objects) <= 1:
        return list(objects)
    if pick in (Pick.LARGEST, Pick.SMALLEST):
        ranked = sorted(objects, key=np.count_nonzero, reverse=pick is Pick.LARGEST)
        return ranked[:count]
    axis, sign = {Pick.UPPER: (2, -1), Pick.LOWER: (2, 1), Pick.FRONT: (1, -1), Pick.BACK: (1, 1)}[pick]
    return sorted(objects, key=lambda mask: sign * centroid_ras(mask, grid)[axis])[:1]


def without_holes(mask: BoolMask, stack: SliceStack) -> BoolMask:
    """A container with what it encloses on each slice: models often leave a tumor out of its organ."""
    slices = stack.extract(mask).copy()
    for index in np.flatnonzero(slices.any(axis=(1, 2))):
        slices[index] = ndimage.binary_fill_holes(slices[index])
    return np.ascontiguousarray(stack.insert(slices))


def united(objects: Sequence[BoolMask], shape: tuple[int, int, int]) -> BoolMask:
    """All objects as one mask."""
    mask = np.zeros(shape, bool)
    for one in objects:
        mask |= one
    return mask
