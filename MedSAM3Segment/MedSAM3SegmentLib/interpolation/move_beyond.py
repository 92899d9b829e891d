"""What a tracker sees beyond the drawn slices, with its edge moved by the image.

A tracker's mask is coarse (SAM 2's has a quarter of its input's resolution) and creeps into what touches the object.
The nearest drawn slice tells what the intensities are like inside and outside of it. How much that counts is found out
between the drawn slices, where the shapes tell nearly where the edge is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise, takewhile

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask

from .intensities import LocalIntensities
from .shapes import interpolate_shapes
from .signed_distance import PixelSpacing, edge_error_mm, probability_of, signed_distance

#: How much of the intensities along the whole edge counts where none are near.
_FAR = 1e-3

#: Weights that are tried, in millimeters of the tracker's own error at the edge for each unit of the logarithm of
#: likelihoods.
_WEIGHTS = (0.5, 1.0, 2.0)

#: What the intensities say must raise the Dice coefficient between the drawn slices by this to count.
_LEAST_GAIN = 0.003

#: Slices that this is found out on at most, spread evenly.
_MOST_TRIED = 12

#: Of what is looked at beside the object, pixels.
_MARGIN = 8

#: A slice on which less than this part of what the tracker saw is left shows something else, if so many in a row up to
#: where it was followed do.
_MOST_UNLIKE, _FEWEST_UNLIKE = 0.5, 2


@dataclass(frozen=True, eq=False)
class MovedSlice:
    """A slice beyond the drawn ones.

    Attributes:
        soft: probability that a pixel belongs to the object, at the volume's resolution.
        kept: area that is left, as a part of what the tracker saw.
    """

    soft: SoftMask
    kept: float


def move_beyond(
    tracked: Mapping[int, BoolMask],
    drawn: Mapping[int, BoolMask],
    image_of: Callable[[int], FloatMap],
    spacing: tuple[float, float, float],
    check: Callable[[], None] = lambda: None,
) -> dict[int, MovedSlice]:
    """The slices beyond the drawn ones with their edge where the image has it; none where that does no better.

    Args:
        tracked: what a tracker that was shown the drawn slices sees, bool ``[row, column]`` by slice.
        drawn: bool ``[row, column]`` by slice.
        image_of: gives the intensities ``[row, column]`` of a slice.
        spacing: millimeters between slices, rows and columns.
        check: called between two slices; raises to cancel.
    """
    shown = sorted(index for index, mask in drawn.items() if mask.any())
    beyond = [i for i, mask in tracked.items() if mask.any() and drawn and not min(drawn) <= i <= max(drawn)]
    known = _nearly_known(tracked, drawn)
    if not beyond or not known:
        return {}
    pixel = (spacing[1], spacing[2])
    needed = sorted({*shown, *beyond, *known})
    masks = {**tracked, **{index: drawn[index] for index in shown}}
    window = _window(np.logical_or.reduce([masks[index] for index in needed]))
    cut = {index: masks[index][window] for index in needed}
    image = {index: np.asarray(image_of(index)[window], np.float32) for index in needed}
    intensities = LocalIntensities(image, {index: cut[index] for index in shown}, pixel, _FAR)

    def said_of(index: int) -> FloatMap:
        nearest = min(shown, key=lambda one: abs(one - index))
        return intensities.log_likelihood_ratio(index, nearest, nearest)[0]

    shapes = interpolate_shapes({index: mask[window] for index, mask in drawn.items()}, pixel)
    error, weight = _weigh({index: cut[index] for index in known}, shapes, said_of, pixel, check)
    if weight == 0.0:
        return {}
    moved = {}
    for index in beyond:
        check()
        distance = signed_distance(cut[index], pixel) + weight * said_of(index)
        whole = np.zeros(masks[index].shape, np.float32)
        whole[window] = probability_of(distance, error)
        moved[index] = MovedSlice(SoftMask.of(whole), np.count_nonzero(distance > 0) / np.count_nonzero(cut[index]))
    return moved


def ended_beyond(moved: Mapping[int, MovedSlice], drawn: Collection[int]) -> dict[bool, int]:
    """The first slice on which the image no longer shows the object, upwards (True) and downwards.

    What the tracker saw from there on is mostly unlike what was drawn. A single such slice may be the object's tip.
    """
    ends = {}
    for forward in (True, False):
        way = sorted((i for i in moved if (i > max(drawn) if forward else i < min(drawn))), reverse=forward)
        unlike = list(takewhile(lambda index: moved[index].kept < _MOST_UNLIKE, way))
        if len(unlike) >= _FEWEST_UNLIKE:
            ends[forward] = unlike[-1]
    return ends


def _nearly_known(tracked: Mapping[int, BoolMask], drawn: Mapping[int, BoolMask]) -> list[int]:
    """The slices next to drawn ones that the tracker sees the object on, of which shapes say nearly where it is."""
    known = set[int]()
    for before, after in pairwise(sorted(drawn)):
        if after - before > 1 and drawn[before].any() and drawn[after].any():
            known |= {index for index in (before + 1, after - 1) if index in tracked and tracked[index].any()}
    ordered = sorted(known)
    chosen = np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_TRIED)).round().astype(int)
    return [ordered[n] for n in sorted(set(chosen.tolist()))]


def _weigh(
    tracked: Mapping[int, BoolMask],
    shapes: Mapping[int, FloatMap],
    said_of: Callable[[int], FloatMap],
    pixel: PixelSpacing,
    check: Callable[[], None],
) -> tuple[float, float]:
    """The tracker's error at the edge, and how far a pixel moves it, in millimeters; 0 where that does no better."""
    distances = {index: signed_distance(mask, pixel) for index, mask in tracked.items()}
    errors = [error for i, d in distances.items() if (error := edge_error_mm(d, shapes[i], pixel)) is not None]
    if not errors:
        return 0.0, 0.0
    usual = max(float(np.median(errors)), 0.5 * min(pixel))
    tried = [0.0, *(usual * weight for weight in _WEIGHTS)]
    hits, totals = np.zeros(len(tried)), np.zeros(len(tried))
    for index, distance in distances.items():
        check()
        truth, said = shapes[index] > 0, said_of(index)
        for number, weight in enumerate(tried):
            found = distance + weight * said > 0
            hits[number] += 2 * np.count_nonzero(found & truth)
            totals[number] += np.count_nonzero(found) + np.count_nonzero(truth)
    scores = hits / np.maximum(totals, 1)
    best = int(np.argmax(scores))
    return usual, tried[best] if scores[best] >= scores[0] + _LEAST_GAIN else 0.0


def _window(mask: BoolMask) -> tuple[slice, slice]:
    parts = []
    for axis in (0, 1):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        parts.append(slice(max(int(there[0]) - _MARGIN, 0), min(int(there[-1]) + _MARGIN + 1, mask.shape[axis])))
    return parts[0], parts[1]
