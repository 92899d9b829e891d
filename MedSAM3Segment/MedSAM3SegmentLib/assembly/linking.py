"""From what was seen on each slice to objects in the volume: which regions belong together, and which only touch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

from .regions import LinkedGroup, Region

#: What a detector sees as an object on neighboring slices belongs together beyond this overlap, as a part of the
#: smaller region.
LEAST_OVERLAP = 0.1

#: Across a slice on which nothing was seen, regions belong together from this intersection over union on. It is far
#: more than chance gives: a slip of the detector just beyond the object's end must not be taken for its end.
LEAST_IOU_ACROSS_A_GAP = 0.2

#: A part that goes over into another object with this much of its own largest area is a branch of that object. What
#: merely touches has become small where it ends.
BRANCH_OVERLAP = 0.5


def link(regions: Sequence[Region], *, kept_apart: bool, bridge: Iterable[int], least_slices: int) -> list[LinkedGroup]:
    """Join the regions that show the same object on neighboring slices.

    Args:
        regions: of all slices.
        kept_apart: whether two regions of one slice are two objects in the detector's eyes. They stay two where both
            can be followed; otherwise whatever hangs together is one object.
        bridge: slices on which nothing was seen may be skipped if they are among these, one at a time.
        least_slices: a part that goes on through fewer slices is no object by itself, but part of its neighbor.
    """
    regions = sorted(regions, key=lambda region: region.slice_index)
    touching = _touching(regions, LEAST_OVERLAP if kept_apart else 0.0)
    bridges = _across_gaps(regions, touching, set(bridge))
    groups = _joined(len(regions), [*touching, *bridges])
    linked = []
    for members in groups:
        objects = [members]
        if kept_apart and _slices(members, regions) < len(members):
            objects = _chains(members, regions, touching, bridges, least_slices)
        linked.append(LinkedGroup(tuple(tuple(regions[n] for n in members) for members in objects)))
    return linked


def connected(candidates: BoolMask, scores: NDArray[np.float64]) -> list[LinkedGroup]:
    """Every connected object (26 neighbors) of ``candidates`` ``[slice, row, column]``, by itself.

    Args:
        scores: of each slice.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(candidates, structure=np.ones((3, 3, 3)))
    groups = []
    for number, extent in enumerate(ndimage.find_objects(labels), start=1):
        found = []
        for index in range(extent[0].start, extent[0].stop):
            mask = np.ascontiguousarray(labels[index, extent[1], extent[2]] == number)
            found.append(Region(index, float(scores[index]), extent[1].start, extent[2].start, mask))
        groups.append(LinkedGroup((tuple(found),)))
    return groups


Edge = tuple[int, int]


def _touching(regions: Sequence[Region], least_overlap: float) -> list[Edge]:
    """Pairs of regions on neighboring slices that overlap enough, as indices, in the order of the slices.

    Where any overlap is enough, so is touching (26 neighbors).
    """
    by_slice = _by_slice(regions)
    found = []
    for index, members in by_slice.items():
        following = by_slice.get(index + 1, ())
        for one in members if following else ():
            region = regions[one] if least_overlap else regions[one].grown()
            found += [
                (one, other)
                for other in following
                if region.intersection(regions[other]) > least_overlap * min(region.area, regions[other].area)
            ]
    return found


def _across_gaps(regions: Sequence[Region], touching: Sequence[Edge], bridge: set[int]) -> list[Edge]:
    """Pairs two slices apart that show the same object, which nothing on the slice between them does."""
    goes_on = {one for one, _ in touching}
    comes_from = {other for _, other in touching}
    by_slice = _by_slice(regions)
    found = []
    for index, members in by_slice.items():
        if index + 1 not in bridge:
            continue
        pairs = [
            (regions[one].iou(regions[other]), one, other)
            for one in members
            if one not in goes_on
            for other in by_slice.get(index + 2, ())
            if other not in comes_from
        ]
        taken: set[int] = set()
        for iou, one, other in sorted(pairs, reverse=True):
            if iou >= LEAST_IOU_ACROSS_A_GAP and not taken & {one, other}:
                taken |= {one, other}
                found.append((one, other))
    return found


