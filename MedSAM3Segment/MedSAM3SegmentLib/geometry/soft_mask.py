"""Soft masks from the model's resolution to the volume's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.results.slice_detections import SoftMask

#: For linear interpolation along one axis the two places to take from, and the weight of the second.
_Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def resize(probability: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear resize of a map ``[row, column]``; pixel centres are matched as in ``torch`` without align_corners."""
    return _interpolated(probability, _places(probability.shape[0], shape[0]), _places(probability.shape[1], shape[1]))


def resized(soft: SoftMask, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The whole map ``[row, column]`` as ``resize`` gives it, but only computed where it is not zero."""
    whole = np.zeros(shape, np.float32)
    if soft.probability.size == 0:
        return whole
    starts = (soft.top, soft.left)
    windows, places = [], []
    for start, length, source, target in zip(starts, soft.probability.shape, soft.size, shape, strict=True):
        lower, upper, fraction = _places(source, target)
        near = np.flatnonzero((upper >= start) & (lower < start + length))
        if near.size == 0:  # too small for any pixel of the target
            return whole
        window = slice(int(near[0]), int(near[-1]) + 1)
        windows.append(window)
        # One zero before and one after the crop stand for all that is around it.
        lower, upper = (np.clip(part[window] - start + 1, 0, length + 1) for part in (lower, upper))
        places.append((lower, upper, fraction[window]))
    padded = np.pad(soft.probability.astype(np.float32), 1)
    whole[windows[0], windows[1]] = _interpolated(padded, places[0], places[1])
    return whole


def mask_at(soft: SoftMask, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask ``[row, column]`` at the volume's resolution."""
    return np.asarray(resized(soft, shape) > 0.5)


def _interpolated(probability: NDArray[np.float32], rows: _Places, columns: _Places) -> NDArray[np.float32]:
    lower, upper, fraction = rows
    along = probability[lower] * (1 - fraction)[:, None] + probability[upper] * fraction[:, None]
    lower, upper, fraction = columns
    return np.asarray(along[:, lower] * (1 - fraction) + along[:, upper] * fraction)


def _places(source: int, target: int) -> _Places:
    positions = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(positions).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (positions - lower).astype(np.float32)
