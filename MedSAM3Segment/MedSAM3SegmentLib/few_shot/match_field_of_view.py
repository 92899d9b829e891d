"""Examples from other volumes in the field of view of the volume that is segmented.

A network sees each slice as a square of so many pixels, whatever it shows. The tracker finds a structure again where it
lies at about the same place and is about as large, so axial slices of an example are cut and padded to as many
millimeters, with the middle of the body where it is in the volume. No voxel is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.coarse_volume import CoarseVolume
from MedSAM3SegmentLib.localization.locate import are_same_kind
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.volume import Volume

#: Bodies whose widths differ by more are not both whole ones, or not both grown-ups'; their middles say nothing then.
_MOST_WIDER = 1.4


@dataclass(frozen=True)
class _Cut:
    """Voxels that are added (above 0) or cut off (below) before and after each array axis."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return any((*self.before, *self.after))

    def apply(self, array: NDArray, fill: float) -> NDArray:  # type: ignore[type-arg]
        pairs = list(zip(self.before, self.after, strict=True))
        kept = tuple(slice(max(0, -b), n - max(0, -a)) for (b, a), n in zip(pairs, array.shape, strict=True))
        return np.pad(array[kept], [(max(0, b), max(0, a)) for b, a in pairs], constant_values=fill)


def match_fields_of_view(
    examples: Mapping[str, Sequence[Example]], volume: Volume, stack: SliceStack
) -> dict[str, tuple[Example, ...]]:
    """The examples, those in other volumes of the same kind with axial slices as wide and high as those of ``stack``.

    Examples stay as they are where the bodies are not alike in size, or where a part of the structure would be cut off.

    Args:
        examples: by concept.
        stack: how ``volume`` is cut.
    """
    bodies: dict[int, _Body] = {}
    cuts: dict[int, tuple[_Cut, Volume]] = {}

    def body_of(one: Volume) -> _Body:
        if id(one) not in bodies:
            bodies[id(one)] = _Body.of(one)
        return bodies[id(one)]

    def match(example: Example) -> Example:
        other = example.volume
        is_elsewhere = other.content_hash != volume.content_hash and are_same_kind(volume, other)
        if stack.plane is not Plane.AXIAL or not is_elsewhere:
            return example
        if id(other) not in cuts:
            own = SliceStack.along(other.grid, stack.plane)
            cut = _cut_to(own, body_of(other), stack, body_of(volume))
            cuts[id(other)] = cut, _cut_volume(other, cut) if cut.changes else other
        cut, shown = cuts[id(other)]
        mask = cut.apply(example.mask, False)
        if shown is other or mask.sum() < example.mask.sum():
            return example
        return replace(example, volume=shown, mask=mask)

    return {name: tuple(match(example) for example in some) for name, some in examples.items()}


@dataclass(frozen=True, eq=False)
class _Body:
    """Where a body lies, and how large it is.

    Attributes:
        middle: RAS millimeters along x and y; along z that of the volume.
        width: edge of a square as large as an axial slice of it, millimeters. A table beside it hardly counts there.
    """

    middle: NDArray[np.float64]
    width: float

    @classmethod
    def of(cls, volume: Volume) -> _Body:
        coarse = CoarseVolume.of(volume)
        low, high = coarse.sides
        center = volume.grid.to_ras((np.array(volume.grid.shape[::-1]) - 1) / 2)
        areas = np.count_nonzero(coarse.body, axis=(1, 2))
        width = coarse.edge * float(areas[areas > 0].mean()) ** 0.5
        return cls(np.array([*(low + high) / 2, center[2]]), width)


def _cut_to(own: SliceStack, body: _Body, stack: SliceStack, wanted: _Body) -> _Cut:
    """What makes the slices of ``own`` as wide and high as those of ``stack``, with the body at the same place."""
    before, after = [0, 0, 0], [0, 0, 0]
    if max(body.width, wanted.width) <= _MOST_WIDER * min(body.width, wanted.width):
        at, there = own.position_of(body.middle), stack.position_of(wanted.middle)
        for position in (1, 2):
            axis = own.array_axes[position]
            have, size = own.grid.shape[axis], stack.slice_shape[position - 1]
            count = max(1, round(size * stack.spacing[position] / own.spacing[position]))
            start = round(float((there[position] + 0.5) / size * count - 0.5 - at[position]))
            ends = start, count - have - start
            before[axis], after[axis] = ends[::-1] if own.flips[position] else ends
    return _Cut((before[0], before[1], before[2]), (after[0], after[1], after[2]))


def _cut_volume(volume: Volume, cut: _Cut) -> Volume:
    array = cut.apply(volume.array, volume.array.min())
    matrix = volume.grid.ijk_to_ras.copy()
    matrix[:3, 3] = volume.grid.to_ras(-np.array(cut.before[::-1], np.float64))
    return replace(volume, array=array, grid=VoxelGrid(array.shape[:3], matrix))