def _by_slice(regions: Sequence[Region]) -> dict[int, list[int]]:
    by_slice: dict[int, list[int]] = {}
    for number, region in enumerate(regions):
        by_slice.setdefault(region.slice_index, []).append(number)
    return by_slice


def _joined(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    """The connected components of a graph, each in rising order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if count == 0:
        return []
    rows, columns = np.array(edges, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), bool), (rows, columns)), shape=(count, count))
    number, labels = connected_components(graph, directed=False)
    return [np.flatnonzero(labels == n).tolist() for n in range(number)]


def _chains(
    members: Sequence[int],
    regions: Sequence[Region],
    touching: Sequence[Edge],
    bridges: Sequence[Edge],
    least_slices: int,
) -> list[list[int]]:
    """A group of regions as the objects in it: followed one to one from slice to slice, branches put back."""
    inside = set(members)
    edges = [edge for edge in touching if edge[0] in inside]
    kept = [*_best_partners(edges, regions), *(edge for edge in bridges if edge[0] in inside)]
    numbers = {member: n for n, member in enumerate(members)}
    chains = [
        [members[n] for n in part]
        for part in _joined(len(members), [(numbers[one], numbers[other]) for one, other in kept])
    ]
    return _without_branches(chains, regions, edges, least_slices)


def _best_partners(edges: Sequence[Edge], regions: Sequence[Region]) -> list[Edge]:
    """Of all edges those that give each region one partner on each side, with the most agreement in all."""
    from scipy.optimize import linear_sum_assignment

    by_slice: dict[int, list[Edge]] = {}
    for edge in edges:
        by_slice.setdefault(regions[edge[0]].slice_index, []).append(edge)
    kept: list[Edge] = []
    for pairs in by_slice.values():
        ones, others = sorted({one for one, _ in pairs}), sorted({other for _, other in pairs})
        agreement = np.zeros((len(ones), len(others)))
        for one, other in pairs:
            agreement[ones.index(one), others.index(other)] = regions[one].iou(regions[other])
        chosen = zip(*linear_sum_assignment(agreement, maximize=True), strict=True)
        kept += [(ones[row], others[column]) for row, column in chosen if agreement[row, column] > 0]
    return kept


def _without_branches(
    chains: list[list[int]], regions: Sequence[Region], edges: Sequence[Edge], least_slices: int
) -> list[list[int]]:
    """Give every chain that is too short or goes over into another one to the one it shares most pixels with."""
    chains = sorted(chains, key=lambda chain: -sum(regions[n].area for n in chain))
    position = len(chains) - 1
    while position > 0 and len(chains) > 1:
        chain = chains[position]
        shared = _shared(chain, chains, regions, edges)
        best = max(shared, key=lambda n: shared[n], default=None)
        widest = max(regions[n].area for n in chain)
        if best is not None and (_slices(chain, regions) < least_slices or shared[best] >= BRANCH_OVERLAP * widest):
            chains[best] = sorted(chains[best] + chain)
            del chains[position]
        position -= 1
    return chains


def _shared(
    chain: Sequence[int], chains: Sequence[Sequence[int]], regions: Sequence[Region], edges: Sequence[Edge]
) -> dict[int, int]:
    """By the other chains' places, the most pixels that the chain shares with it where the chain begins or ends.

    Only the slices beyond count on which the chain itself is no more.
    """
    own = {regions[n].slice_index for n in chain}
    place = {n: number for number, other in enumerate(chains) for n in other}
    inside = set(chain)
    shared: dict[int, int] = {}
    for one, other in edges:
        if (one in inside) == (other in inside):
            continue
        mine, beyond = (one, other) if one in inside else (other, one)
        if regions[beyond].slice_index in own:
            continue
        pixels = regions[mine].intersection(regions[beyond])
        shared[place[beyond]] = max(shared.get(place[beyond], 0), pixels)
    return shared


def _slices(chain: Sequence[int], regions: Sequence[Region]) -> int:
    return len({regions[n].slice_index for n in chain})
