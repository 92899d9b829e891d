"""NSD and HD95 as DeepMind's ``surface-distance`` defines them, to the last bit, without what makes it slow.

The library sorts pairs of numbers one by one, measures distances where nobody asks for them and makes its table of
areas for each mask anew. Its tables are used here; the rest is NumPy. Its definition: elements of a surface (of a
contour in two dimensions) stand on the corners between voxels, where some but not all of the voxels around belong to
the mask, and have the area (length) that marching cubes (squares) would give them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

#: HD95 is this share of the surface.
_PERCENT = 95

#: Distances and areas of the elements of one surface, sorted by both.
_Surface = tuple[NDArray[np.float64], NDArray[np.float64]]


def surface_scores(
    mask: BoolMask, reference: BoolMask, spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """NSD and HD95 of two masks that are not empty.

    Args:
        mask, reference: bool, of two or three dimensions.
        spacing: along each of them.
        tolerance: of NSD, in the unit of the spacing.
    """
    ours, theirs = _surfaces(mask, reference, tuple(float(one) for one in spacing))
    within = sum(float(np.sum(areas[distances <= tolerance])) for distances, areas in (theirs, ours))
    nsd = within / (float(np.sum(theirs[1])) + float(np.sum(ours[1])))
    return nsd, max(_percentile(*theirs), _percentile(*ours))


def _surfaces(mask: BoolMask, reference: BoolMask, spacing: tuple[float, ...]) -> tuple[_Surface, _Surface]:
    """The surface of each mask, with distances from the other one."""
    box = _bounding_box(mask | reference)
    areas = _element_areas(spacing)
    codes = [_corner_codes(one[box]) for one in (mask, reference)]
    full = len(areas) - 1
    edges = [(code != 0) & (code != full) for code in codes]
    places = [np.nonzero(edge) for edge in edges]
    found = []
    for own, other in ((0, 1), (1, 0)):
        distances = _distances(places[own], edges[other], spacing)
        sizes = areas[codes[own][places[own]]]
        order = np.lexsort((sizes, distances))
        found.append((distances[order], sizes[order]))
    return found[0], found[1]


def _bounding_box(mask: BoolMask) -> tuple[slice, ...]:
    box = []
    for axis in range(mask.ndim):
        on = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(on[0]), int(on[-1]) + 1))
    return tuple(box)


def _corner_codes(mask: BoolMask) -> NDArray[np.uint8]:
    """For each corner between voxels, one bit for each voxel around it, the first voxel's the highest."""
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for place in np.ndindex(*(2,) * mask.ndim):
        bit = 2**mask.ndim - 1 - int("".join(map(str, place)), 2)
        codes |= (
            padded[tuple(slice(start, start + size + 1) for start, size in zip(place, mask.shape, strict=True))] << bit
        )
    return codes


def _distances(places: tuple[NDArray[Any], ...], edge: BoolMask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """From each place to the nearest one on an edge."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~edge, sampling=spacing, return_distances=False, return_indices=True)
    gaps = np.stack([(found[places] - own).astype(np.float64) for found, own in zip(nearest, places, strict=True)])
    gaps *= np.asarray(spacing)[:, None]
    np.multiply(gaps, gaps, gaps)
    return np.asarray(np.sqrt(np.add.reduce(gaps, axis=0)), np.float64)


@lru_cache(maxsize=64)
def _element_areas(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """By code of a corner its area, in the unit of the spacing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names modules of SciPy as they were called before
        from surface_distance import lookup_tables

    make = (
        lookup_tables.create_table_neighbour_code_to_contour_length
        if len(spacing) == 2
        else lookup_tables.create_table_neighbour_code_to_surface_area
    )
    return np.asarray(make(spacing), np.float64)


def _percentile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    shares = np.cumsum(areas) / np.sum(areas)
    return float(distances[min(int(np.searchsorted(shares, _PERCENT / 100.0)), len(distances) - 1)])
