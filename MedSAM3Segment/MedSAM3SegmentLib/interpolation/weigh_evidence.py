"""How far the image may move what was interpolated: found out on drawn slices that are held out.

Each drawn slice between two others is interpolated from those as if it had not been drawn. What does best there is
used for the slices that were not drawn; where nothing does better than shape alone, shape alone stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap

from .intensities import LocalIntensities
from .shapes import interpolate_shapes
from .signed_distance import PixelSpacing, edge_error_mm, signed_distance

#: Weights of what the intensities say that are tried, each for single pixels and blurred.
_WEIGHTS = (0.1, 0.2, 0.3)

#: What the intensities say must raise the Dice coefficient of the held-out slices by this to count.
_LEAST_GAIN = 0.003

#: Drawn slices that are held out at most, spread evenly; more say hardly more.
_MOST_HELD_OUT = 8

#: Beyond this far from a drawn slice, shape says no less than there, millimeters: what the intensities move is bounded.
_FARTHEST_MM = 15.0

#: Error of an interpolated edge per millimeter from the nearest drawn slice, where too few slices are drawn to measure
#: it. Seven organs of a CT of 3 mm have 0.12 to 0.37, on average 0.25.
USUAL_ERROR = 0.25

#: It is never taken for more, or a shape that comes and goes would let a model that is wrong too move it.
_MOST_ERROR = 0.4


@dataclass(frozen=True)
class ImageWeight:
    """How much the intensities count.

    Attributes:
        weight: of their logarithm of likelihoods, against millimeters of distance to the interpolated edge per
            millimeter to the nearest drawn slice; 0 where shape alone is better.
        is_blurred: whether pixels speak together with those near them.
        error: of an interpolated edge, millimeters per millimeter from the nearest drawn slice.
        held_out: drawn slices that this was found out on.
    """

    weight: float
    is_blurred: bool
    error: float = USUAL_ERROR
    held_out: int = 0


#: Where only two slices are drawn, none can be held out; so little never costs much.
UNTESTED = ImageWeight(0.1, True)


def moved_by_image(
    distance: FloatMap, said: tuple[FloatMap, FloatMap], weight: ImageWeight, apart_mm: float
) -> FloatMap:
    """An interpolated slice with what its intensities say, as millimeters to the edge.

    Args:
        distance: millimeters to the interpolated edge, above 0 inside.
        said: by single pixels and blurred, from ``LocalIntensities.log_likelihood_ratio``.
        apart_mm: to the nearest drawn slice.
    """
    if weight.weight == 0.0:
        return distance
    reach = weight.weight * min(apart_mm, _FARTHEST_MM)
    return np.asarray(distance + reach * said[weight.is_blurred], np.float32)


def weigh_image(
    drawn: Mapping[int, BoolMask],
    intensities: LocalIntensities,
    spacing: tuple[float, float, float],
    check: Callable[[], None],
) -> ImageWeight:
    """How much the intensities are to count for one object.

    Args:
        drawn: bool ``[row, column]`` by slice, all that were drawn.
        spacing: millimeters between slices, rows and columns.
        check: called before each slice that is held out.
    """
    indices = sorted(drawn)
    inner = [n for n in range(1, len(indices) - 1) if drawn[indices[n]].any()]
    if not inner:
        return UNTESTED
    chosen = sorted({inner[round(n)] for n in np.linspace(0, len(inner) - 1, min(len(inner), _MOST_HELD_OUT))})
    tried = [ImageWeight(0.0, False)]
    tried += [ImageWeight(weight, is_blurred) for is_blurred in (True, False) for weight in _WEIGHTS]
    hits, totals, errors = np.zeros(len(tried)), np.zeros(len(tried)), []
    for n in chosen:
        check()
        index, before, after = indices[n], indices[n - 1], indices[n + 1]
        near = {one: drawn[one] for one in indices[max(0, n - 2) : n + 3] if one != index}
        distance = interpolate_shapes(near, _in_plane(spacing))[index]
        truth = drawn[index]
        apart = min(index - before, after - index) * spacing[0]
        error = edge_error_mm(distance, signed_distance(truth, _in_plane(spacing)), _in_plane(spacing))
        if error is not None:
            errors.append(error / apart)
        said = intensities.log_likelihood_ratio(index, before, after)
        for number, weight in enumerate(tried):
            found = moved_by_image(distance, said, weight, apart) > 0
            hits[number] += 2 * np.count_nonzero(found & truth)
            totals[number] += np.count_nonzero(found) + np.count_nonzero(truth)
    scores = hits / np.maximum(totals, 1)
    best = int(np.argmax(scores))
    if scores[best] < scores[0] + _LEAST_GAIN:
        best = 0
    error = min(float(np.mean(errors)), _MOST_ERROR) if errors else USUAL_ERROR
    return ImageWeight(tried[best].weight, tried[best].is_blurred, error, len(chosen))


def _in_plane(spacing: tuple[float, float, float]) -> PixelSpacing:
    return spacing[1], spacing[2]
