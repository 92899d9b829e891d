"""Where a structure ends in the image itself, once templates have said about where it lies.

A voxel belongs to it by what is more likely: the brightness of the structure or that of what is around it, and how
deep it lies in the place that the templates give. That is what the ends of the search range rest on; it is no
segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask

from .coarse_volume import Field

#: How far beyond its place a structure may reach, in millimeters.
REACH_MM = 15.0

#: How far around its place the brightness of others is learnt, in millimeters.
SURROUNDINGS_MM = 25.0

#: Depth in its place that counts as much as a brightness which is e times as likely.
_DEPTH_MM = 6.0

#: How deep the brightness of the structure itself is learnt.
_INNER_MM = 4.0

#: Least spread of a structure's brightness, and the most that one voxel's brightness may count.
_LEAST_SPREAD, _MOST_EVIDENCE = 0.03, 4.0

#: Steps of brightness.
_STEPS = 40


@dataclass(frozen=True, eq=False)
class Outline:
    """What was found at the place of a structure.

    Attributes:
        mask: bool, as the image was given; empty where nothing goes together with its core.
        likeness: share of the inner voxels that are as bright as was expected, 0 to 1.
    """

    mask: BoolMask
    likeness: float


def find_outline(
    image: Field, prior: Field, spacing: NDArray[np.float64], expected: float, tolerance: float
) -> Outline:
    """Where the structure is.

    Args:
        image: brightness 0 to 1, three axes, around its place.
        prior: how likely it is there by the templates alone, 0 to 1; it is above 0.5 somewhere.
        spacing: of the three axes in millimeters.
        expected: brightness of the structure by the templates.
        tolerance: how far structures of different patients differ in it.
    """
    from scipy import ndimage

    core = prior > 0.5
    depth = ndimage.distance_transform_edt(~core, sampling=spacing)
    depth -= ndimage.distance_transform_edt(core, sampling=spacing)
    inner = depth < -_INNER_MM
    if inner.sum() < 20:
        inner = core
    values = image[inner]
    level = _level(values, expected, tolerance)
    alike = np.abs(values - level) < 2 * tolerance
    spread = _LEAST_SPREAD
    if alike.any():
        spread = max(spread, 1.48 * float(np.median(np.abs(values[alike] - level))))
    around = image[(depth > 3) & (depth < SURROUNDINGS_MM)]
    evidence = np.clip(_evidence(image, level, spread, around), -_MOST_EVIDENCE, _MOST_EVIDENCE)
    blur = [min(1.0, 3.5 / s) if s > 3.5 else 1.0 for s in spacing]
    believed = (ndimage.gaussian_filter(evidence, [b * 0.7 if b < 1 else b for b in blur]) > depth / _DEPTH_MM) & (
        depth < REACH_MM
    )
    labels, count = ndimage.label(believed)
    in_core = np.bincount(labels[core], minlength=count + 1)
    in_core[0] = 0
    mask = labels == in_core.argmax() if in_core.any() else np.zeros(core.shape, bool)
    return Outline(np.asarray(mask), float(alike.mean()))


def _level(values: Field, expected: float, tolerance: float) -> float:
    """The brightness that most of ``values`` have near to what was expected."""
    level = expected
    for _ in range(10):
        from_level, from_expected = (values - level) / tolerance, (values - expected) / (2.5 * tolerance)
        weight = np.exp(-0.5 * (from_level**2 + from_expected**2))
        if weight.sum() < 1e-6:
            break
        level = float((weight * values).sum() / weight.sum())
    return level


def _evidence(image: Field, level: float, spread: float, around: Field) -> Field:
    """The logarithm of how much likelier each brightness is in the structure than around it."""
    from scipy import ndimage

    counts, _ = np.histogram(np.clip(around, 0, 1), _STEPS, (0, 1))
    share = ndimage.gaussian_filter1d(counts.astype(float), 1) + max(0.01 * counts.sum(), 1) / _STEPS
    density = share / share.sum() * _STEPS
    steps = np.clip((image * _STEPS).astype(int), 0, _STEPS - 1)
    inside = -0.5 * ((image - level) / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi))
    return np.asarray(inside - np.log(density[steps]), np.float32)
