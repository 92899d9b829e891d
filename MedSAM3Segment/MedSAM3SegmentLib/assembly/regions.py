"""What assembly works with: regions of single slices, and what of them hangs together through the stack."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.mask_ops import iou_of_areas


@dataclass(frozen=True, eq=False)
class Region:
    """Part of one slice that shows one object.

    Attributes:
        slice_index: along the stack.
        score: how sure it is, 0 to 1.
        top, left: where ``mask`` begins on the slice.
        mask: bool ``[row, column]``, the smallest crop that holds all of it.
        drawn: whether a person drew it.
    """

    slice_index: int
    score: float
    top: int
    left: int
    mask: BoolMask
    drawn: bool = False
    area: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", int(np.count_nonzero(self.mask)))

    @classmethod
    def of(cls, slice_index: int, score: float, mask: BoolMask, drawn: bool = False) -> Region | None:
        """The region that ``mask`` ``[row, column]``, the size of the slice, shows, or None where it is empty."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return None
        columns = np.flatnonzero(mask.any(axis=0))
        top, left = int(rows[0]), int(columns[0])
        part = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        return cls(slice_index, score, top, left, np.ascontiguousarray(part), drawn)

    @property
    def window(self) -> tuple[slice, slice]:
        """Where ``mask`` lies on its slice."""
        rows, columns = self.mask.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)

    def intersection(self, other: Region) -> int:
        """How many pixels both have, wherever they lie along the stack."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.mask.shape[0], other.top + other.mask.shape[0])
        right = min(self.left + self.mask.shape[1], other.left + other.mask.shape[1])
        if bottom <= top or right <= left:
            return 0
        mine = self.mask[top - self.top : bottom - self.top, left - self.left : right - self.left]
        others = other.mask[top - other.top : bottom - other.top, left - other.left : right - other.left]
        return int(np.count_nonzero(mine & others))

    def grown(self) -> Region:
        """With the pixels around it, those beyond the slice's edge too."""
        from scipy import ndimage

        mask = ndimage.binary_dilation(np.pad(self.mask, 1), structure=np.ones((3, 3)))
        return Region(self.slice_index, self.score, self.top - 1, self.left - 1, mask, self.drawn)

    def iou(self, other: Region) -> float:
        """Intersection over union."""
        return iou_of_areas(self.intersection(other), self.area, other.area)


#: The regions of one object, in the order of the slices; there may be several on a slice.
Regions = tuple[Region, ...]


@dataclass(frozen=True, eq=False)
class LinkedGroup:
    """Regions that hang together through the stack: one object, or several that touch.

    Attributes:
        instances: the objects; the detector kept them apart.
        shown: whether a person showed it.
    """

    instances: tuple[Regions, ...]
    shown: bool = False

    @property
    def regions(self) -> Regions:
        return tuple(region for instance in self.instances for region in instance)

    @property
    def first_slice(self) -> int:
        return min(region.slice_index for region in self.regions)

    @property
    def last_slice(self) -> int:
        return max(region.slice_index for region in self.regions)

    @property
    def score(self) -> float:
        """Of its surest region."""
        return max(region.score for region in self.regions)
