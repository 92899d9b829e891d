"""Which objects of one drawn slice go on in which objects of the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

from .signed_distance import PixelSpacing

#: Two objects that do not overlap are the same one if their areas differ by this factor at most.
_LARGEST_GROWTH = 4.0

#: Regions that touch by a corner are one object.
_EIGHT_NEIGHBORS = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class MatchedObjects:
    """What is the same on two slices; one of the masks is empty where an object ends between them.

    Attributes:
        before, after: bool ``[row, column]``.
        is_single: whether it is one connected object on both, so that it may have moved as a whole.
    """

    before: BoolMask
    after: BoolMask
    is_single: bool


def match_objects(before: BoolMask, after: BoolMask, spacing: PixelSpacing) -> list[MatchedObjects]:
    """The objects of two slices in groups that overlap; a branching is one group.

    Objects that overlap with nothing are matched with one as near as both are wide, as thin vessels that run obliquely
    need; what is left ends between the slices.

    Args:
        before, after: bool ``[row, column]``.
    """
    from scipy import ndimage

    first, count = ndimage.label(before, _EIGHT_NEIGHBORS)
    last, more = ndimage.label(after, _EIGHT_NEIGHBORS)
    both = before & after
    pairs = {(int(a), int(b)) for a, b in np.unique(np.stack([first[both], last[both]], axis=1), axis=0)}
    alone = [n for n in range(1, count + 1) if all(a != n for a, _ in pairs)]
    new = [n for n in range(1, more + 1) if all(b != n for _, b in pairs)]
    pairs |= _nearest(first, alone, last, new, spacing)
    groups = _groups(count, more, pairs)
    return [
        MatchedObjects(np.isin(first, ours), np.isin(last, theirs), len(ours) == len(theirs) == 1)
        for ours, theirs in groups
    ]


def overlapping_objects(mask: BoolMask, other: BoolMask) -> BoolMask:
    """The objects of ``mask`` that overlap with ``other``, whole."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, _EIGHT_NEIGHBORS)
    touched = np.unique(labels[other & mask])
    return np.isin(labels, touched[touched > 0])


def _nearest(
    first: NDArray[np.int32], alone: list[int], last: NDArray[np.int32], new: list[int], spacing: PixelSpacing
) -> set[tuple[int, int]]:
    from scipy import ndimage
    from scipy.optimize import linear_sum_assignment

    if not alone or not new:
        return set()
    scale = np.asarray(spacing)
    places = [
        np.array(ndimage.center_of_mass(labels > 0, labels, numbers)) * scale
        for labels, numbers in ((first, alone), (last, new))
    ]
    areas = [
        np.bincount(labels.ravel())[numbers] * float(scale.prod()) for labels, numbers in ((first, alone), (last, new))
    ]
    widths = [np.sqrt(4 * area / np.pi) for area in areas]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    reach = widths[0][:, None] + widths[1][None]
    growth = np.maximum(areas[0][:, None], areas[1][None]) / np.minimum(areas[0][:, None], areas[1][None])
    possible = (apart <= reach) & (growth <= _LARGEST_GROWTH)
    rows, columns = linear_sum_assignment(np.where(possible, apart / reach, 1e3))
    return {(alone[a], new[b]) for a, b in zip(rows, columns, strict=True) if possible[a, b]}


def _groups(count: int, more: int, pairs: set[tuple[int, int]]) -> list[tuple[list[int], list[int]]]:
    """Connected parts of the graph with the objects of both slices, by their numbers."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    total = count + more
    if not total:
        return []
    rows = [a - 1 for a, _ in pairs]
    columns = [count + b - 1 for _, b in pairs]
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(total, total))
    number, members = connected_components(graph, directed=False)
    return [
        (
            [n + 1 for n in range(count) if members[n] == group],
            [n + 1 for n in range(more) if members[count + n] == group],
        )
        for group in range(number)
    ]
