"""The filters of Slicer's Segment Editor on masks, voxel for voxel where that is said; no Slicer and no VTK needed.

Margin, Islands, Logical operators, Hollow, and Smoothing by median, opening and closing give the same voxels as
Slicer 5.12's effects (measured on random grids against vtkITK and VTK). Gaussian does so too: the passes of
vtkImageGaussianSmooth are done one after the other with its truncation to bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError

from .commands import ShellMode, SmoothingMethod

#: vtkImageGaussianSmooth looks this many standard deviations far; Slicer leaves it at 4.
RADIUS_FACTOR = 4.0

#: So many voxels are worked on at once where that needs much memory.
_VOXELS_AT_ONCE = 2**23

#: Spacing along ``(k, j, i)`` in millimeters.
Spacing = tuple[float, float, float]


def grow(mask: BoolMask, spacing: Spacing, mm: float) -> BoolMask:
    """Slicer's Margin outward: voxels whose center is within ``mm`` of the center of one of the mask's."""
    if not mask.any():
        return mask.copy()
    return _within(mask, spacing, mm)


def shrink(mask: BoolMask, spacing: Spacing, mm: float) -> BoolMask:
    """Slicer's Margin inward; the edge of the image is no surface."""
    if mask.all():
        return mask.copy()
    return mask & ~_within(~mask, spacing, mm)


def label_objects(mask: BoolMask) -> tuple[NDArray[np.int32], int]:
    """Objects connected by faces, numbered from 1, largest first; of equals the one that is met first."""
    labels, count = ndimage.label(mask)
    if not count:
        return labels.astype(np.int32), 0
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    ranks = np.zeros(count + 1, np.int32)
    ranks[order + 1] = np.arange(1, count + 1)
    return ranks[labels], int(count)


def smooth(mask: BoolMask, spacing: Spacing, method: SmoothingMethod, mm: float) -> BoolMask:
    """Slicer's Smoothing; ``mm`` is the kernel size, of Gaussian the standard deviation."""
    if method is SmoothingMethod.GAUSSIAN:
        return _in_slabs(mask, int(mm / spacing[0] * RADIUS_FACTOR), lambda part: _gaussian(part, spacing, mm))
    kernel = tuple(kernel_voxels(mm, along) for along in spacing)
    if method is SmoothingMethod.MEDIAN:
        return _in_slabs(mask, kernel[0] // 2, lambda part: _median(part, kernel))
    ellipsoid = _ellipsoid(kernel)
    if method is SmoothingMethod.OPENING:
        return _in_slabs(mask, kernel[0], lambda part: _dilate(_erode(part, ellipsoid), ellipsoid))
    return _in_slabs(mask, kernel[0], lambda part: _erode(_dilate(part, ellipsoid), ellipsoid))


def hollow(mask: BoolMask, spacing: Spacing, mode: ShellMode, mm: float) -> BoolMask:
    """Slicer's Hollow: a shell of which the segment's surface is the inside, the middle or the outside.

    Distances are from voxel centers, within the mask to its outermost voxels (corners count as neighbors), and the ends
    of the shell are shifted by the same parts of the smallest spacing as in the effect.

    Raises:
        InputError: the shell would be thinner than a voxel, which Slicer refuses too.
    """
    voxel = min(spacing)
    if mm < voxel:
        raise InputError(
            "A shell of {mm:g} mm is thinner than a voxel; give {voxel:.2f} mm at least.", mm=mm, voxel=voxel
        )
    inner, outer = {
        ShellMode.INSIDE: (0.1 * voxel, mm + 0.1 * voxel),
        ShellMode.MEDIAL: (-0.5 * mm + 0.5 * voxel, 0.5 * mm),
        ShellMode.OUTSIDE: (-mm + voxel, 0.0),
    }[mode]

    def shell(part: BoolMask) -> BoolMask:
        signed = _signed_squared_distance(part, spacing)
        return np.asarray((signed >= inner * abs(inner)) & (signed <= outer * abs(outer)))

    return _in_slabs(mask, int((mm + voxel) / spacing[0]) + 3, shell)


def fill_holes(mask: BoolMask, slice_axis: int | None) -> BoolMask:
    """What is enclosed by faces, in three dimensions, or on each slice along an array axis."""
    neighbors = ndimage.generate_binary_structure(3, 1)
    axes = [axis for axis in range(3) if axis != slice_axis]
    if slice_axis is not None:
        neighbors[tuple(1 if axis != slice_axis else slice(None, None, 2) for axis in range(3))] = False
    # Not binary_fill_holes, which creeps in from the edge voxel by voxel.
    labels, count = ndimage.label(~mask, neighbors)
    is_open = np.zeros(count + 1, bool)
    for axis in axes:
        for end in (0, -1):
            is_open[labels.take(end, axis)] = True
    is_open[0] = True
    return np.asarray(mask | ~is_open[labels])


def kernel_voxels(mm: float, spacing: float) -> int:
    """Slicer's odd kernel size in voxels for one in millimeters."""
    return max(int(round((mm / spacing + 1) / 2) * 2 - 1), 1)


def _within(mask: BoolMask, spacing: Spacing, mm: float) -> BoolMask:
    """Which voxels are within ``mm`` of one of the mask's."""

    def near(part: BoolMask) -> BoolMask:
        if not part.any():
            return np.zeros_like(part)
        return np.asarray(_squared_distance(~part, spacing) <= mm * mm)

    return _in_slabs(mask, int(mm / spacing[0]) + 2, near)


def _in_slabs(mask: BoolMask, reach: int, work: Callable[[BoolMask], BoolMask]) -> BoolMask:
    """``work`` done slab by slab: it needs up to fifty bytes a voxel, which of a whole fine CT would be gigabytes.

    Args:
        reach: slices on either side that decide about a voxel.
    """
    slab = max(_VOXELS_AT_ONCE // max(1, mask[0].size), reach, 1)
    if len(mask) <= slab:
        return work(mask)
    done = np.empty_like(mask)
    for first in range(0, len(mask), slab):
        start = max(0, first - reach)
        done[first : first + slab] = work(mask[start : first + slab + reach])[first - start :][:slab]
    return done


def _squared_distance(mask: BoolMask, spacing: Spacing) -> NDArray[np.float64]:
    return np.asarray(np.square(ndimage.distance_transform_edt(mask, sampling=spacing)))


def _signed_squared_distance(mask: BoolMask, spacing: Spacing) -> NDArray[np.float64]:
    """As ITK's signed Maurer map: outside to the mask, inside, below 0, to its border voxels; none where all is one."""
    if not mask.any() or mask.all():
        return np.full(mask.shape, -np.inf if mask.any() else np.inf)
    border = mask & ~ndimage.binary_erosion(mask, np.ones((3, 3, 3)), border_value=1)
    outside = _squared_distance(~mask, spacing)
    return np.where(mask, -_squared_distance(~border, spacing), outside)


def _ellipsoid(kernel: tuple[int, ...]) -> BoolMask:
    """As vtkImageEllipsoidSource draws it: half axes of half the kernel, border included."""
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2) for n in kernel], indexing="ij")
    return np.asarray(sum(np.square(axis) for axis in axes) <= 1.0)


