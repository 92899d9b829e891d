"""Cleaning up linked objects: missing slices filled, slips of the detector dropped, the largest kept.

Each step takes and returns the objects, with what it did to them; ``assembly`` puts that in words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.shape_interpolation import shape_between
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.search_region import SearchRegion

from .regions import LinkedGroup, Region, Regions

#: An object must be seen for at least this far along the stack, unless the whole range that was looked at is shorter.
#: Real structures fill more than one thin slice; a detector's slips do not.
LEAST_EXTENT_MM = 8.0

#: An object on only so many thick slices must be this much surer than the threshold asks (of what is left to 1).
FEW_SLICES_MARGIN = {1: 0.6, 2: 0.4}

#: And it must be at least this part as long as it is wide (the diameter of a circle with the area of its smallest sure
#: slice), unless it goes on beyond the slices that were looked at. What is flat and real, such as a disc of the spine,
#: shows on more slices where they are thin.
LEAST_EXTENT_OF_WIDTH = 0.5


@dataclass(frozen=True)
class SizeRule:
    """What an object must have to be believed.

    Attributes:
        stack: gives millimeters.
        threshold: lowest best score.
        looked_at: the slices that were.
    """

    stack: SliceStack
    threshold: float
    looked_at: Collection[int]

    def is_sure(self, group: LinkedGroup) -> bool:
        """Whether any of its slices reaches the threshold."""
        return group.score >= self.threshold

    def is_long_enough(self, group: LinkedGroup) -> bool:
        """Whether enough slices show it for its size."""
        seen = len({region.slice_index for region in group.regions})
        margin = FEW_SLICES_MARGIN.get(seen, 0.0) if seen < len(self.looked_at) else 0.0
        if group.score < self.threshold + margin * (1 - self.threshold):
            return False
        extent = (group.last_slice - group.first_slice + 1) * self.stack.spacing[0]
        return extent >= self._least_extent(group, few=seen in FEW_SLICES_MARGIN) - 1e-6

    def _least_extent(self, group: LinkedGroup, few: bool) -> float:
        thickness, row, column = self.stack.spacing
        looked_at = len(self.looked_at) * thickness
        if not few or group.first_slice == min(self.looked_at) or group.last_slice == max(self.looked_at):
            return min(LEAST_EXTENT_MM, looked_at)
        # The narrowest sure slice, so that a lower threshold, which shows more of an object, never makes it too short.
        area = min(region.area for region in group.regions if region.score >= self.threshold) * row * column
        return min(max(LEAST_EXTENT_MM, LEAST_EXTENT_OF_WIDTH * math.sqrt(4 * area / math.pi)), looked_at)


def fill_gaps(
    groups: Sequence[LinkedGroup],
    fillable: Collection[int],
    shape: tuple[int, int],
    search_region: SearchRegion | None = None,
) -> tuple[list[LinkedGroup], list[int]]:
    """Fill every single slice that an object skips, half-way between its neighbors.

    Args:
        groups: the objects.
        fillable: slices that may be filled: looked at, and not drawn by a person.
        shape: (rows, columns) of a slice.
        search_region: outside of which nothing is filled.

    Returns:
        The objects, and the slices that were filled. What another object has on such a slice stays its own.
    """
    filled: list[int] = []
    result = []
    for group in groups:
        instances = []
        for instance in group.instances:
            added = [
                region for region in _between(instance, fillable, shape, search_region) if not _is_taken(region, groups)
            ]
            filled += [region.slice_index for region in added]
            instances.append(tuple(sorted([*instance, *added], key=lambda region: region.slice_index)))
        result.append(replace(group, instances=tuple(instances)))
    return result, filled


def largest(groups: Sequence[LinkedGroup]) -> tuple[list[LinkedGroup], int]:
    """The object with the most voxels, and what a person drew; with the number of objects that were dropped."""
    instances = [instance for group in groups for instance in group.instances]
    if not instances:
        return [], 0
    best = max(instances, key=_size)
    kept = [instance for instance in instances if instance is best or any(region.drawn for region in instance)]
    return [LinkedGroup((instance,)) for instance in kept], len(instances) - len(kept)


def _size(instance: Regions) -> int:
    return sum(region.area for region in instance)


def _between(
    instance: Regions, fillable: Collection[int], shape: tuple[int, int], search_region: SearchRegion | None
) -> list[Region]:
    """The missing slices of one object."""
    seen = sorted({region.slice_index for region in instance})
    made = []
    for before, after in pairwise(seen):
        if after - before != 2 or before + 1 not in fillable:
            continue
        sides = [[region for region in instance if region.slice_index == index] for index in (before, after)]
        score = min(max(region.score for region in side) for side in sides)
        mask = shape_between(*(_painted(side, shape) for side in sides))(0.5)
        region = Region.of(before + 1, score, mask if search_region is None else search_region.clip(before + 1, mask))
        if region is not None:
            made.append(region)
    return made


def _painted(regions: Sequence[Region], shape: tuple[int, int]) -> BoolMask:
    mask = np.zeros(shape, bool)
    for region in regions:
        mask[region.window] |= region.mask
    return mask


def _is_taken(region: Region, groups: Sequence[LinkedGroup]) -> bool:
    """Whether another object is seen where ``region`` would be."""
    return any(
        other.slice_index == region.slice_index and 2 * region.intersection(other) > region.area
        for group in groups
        for other in group.regions
    )
