"""An object that was drawn on several slices: filled between them by shape, and moved beyond them by the image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask, FloatMap
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.results.tracks import SliceSource, Stop, StopReason, Track
from MedSAM3SegmentLib.volume import Volume

from .fill_between import ModelMasks, fill_between
from .move_beyond import MovedSlice, ended_beyond, move_beyond

#: Between a drawn slice and an empty one shapes guess where the object ends, no farther than this, millimeters; a gap
#: that tracking leaves is bridged as far.
LONGEST_END_MM = 25.0


def fill_track(
    track: Track,
    stack: SliceStack,
    volume: Volume,
    shown: Collection[int] = (),
    detected: Mapping[int, BoolMask] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Track:
    """``track`` with the slices between drawn ones filled by shape, and by what moves it, and those beyond moved.

    Between a drawn slice and one far away that was drawn as empty the object ends somewhere; where a tracker followed
    it there, that stays, since shapes do not know where.

    Args:
        track: with drawn slices among its masks; one without a mask was drawn as empty.
        stack: how ``volume`` is cut.
        shown: slices that were shown otherwise, by points or a box; what is there counts as drawn.
        detected: what a detector sees that was not shown the drawn slices, bool ``[row, column]`` by slice.
        check: called between two steps; raises to cancel.
    """
    shape = stack.slice_shape
    masks = {index: soft_mask_to_binary(soft, shape) for index, soft in track.masks.items()}
    empty = np.zeros(shape, bool)
    fixed = {index: masks.get(index, empty) for index in {*track.drawn, *shown}}
    if len(fixed) < 2:
        return track
    followed = {index: mask for index, mask in masks.items() if index not in fixed}
    models = [ModelMasks(followed, saw_drawn=True)] if followed else []
    if detected:
        models.append(ModelMasks(detected, saw_drawn=False))
    image_of = slices_of(volume, stack)
    filled = fill_between(fixed, image_of, stack.spacing, models, check)
    if followed:
        blind = _long_ends(fixed, stack.spacing[0])
        filled = {index: one for index, one in filled.items() if index not in blind}
    soft, scores, sources, doubts = dict(track.masks), dict(track.object_scores), dict(track.sources), {}
    for index, one in filled.items():
        area = float(np.count_nonzero(one.soft.probability > 0.5))
        soft[index], sources[index], doubts[index] = one.soft, one.source, one.doubt
        scores[index] = max(0.0, 1 - one.doubt / area) if area else 0.0
        if not area:
            del soft[index], scores[index]
    first, last = min(fixed), max(fixed)
    done = replace(
        track,
        masks=dict(sorted(soft.items())),
        object_scores=dict(sorted(scores.items())),
        # What ended between drawn slices did not end.
        stops=tuple(stop for stop in track.stops if not (first < stop.slice_index < last and stop.slice_index in soft)),
        sources=dict(sorted(sources.items())),
        doubts={**track.doubts, **doubts},
    )
    tracked = {index: mask for index, mask in followed.items() if track.source_of(index) is SliceSource.TRACKED}
    return _with_moved(done, move_beyond(tracked, fixed, image_of, stack.spacing, check), masks, fixed)


def _with_moved(
    track: Track, moved: Mapping[int, MovedSlice], masks: Mapping[int, BoolMask], fixed: Collection[int]
) -> Track:
    """A track with the slices beyond the drawn ones as the image moved them, to where it shows the object no more."""
    if not moved:
        return track
    ends = {
        forward: index
        for forward, index in ended_beyond(moved, fixed).items()
        # What a detector saw further on has not ended.
        if not any((one > index if forward else one < index) and one not in moved for one in track.masks)
    }
    soft, sources, stops = dict(track.masks), dict(track.sources), list(track.stops)
    for index, one in moved.items():
        mask = soft_mask_to_binary(one.soft, masks[index].shape)
        has_ended = any((index >= end if forward else index <= end) for forward, end in ends.items())
        if has_ended or not mask.any():
            del soft[index]
            sources.pop(index, None)
        elif not np.array_equal(mask, masks[index]):
            soft[index], sources[index] = one.soft, SliceSource.TRACKED_MOVED
    for forward, index in ends.items():
        detail = f"{100 * moved[index].kept:.0f} % of what was tracked is like it"
        stops = [stop for stop in stops if stop.forward != forward]
        stops.append(Stop(index, forward, StopReason.UNLIKE_DRAWN, detail))
    return replace(
        track,
        masks=soft,
        object_scores={index: score for index, score in track.object_scores.items() if index in soft},
        sources=dict(sorted(sources.items())),
        stops=tuple(stops),
    )


def drawn_track(drawn: Mapping[int, BoolMask], score: float = 1.0) -> Track:
    """The slices that a person drew and nothing else, bool ``[row, column]`` by slice."""
    indices = tuple(sorted(drawn))
    return Track(
        seeds=indices,
        score=score,
        masks={index: SoftMask.of(drawn[index]) for index in indices},
        object_scores={index: float(drawn[index].any()) for index in indices},
        drawn=indices,
        shown=True,
        sources=dict.fromkeys(indices, SliceSource.DRAWN),
    )


def slices_of(volume: Volume, stack: SliceStack) -> Callable[[int], FloatMap]:
    """Gives the intensities ``[row, column]`` of a slice; of colors their mean."""
    slices = stack.extract(volume.array)

    def image_of(index: int) -> FloatMap:
        image = np.asarray(slices[index], np.float32)
        image = image.mean(axis=-1) if image.ndim == 3 else image
        return np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)

    return image_of


def _long_ends(fixed: Mapping[int, BoolMask], thickness: float) -> set[int]:
    """The slices of long gaps between a drawn slice and one that was drawn as empty."""
    blind = set[int]()
    for before, after in pairwise(sorted(fixed)):
        if fixed[before].any() != fixed[after].any() and (after - before) * thickness > LONGEST_END_MM:
            blind |= set(range(before + 1, after))
    return blind