def _dilate(mask: BoolMask, structure: BoolMask) -> BoolMask:
    return np.asarray(ndimage.binary_dilation(mask, structure))


def _erode(mask: BoolMask, structure: BoolMask) -> BoolMask:
    return np.asarray(ndimage.binary_erosion(mask, structure, border_value=1))


def _median(mask: BoolMask, kernel: tuple[int, ...]) -> BoolMask:
    """The median over the part of the kernel that lies in the image, as vtkImageMedian3D takes it."""
    inside = _box_count(np.ones_like(mask), kernel)
    ones = _box_count(mask, kernel)
    return np.asarray(2 * ones > inside)


def _box_count(mask: BoolMask, kernel: tuple[int, ...]) -> NDArray[np.int64]:
    """How many voxels of a box around each are set, those outside of the image not counted."""
    total = mask.astype(np.int64)
    for axis, size in enumerate(kernel):
        padding = [(0, 0)] * mask.ndim
        padding[axis] = (size // 2 + 1, size // 2)
        sums = np.cumsum(np.pad(total, padding), axis=axis)
        length = mask.shape[axis]
        upper = np.take(sums, range(size, size + length), axis=axis)
        total = upper - np.take(sums, range(length), axis=axis)
    return total


def _gaussian(mask: BoolMask, spacing: Spacing, mm: float) -> BoolMask:
    values = mask.astype(np.uint8) * 255
    for axis in range(3):
        values = _gaussian_pass(values, axis, mm / spacing[axis])
    return np.asarray(values >= 127)


def _gaussian_pass(values: NDArray[np.uint8], axis: int, deviation: float) -> NDArray[np.uint8]:
    """One axis: the kernel is cut at the image's edge and made to sum to one there, the result truncated."""
    radius = int(deviation * RADIUS_FACTOR)
    if radius == 0:
        return values
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-np.square(offsets) / (2.0 * deviation * deviation))
    moved = np.moveaxis(values, axis, 0).astype(float)
    length = len(moved)
    places = np.arange(length)[:, None] + offsets
    used = np.where((places >= 0) & (places < length), weights, 0.0)
    used /= np.cumsum(used, axis=1)[:, -1:]
    total = np.zeros_like(moved)
    # One after the other, as VTK adds them: another order rounds differently and truncates to another byte.
    for number in range(len(offsets)):
        share = used[:, number].reshape(-1, *[1] * (moved.ndim - 1))
        total += share * moved[np.clip(places[:, number], 0, length - 1)]
    return np.moveaxis(total.astype(np.uint8), 0, axis)
