"""Where to look and where to segment at all: slices, a box, another structure ("tumor inside liver"), templates' word.

Slices outside are not looked at, and voxels outside are cut before objects are linked, whatever the model says of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.place import Place
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS

from .array_types import BoolMask
from .errors import InputError
from .request import SegmentRequest

#: A voxel center this far (in voxels) outside of a box still counts as on its side.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class SearchRegion:
    """The voxels that may be segmented, and the slices they are on.

    Attributes:
        stack: the volume as it is cut.
        slices: that are looked at, rising.
        box: index ranges of a ``[k, j, i]`` array; what is outside is cut.
        inside: bool ``[k, j, i]``, or None where the box alone decides.
        container: the concept whose mask ``inside`` is, which it does not cut; empty where that is none.
        is_picture: whether the volume is a picture or a film, whose sides are no patient's and whose frames are time.
        places: where templates say that concepts lie; ``for_concept`` cuts to them.
    """

    stack: SliceStack
    slices: tuple[int, ...]
    box: tuple[slice, slice, slice]
    inside: BoolMask | None = None
    container: str = ""
    is_picture: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)

    @classmethod
    def of(cls, request: SegmentRequest, stack: SliceStack, is_picture: bool = False) -> SearchRegion:
        """What ``request`` lets through, in its own plane; the words of its ``inside`` cut nothing yet.

        Raises:
            InputError: the range, the region or the mask does not fit the volume, or they leave no slice.
        """
        grid = stack.grid
        asked = request.slice_range(stack)
        box = [slice(0, n) for n in grid.shape]
        box[stack.array_axes[0]] = slice(asked.start, asked.stop)
        if request.region is not None:
            box = [_both(one, other) for one, other in zip(box, box_of(request.region, grid), strict=True)]
        if min(part.stop - part.start for part in box) <= 0:
            raise InputError("No slice of the range lies in the region; choose another range or region.")
        inside = None if request.inside is None or isinstance(request.inside, str) else _checked(request.inside, grid)
        search_region = cls._with(stack, (box[0], box[1], box[2]), inside, is_picture=is_picture)
        if not search_region.slices:
            raise InputError("The segment to look inside of has no voxel in the range and region; choose another one.")
        return replace(search_region, places=request.places)

    def along(self, stack: SliceStack) -> SearchRegion:
        """The same voxels for the slices of another plane."""
        cut = self._with(stack, self.box, self.inside, self.container, self.is_picture)
        return replace(cut, places=self.places)

    def restricted_to(self, container: str, mask: BoolMask) -> SearchRegion:
        """What of this also lies in ``mask`` ``[k, j, i]`` of the concept ``container``; it may have no slice."""
        allowed = mask if self.inside is None else mask & self.inside
        cut = self._with(self.stack, self.box, allowed, container, self.is_picture)
        return replace(cut, places=self.places)

    def for_concept(self, concept: str) -> SearchRegion:
        """What holds for one concept: where templates say that it lies.

        That which the others must lie in is not cut by its own mask. There is no slice where a concept is not
        searched at all, or where its place and the region share nothing.
        """
        is_container = bool(self.container) and concept == self.container
        inside, container = (None, "") if is_container else (self.inside, self.container)
        place = self.places.get(concept)
        if place is None and not is_container:
            return self
        box = self.box
        if place is not None and place.box is not None:
            parts = [_both(one, slice(*other)) for one, other in zip(box, place.box, strict=True)]
            box = (parts[0], parts[1], parts[2])
        if place is not None and (not place.is_searched or any(part.start >= part.stop for part in box)):
            none = slice(box[0].start, box[0].start)
            return SearchRegion(self.stack, (), (none, none, none), inside, container, self.is_picture)
        return self._with(self.stack, box, inside, container, self.is_picture)

    @classmethod
    def _with(
        cls,
        stack: SliceStack,
        box: tuple[slice, slice, slice],
        inside: BoolMask | None,
        container: str = "",
        is_picture: bool = False,
    ) -> SearchRegion:
        along = box[stack.array_axes[0]]
        slices = range(along.start, along.stop)
        if inside is None:
            return cls(stack, tuple(slices), box, is_picture=is_picture)
        others = (stack.array_axes[1], stack.array_axes[2])
        with_voxels = np.asarray(inside[box].any(axis=others))
        return cls(
            stack, tuple(slices[int(n)] for n in np.flatnonzero(with_voxels)), box, inside, container, is_picture
        )

    def clip(self, slice_index: int, mask: BoolMask) -> BoolMask:
        """``mask`` ``[row, column]`` of one slice without what is outside."""
        rows, columns = (_flipped(self.box[axis], flip, n) for axis, flip, n in self._in_plane())
        kept = np.zeros_like(mask)
        kept[rows, columns] = mask[rows, columns]
        if self.inside is not None:
            kept &= self.stack.extract(self.inside)[slice_index]
        return kept

    @property
    def is_unrestricted(self) -> bool:
        """Whether no voxel of the slices that are looked at is cut."""
        whole = all((self.box[axis].start, self.box[axis].stop) == (0, n) for axis, _, n in self._in_plane())
        return whole and self.inside is None

    def _in_plane(self) -> Collection[tuple[int, bool, int]]:
        """Array axis, whether it is flipped, and length of rows and columns."""
        axes, flips = self.stack.array_axes[1:], self.stack.flips[1:]
        return [(axis, flip, self.stack.grid.shape[axis]) for axis, flip in zip(axes, flips, strict=True)]


def regions_of_concepts(
    search_region: SearchRegion, concepts: Collection[str]
) -> list[tuple[tuple[str, ...], SearchRegion]]:
    """The concepts that are searched in the same region together, and that region."""
    groups: dict[object, tuple[list[str], SearchRegion]] = {}
    for concept in concepts:
        own = search_region.for_concept(concept)
        key = (own.slices, *((part.start, part.stop) for part in own.box))
        groups.setdefault(key, ([], own))[0].append(concept)
    return [(tuple(names), own) for names, own in groups.values()]


def box_of(region: BoxPromptRAS, grid: VoxelGrid) -> tuple[slice, slice, slice]:
    """The voxels of ``grid``, as ranges of a ``[k, j, i]`` array, whose centers lie in ``region``.

    A region thinner than a voxel has the voxels it lies in.

    Raises:
        InputError: it is outside of the volume.
    """
    corners = grid.to_ijk(np.asarray(region.corners, float))
    ranges = []
    for axis, count in zip((2, 1, 0), grid.shape, strict=True):
        low, high = float(corners[:, axis].min()), float(corners[:, axis].max())
        first, last = int(np.ceil(low - _ROUNDING)), int(np.floor(high + _ROUNDING))
        if first > last:
            first = last = round((low + high) / 2)
        if last < 0 or first >= count:
            raise InputError("The region lies outside of the volume; move it onto the volume.")
        ranges.append(slice(max(first, 0), min(last + 1, count)))
    return ranges[0], ranges[1], ranges[2]


def _checked(inside: BoolMask, grid: VoxelGrid) -> BoolMask:
    if inside.shape != grid.shape:
        raise InputError(
            "The segment to look inside of has {size} voxels, the volume {volume_size}; resample it to the volume.",
            size=str(inside.shape[::-1]),
            volume_size=str(grid.shape[::-1]),
        )
    if not inside.any():
        raise InputError("The segment to look inside of is empty; choose another one.")
    return inside.astype(bool, copy=False)


def _both(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _flipped(part: slice, flip: bool, count: int) -> slice:
    return slice(count - part.stop, count - part.start) if flip else part
