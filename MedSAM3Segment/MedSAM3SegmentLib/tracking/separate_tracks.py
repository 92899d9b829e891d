"""Objects that were drawn apart from each other do not share pixels: each pixel goes to the one it is surer of.

A tracker follows each object by itself, and past its end it may go on in what touches it. Where that was drawn too, or
lies between two slices on which it was, it is known whose the pixels are. Video trackers give a pixel to one object
alone (``non_overlap_masks`` of SAM 2); here objects that lie in each other, a tumor in its organ, keep what they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, resize_soft_mask, soft_mask_to_binary
from MedSAM3SegmentLib.interpolation.shapes import interpolate_shapes
from MedSAM3SegmentLib.interpolation.signed_distance import PixelSpacing
from MedSAM3SegmentLib.results.tracks import Stop, StopReason, Track

#: Where an object was drawn, another one that shares more than this part of it is not apart from it.
_APART = 0.2

#: What lies with this part of it in another object is a part of that.
_INSIDE = 0.8

#: Pixels speak together with those this near, millimeters.
_NEAR_MM = 6.0

#: No pixel is surer than this, so that none speaks for all.
_MOST_SURE = 0.99

#: What being drawn nearer counts at most, as a difference of logits; a tracker that has gone astray is surer by 1 less
#: than where it is right (0.85 and 0.95).
_NEARER = 0.5

#: An object has ended where others have this part of it and more.
_MOST_TAKEN = 0.8


@dataclass(eq=False)
class _DrawnObject:
    """An object that was drawn.

    Attributes:
        track: it was followed on.
        masks: bool ``[row, column]`` by slice, as far as they are its own; by shape between drawn slices.
        drawn: the slices that it was drawn on.
        taken: pixels that are another's, by slice.
        ends: the first slice beyond its end and what part of it there is another's, upwards (True) and downwards.
    """

    track: Track
    masks: dict[int, BoolMask]
    drawn: tuple[int, ...]
    taken: dict[int, BoolMask] = field(default_factory=dict)
    ends: dict[bool, tuple[int, float]] = field(default_factory=dict)

    def is_apart_from(self, other: _DrawnObject) -> bool:
        """Whether the other one has next to nothing of it where it was drawn, and is no part of it."""
        if self._has_part(other):
            return False
        shared = sum(_count(self.masks[i] & other.masks[i]) for i in self.drawn if i in other.masks)
        return shared <= _APART * sum(_count(self.masks[i]) for i in self.drawn)

    def _has_part(self, other: _DrawnObject) -> bool:
        """Whether the other one lies in it; where both are the same, it is the other one."""
        inside = 0
        for index in self.masks.keys() & other.masks.keys():
            shared = _count(self.masks[index] & other.masks[index])
            inside += shared if shared < _MOST_TAKEN * _count(self.masks[index]) else 0
        return inside >= _INSIDE * sum(map(_count, other.masks.values()))

    def yield_to(self, other: _DrawnObject, spacing: PixelSpacing) -> bool:
        """Give up what the tracker is surer of that it is the other one's; whether there was any."""
        changed = False
        for index in sorted(self.masks.keys() & other.masks.keys() - set(self.drawn), key=self._away):
            both = self.masks[index] & other.masks[index] if index in self.masks else None
            if both is None or not both.any():
                continue
            lost = both & (self._surer(other, index, both, spacing) < 0)
            if not lost.any():
                continue
            changed, area = True, _count(self.masks[index])
            self.taken[index] = lost | self.taken.get(index, lost)
            self.masks[index] = self.masks[index] & ~lost
            if _count(lost) >= _MOST_TAKEN * area:
                self._end_at(index, _count(lost) / area)
        return changed

    def logits(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """How sure the tracker is of each pixel of a slice; what was drawn is certain."""
        soft = self.track.masks.get(index, SoftMask.of(self.masks[index]))
        probability = resize_soft_mask(soft, (int(shape[0]), int(shape[1])))
        clipped = np.clip(probability, 1 - _MOST_SURE, _MOST_SURE)
        return np.asarray(np.log(clipped / (1 - clipped)), np.float32)

    def _away(self, index: int) -> int:
        return min(abs(index - one) for one in self.drawn)

    def _rank(self, index: int) -> int:
        """How well it is known where it is: drawn there (2), between drawn slices (1), or tracked (0)."""
        return 2 if index in self.drawn else int(min(self.drawn) < index < max(self.drawn))

    def _surer(self, other: _DrawnObject, index: int, both: BoolMask, spacing: PixelSpacing) -> NDArray[np.float32]:
        """How much surer it is of pixels that both have, each with those near it.

        Where both say the same, the one that was drawn nearer counts more.
        """
        from scipy import ndimage

        own_rank, others_rank = self._rank(index), other._rank(index)
        if own_rank != others_rank:
            return np.full(both.shape, own_rank - others_rank, np.float32)
        blur = [_NEAR_MM / step for step in spacing]
        difference = np.where(both, self.logits(index, both.shape) - other.logits(index, both.shape), 0.0)
        near = ndimage.gaussian_filter(both.astype(np.float32), blur) + 1e-6
        own, others = self._away(index), other._away(index)
        nearer = _NEARER * (others - own) / max(others + own, 1)
        return np.asarray(ndimage.gaussian_filter(difference.astype(np.float32), blur) / near + nearer, np.float32)

    def _end_at(self, index: int, part: float) -> None:
        if min(self.drawn) < index < max(self.drawn):
            self.masks.pop(index)
            return
        forward = index > max(self.drawn)
        self.ends[forward] = (index, part)
        for one in [one for one in self.masks if (one >= index if forward else one <= index)]:
            self.masks.pop(one)


def separate_tracks(tracks: Sequence[Track], shape: tuple[int, int], spacing: PixelSpacing) -> list[Track]:
    """The tracks, in their order; those that were drawn apart share no pixel beyond what was drawn.

    Where most of an object on a slice is another one's, it has ended there, and what comes after it is dropped.

    Args:
        shape: (rows, columns) of a slice.
        spacing: millimeters between rows and columns.
    """
    objects = {n: one for n, track in enumerate(tracks) if (one := _drawn_object(track, shape, spacing)) is not None}
    # What one gives up shows whether others lie apart from it.
    for _ in range(len(objects)):
        changed = False
        for one, other in permutations(objects.values(), 2):
            if one.is_apart_from(other):
                changed |= one.yield_to(other, spacing)
        if not changed:
            break
    return [_without_others(track, objects.get(n), shape) for n, track in enumerate(tracks)]


def _drawn_object(track: Track, shape: tuple[int, int], spacing: PixelSpacing) -> _DrawnObject | None:
    if not track.drawn:
        return None
    masks = {index: soft_mask_to_binary(soft, shape) for index, soft in track.masks.items()}
    drawn = tuple(index for index in track.drawn if index in masks and masks[index].any())
    if not drawn:
        return None
    given = {index: masks.get(index, np.zeros(shape, bool)) for index in track.drawn}
    for index, distance in interpolate_shapes(given, spacing).items():
        masks[index] = distance > 0
    return _DrawnObject(track, masks, drawn)


def _without_others(track: Track, own: _DrawnObject | None, shape: tuple[int, int]) -> Track:
    """A track with what is its own."""
    if own is None or not own.taken:
        return track
    masks, stops = {}, list(track.stops)
    for index in sorted(own.masks.keys() & track.masks.keys()):
        masks[index] = track.masks[index]
        if index in own.taken:
            probability = resize_soft_mask(track.masks[index], shape)
            masks[index] = SoftMask.of(np.where(own.taken[index], np.float32(0), probability))
    for forward, (index, part) in own.ends.items():
        stop = Stop(index, forward, StopReason.OTHER_OBJECT, f"{100 * part:.0f} % of it")
        stops = [one for one in stops if one.forward != forward] + [stop]
    return replace(
        track,
        masks=masks,
        object_scores={index: score for index, score in track.object_scores.items() if index in masks},
        stops=tuple(stops),
        sources={index: source for index, source in track.sources.items() if index in masks},
    )


def _count(mask: BoolMask) -> int:
    return int(np.count_nonzero(mask))
