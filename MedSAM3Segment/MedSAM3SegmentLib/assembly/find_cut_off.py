"""Finds objects that are cut off: those with a voxel on the last layer of what was looked at, and where that is.

A voxel there means that the object goes on beyond, or that nobody can tell. Nothing is said along an axis with one
voxel, and along the frames of a film, which are not a part of anything. A container cuts whatever lies across its
border, and much that lies along it; there only what the model saw beyond counts, if it is more than a rim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.results.cut_off import CutOff, Limit, Side
from MedSAM3SegmentLib.search_region import SearchRegion

# By patient axis (R, A, S): the side against it and along it.
_PATIENT_SIDES = (
    (Side.LEFT, Side.RIGHT),
    (Side.POSTERIOR, Side.ANTERIOR),
    (Side.INFERIOR, Side.SUPERIOR),
)

# By array axis of a picture's [k, j, i]; frames have no sides.
_PICTURE_SIDES = (None, (Side.PICTURE_TOP, Side.PICTURE_BOTTOM), (Side.PICTURE_LEFT, Side.PICTURE_RIGHT))

#: An object that the model saw beyond its container by this part of its own size goes on there. Less is the rim by
#: which two outlines of one border differ: a voxel around a ball of 30 voxels across is a fifth of it.
LEAST_PART_BEYOND = 0.2


def find_cut_off(
    instance_map: NDArray[np.uint16],
    stack: SliceStack,
    search_region: SearchRegion | None,
    seen: Callable[[int], BoolMask] | None = None,
) -> dict[int, tuple[CutOff, ...]]:
    """Where each object is cut off; objects that are not are left out.

    Args:
        instance_map: the objects by label, uint16 ``[k, j, i]``.
        stack: how the volume was cut.
        search_region: what was looked at; None for all of the volume.
        seen: what the model saw on a slice, ``[row, column]``, before a container cut it.
    """
    found: dict[int, list[CutOff]] = {}
    for part, labels in _at_faces(instance_map, stack, search_region):
        for label in labels:
            found.setdefault(label, []).append(part)
    if search_region is not None and search_region.inside is not None and seen is not None:
        for part, label in _at_container(instance_map, stack, search_region, search_region.inside, seen):
            found.setdefault(label, []).append(part)
    return {label: tuple(dict.fromkeys(parts)) for label, parts in found.items()}


def _at_faces(
    instance_map: NDArray[np.uint16], stack: SliceStack, search_region: SearchRegion | None
) -> Iterator[tuple[CutOff, list[int]]]:
    """The faces of the box that was looked in, and the objects that touch them."""
    shape = instance_map.shape
    box = tuple(slice(0, count) for count in shape) if search_region is None else search_region.box
    is_picture = search_region is not None and search_region.is_picture
    for axis in range(3):
        sides = _sides(stack, axis, is_picture)
        if sides is None or shape[axis] == 1:
            continue
        along = axis == stack.array_axes[0]
        for index, side in zip((box[axis].start, box[axis].stop - 1), sides, strict=True):
            limit = Limit.SLICES if along else Limit.REGION
            if index in (0, shape[axis] - 1) and (index == 0) == (side is sides[0]):
                limit = Limit.VOLUME
            labels = np.unique(instance_map.take(index, axis=axis))
            yield CutOff(limit, side, index if along else None), [int(label) for label in labels if label]


def _at_container(
    instance_map: NDArray[np.uint16],
    stack: SliceStack,
    search_region: SearchRegion,
    inside: BoolMask,
    seen: Callable[[int], BoolMask],
) -> Iterator[tuple[CutOff, int]]:
    """The objects that go on beyond the structure that they had to lie in, or may on slices it is not on."""
    from scipy import ndimage

    slices, looked_at = stack.extract(instance_map), set(search_region.slices)
    filled = [int(index) for index in np.flatnonzero(slices.any(axis=(1, 2)))]
    box = search_region.box[stack.array_axes[0]]
    sizes: dict[int, int] = {}
    beyond: dict[int, int] = {}
    sides = _sides(stack, stack.array_axes[0], search_region.is_picture)
    extents: dict[int, list[int]] = {}
    for index in filled:
        here = np.bincount(slices[index].ravel())
        for label in np.flatnonzero(here)[np.flatnonzero(here) > 0].tolist():
            sizes[label] = sizes.get(label, 0) + int(here[label])
            extents.setdefault(label, []).append(index)
        if index not in looked_at:
            continue
        regions, _ = ndimage.label(seen(index), structure=np.ones((3, 3)))
        outside = (regions > 0) & ~stack.extract(inside)[index]
        for region in np.unique(regions[outside]).tolist():
            # What lies in the region most of all is what goes on.
            labels = slices[index][(regions == region) & (slices[index] > 0)]
            if labels.size:
                label = int(np.bincount(labels).argmax())
                lost = int(np.count_nonzero(outside & (regions == region)))
                beyond[label] = beyond.get(label, 0) + lost
    for label, lost in beyond.items():
        if lost >= LEAST_PART_BEYOND * sizes[label]:
            yield CutOff(Limit.CONTAINER), label
    for label, indices in extents.items():
        for index, step, end in ((indices[0], -1, box.start), (indices[-1], 1, box.stop - 1)):
            if sides is not None and index != end and index in looked_at and index + step not in looked_at:
                yield CutOff(Limit.CONTAINER, sides[step > 0], index), label


def _sides(stack: SliceStack, axis: int, is_picture: bool) -> tuple[Side, Side] | None:
    """What lies at the first and at the last voxel of an array axis; None where nothing does."""
    if is_picture:
        return _PICTURE_SIDES[axis]
    patient_axis = stack.grid.patient_axes[2 - axis]
    low, high = _PATIENT_SIDES[patient_axis]
    return (low, high) if stack.grid.directions[patient_axis, 2 - axis] > 0 else (high, low)
