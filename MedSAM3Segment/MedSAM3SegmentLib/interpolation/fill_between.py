"""The slices between drawn ones: shape first, and the image and the model where they are surer than shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.results.tracks import SliceSource

from .intensities import LocalIntensities
from .shapes import interpolate_shapes
from .signed_distance import PixelSpacing, edge_error_mm, probability_of, signed_distance
from .weigh_evidence import ImageWeight, moved_by_image, weigh_image

#: What is farther from everything that was drawn than this is not looked at, millimeters and pixels.
_MARGIN_MM, _MARGIN_PIXELS = 25.0, 4

#: An edge is known no better than this, in pixels.
_LEAST_ERROR_PIXELS = 0.5


@dataclass(frozen=True, eq=False)
class FilledSlice:
    """A slice between two drawn ones.

    Attributes:
        soft: probability that a pixel belongs to the object, at the volume's resolution.
        source: whether it rests on the drawn shapes alone or was moved.
        doubt: how many pixels are expected to be wrong.
    """

    soft: SoftMask
    source: SliceSource
    doubt: float


@dataclass(frozen=True, eq=False)
class ModelMasks:
    """What a tracker or a detector sees of the object on some slices.

    Attributes:
        masks: bool ``[row, column]`` by slice.
        saw_drawn: whether drawn slices were shown to it, so that what it says of them proves nothing.
    """

    masks: Mapping[int, BoolMask]
    saw_drawn: bool


@dataclass(frozen=True, eq=False)
class ShapeFilling:
    """Slices between drawn ones as shapes and intensities have them, to be joined with what models see.

    Attributes:
        shapes, moved: signed distances of the edge by slice, by the drawn shapes and as intensities moved it.
        apart: millimeters to the nearest drawn slice.
        weight: how much intensities count, and how much shapes err.
        drawn: bool ``[row, column]`` by slice, cut to ``window`` of slices of ``size``.
        spacing: millimeters between slices, rows and columns.
    """

    shapes: Mapping[int, FloatMap]
    moved: Mapping[int, FloatMap]
    apart: Mapping[int, float]
    weight: ImageWeight
    drawn: Mapping[int, BoolMask]
    window: tuple[slice, slice]
    size: tuple[int, ...]
    spacing: tuple[float, float, float]

    def joined_with(self, models: Sequence[ModelMasks]) -> dict[int, FilledSlice]:
        """The slices, moved by the models where those are surer."""
        pixel = (self.spacing[1], self.spacing[2])
        joined = _moved_by_models(self, models, pixel)
        return {
            index: _filled(
                self.shapes[index],
                joined[index],
                _error(self.weight, self.apart[index], pixel),
                self.window,
                self.size,
            )
            for index in sorted(joined)
        }


def fill_between(
    drawn: Mapping[int, BoolMask],
    image_of: Callable[[int], FloatMap],
    spacing: tuple[float, float, float],
    models: Sequence[ModelMasks] = (),
    check: Callable[[], None] = lambda: None,
) -> dict[int, FilledSlice]:
    """Fill the slices between drawn ones.

    Where an edge lies is told by the drawn shapes, with an error that grows with the distance to the nearest drawn
    slice; intensities move it as far as does best on held-out drawn slices; a model moves it on slices where its own
    error, measured where the truth is known or nearly so, is less than that of the shapes.

    Args:
        drawn: bool ``[row, column]`` by slice; all other slices between the first and the last come back.
        image_of: gives the intensities ``[row, column]`` of a slice.
        spacing: millimeters between slices, rows and columns.
        models: what a tracker and a detector see, or nothing.
        check: called between two steps; raises to cancel.
    """
    filling = fill_by_shape(drawn, image_of, spacing, check)
    return {} if filling is None else filling.joined_with(models)


def fill_by_shape(
    drawn: Mapping[int, BoolMask],
    image_of: Callable[[int], FloatMap],
    spacing: tuple[float, float, float],
    check: Callable[[], None] = lambda: None,
) -> ShapeFilling | None:
    """As ``fill_between``, before any model is asked; None where nothing lies between."""
    indices = sorted(drawn)
    shown = [mask for mask in drawn.values() if mask.any()]
    gaps = [(before, after) for before, after in pairwise(indices) if after - before > 1]
    if not gaps or not shown:
        return None
    pixel = (spacing[1], spacing[2])
    window = _window_around(np.logical_or.reduce(shown), pixel)
    cut = {index: mask[window] for index, mask in drawn.items()}
    needed = {index for before, after in gaps for index in range(before, after + 1)} | set(indices)
    image = {index: np.asarray(image_of(index)[window], np.float32) for index in sorted(needed)}
    intensities = LocalIntensities(image, cut, pixel)
    weight = weigh_image(cut, intensities, spacing, check)
    shapes = interpolate_shapes(cut, pixel)
    moved, apart = {}, {}
    for before, after in gaps:
        for index in range(before + 1, after):
            check()
            apart[index] = min(index - before, after - index) * spacing[0]
            said = intensities.log_likelihood_ratio(index, before, after)
            moved[index] = moved_by_image(shapes[index], said, weight, apart[index])
    size = next(iter(drawn.values())).shape
    return ShapeFilling(shapes, moved, apart, weight, cut, window, size, spacing)


def _moved_by_models(filling: ShapeFilling, models: Sequence[ModelMasks], pixel: PixelSpacing) -> dict[int, FloatMap]:
    """Distances joined with those of each model where that is surer, each by the inverse square of its error."""
    distances, drawn, apart = filling.moved, filling.drawn, filling.apart
    joined = dict(distances)
    for model in models:
        seen = {
            index: signed_distance(mask[filling.window], pixel)
            for index, mask in model.masks.items()
            if (index in distances or index in drawn) and mask[filling.window].any()
        }
        if model.saw_drawn:
            truths = {index: distances[index] for index in distances if apart[index] <= 1.5 * filling.spacing[0]}
        else:
            truths = {index: signed_distance(mask, pixel) for index, mask in drawn.items() if mask.any()}
        errors = [
            # One that was shown drawn slices is as near to the truth there, and errs the more the farther it is, as
            # shapes do.
            error / apart[index] if model.saw_drawn else error
            for index in sorted(truths.keys() & seen.keys())
            if (error := edge_error_mm(seen[index], truths[index], pixel)) is not None
        ]
        # One that misses the object where it certainly is, is not to be relied on.
        if not errors or 2 * len(errors) < len(truths):
            continue
        usual = float(np.median(errors))
        for index in distances.keys() & seen.keys():
            own = max(usual * (apart[index] if model.saw_drawn else 1), _LEAST_ERROR_PIXELS * min(pixel))
            others = _error(filling.weight, apart[index], pixel)
            if own < others:
                share = own**-2 / (own**-2 + others**-2)
                joined[index] = np.asarray((1 - share) * joined[index] + share * seen[index], np.float32)
    return joined


def _error(weight: ImageWeight, apart_mm: float, pixel: PixelSpacing) -> float:
    """Of an interpolated edge, millimeters."""
    return max(weight.error * apart_mm, _LEAST_ERROR_PIXELS * min(pixel))


def _filled(
    shape: FloatMap, joined: FloatMap, error: float, window: tuple[slice, slice], size: tuple[int, ...]
) -> FilledSlice:
    from scipy.special import expit

    probability = np.asarray(expit(joined / error), np.float32)
    doubt = float(np.minimum(probability, 1 - probability).sum())
    whole = np.zeros(size, np.float32)
    whole[window] = probability_of(joined, error)
    is_moved = not np.array_equal(shape > 0, joined > 0)
    return FilledSlice(SoftMask.of(whole), SliceSource.MOVED if is_moved else SliceSource.INTERPOLATED, doubt)


def _window_around(mask: BoolMask, spacing: PixelSpacing) -> tuple[slice, slice]:
    """The rows and columns of ``mask`` with what is near it."""
    windows = []
    for axis, step in enumerate(spacing):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        margin = int(np.ceil(_MARGIN_MM / step)) + _MARGIN_PIXELS
        windows.append(slice(max(int(there[0]) - margin, 0), min(int(there[-1]) + margin + 1, mask.shape[axis])))
    return windows[0], windows[1]
