"""How a person shows an object to a tracker in training, and corrects what it found."""

from __future__ import annotations

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, PointPrompt


def seed_prompt(
    mask: BoolMask, kinds: tuple[float, float, float], rng: np.random.Generator
) -> MaskPrompt | PointPrompt:
    """How a person or a detection may show an object ``[row, column]``: mask, box or points, none of them perfect.

    Args:
        kinds: how often by mask, by box and by points; adds up to 1.
    """
    kind = rng.choice(3, p=kinds)
    if kind == 0:
        return MaskPrompt(torch.from_numpy(_redrawn(mask, rng)))
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    if kind == 1:
        shake = rng.normal(0, 0.7, 4)
        edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) + shake
        x0, y0, x1, y1 = (edges / [width, height, width, height]).clip(0, 1).tolist()
        return PointPrompt(box=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    count = int(rng.integers(1, 4))
    inner = rng.integers(0, len(rows), count)
    points = [_fraction(rows[i], columns[i], mask.shape) for i in inner]
    labels = [1] * count
    if count > 1 and rng.random() < 0.4:
        outside = np.argwhere(_ring(mask))
        if len(outside):
            row, column = outside[int(rng.integers(len(outside)))]
            points.append(_fraction(row, column, mask.shape))
            labels.append(0)
    return PointPrompt(tuple(points), tuple(labels))


def correcting_click(found: BoolMask, wanted: BoolMask) -> tuple[tuple[float, float], int] | None:
    """The middle of the largest error and whether it belongs to the object; None if there is no error worth a click.

    Args:
        found: ``[row, column]``.
        wanted: of the same shape.
    """
    from scipy import ndimage

    best, click = 1.0, None
    for wrong, label in ((wanted & ~found, 1), (found & ~wanted, 0)):
        depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
        if depth.max() > best:
            best = float(depth.max())
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            click = (_fraction(int(row), int(column), wanted.shape), label)
    return click


def _redrawn(mask: BoolMask, rng: np.random.Generator) -> BoolMask:
    """As it is, or a pixel wider or narrower, as others would draw it."""
    from scipy import ndimage

    choice = rng.random()
    if choice < 0.7:
        return mask
    changed = ndimage.binary_dilation(mask) if choice < 0.85 else ndimage.binary_erosion(mask)
    return np.asarray(changed) if changed.any() else mask


def _ring(mask: BoolMask) -> BoolMask:
    """What lies around a mask, near but not at its edge."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, iterations=12) & ~ndimage.binary_dilation(mask, iterations=4))


def _fraction(row: int, column: int, shape: tuple[int, ...]) -> tuple[float, float]:
    return (float(column) + 0.5) / shape[1], (float(row) + 0.5) / shape[0]
