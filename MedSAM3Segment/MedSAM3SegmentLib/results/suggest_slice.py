"""Which slice to draw or correct next: where the result is least sure, and its neighbors with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import MASK_THRESHOLD, SoftMask, resize_soft_mask, soft_mask_to_binary

from .result import ConceptResult
from .slice_detections import SliceDetections
from .tracks import SliceSource, SuggestedSlice, Track

#: Where nothing was drawn, a corrected slice helps this many on each side, the nearest the most.
_HELPED_SLICES = 4

#: How far an edge strays per millimeter from the nearest slice that a person drew, while it is tracked.
_DRIFT = 0.1

#: It strays no farther than this, millimeters; a tracker that lost the object stops.
_MOST_DRIFT_MM = 5.0

#: Below this many pixels that are expected to be wrong on a slice, nothing is suggested.
_LEAST_DOUBT = 1.0


def with_next_slice(concept: ConceptResult, stack: SliceStack) -> ConceptResult:
    """An assembled concept that also says what each slice rests on and which to draw next."""
    sources = source_by_slice(concept, stack.extract(concept.mask))
    return replace(concept, sources=sources, next_slice=suggest_slice(concept, stack))


def suggest_slice(concept: ConceptResult, stack: SliceStack) -> SuggestedSlice | None:
    """The slice to draw or correct next; None where the result is sure or nothing was found.

    Args:
        concept: assembled.
        stack: how the volume was cut.
    """
    if not concept.found:
        return None
    masks = stack.extract(concept.mask)
    drawn = {index for track in concept.tracks for index in track.drawn}
    doubts = doubt_by_slice(concept, stack)
    if not doubts or max(doubts.values()) < _LEAST_DOUBT:
        return None
    helped = {index: _expected_gain(index, doubts, drawn) for index in doubts}
    best = max(helped, key=lambda index: (helped[index], -index))
    source = source_by_slice(concept, masks).get(best)
    nearest = min((abs(best - index) * stack.spacing[0] for index in drawn), default=None)
    return SuggestedSlice(best, source, doubts[best], nearest)


def _expected_gain(index: int, doubts: Mapping[int, float], drawn: Collection[int]) -> float:
    """How many pixels fewer are expected to be wrong once a slice is drawn.

    What is wrong on another slice grows with the distance to the nearest drawn one, and a slice that is drawn tells
    nothing beyond the next one that was drawn before.
    """
    below = max((one for one in drawn if one < index), default=-1)
    above = min((one for one in drawn if one > index), default=max(doubts) + 1)
    gain = 0.0
    for other, doubt in doubts.items():
        if below < other < above:
            away = min((abs(other - one) for one in drawn), default=_HELPED_SLICES)
            gain += doubt * max(0.0, 1 - abs(other - index) / away)
    return gain


def source_by_slice(concept: ConceptResult, masks: BoolMask) -> dict[int, SliceSource]:
    """What the mask of each slice rests on.

    Args:
        concept: assembled.
        masks: bool ``[slice, row, column]``, its mask as the stack cuts it.
    """
    order = list(SliceSource)
    seen = {item.slice_index for item in concept.evidence if item.detections or item.semantic is not None}
    sources = {}
    for index in np.flatnonzero(masks.any(axis=(1, 2))).tolist():
        known = [track.source_of(index) for track in concept.tracks if index in track.masks]
        if known:
            sources[index] = min(known, key=order.index)
        elif index in seen and not concept.tracks:
            sources[index] = SliceSource.DETECTED
        else:
            sources[index] = SliceSource.INTERPOLATED
    return sources


def doubt_by_slice(concept: ConceptResult, stack: SliceStack) -> dict[int, float]:
    """How many pixels of each slice are expected to be wrong; slices that a person drew have none.

    What is not sure on a slice adds up: probabilities near one half, a low score, where tracker and detector differ,
    and how far it is from a slice that a person drew.
    """
    masks = stack.extract(concept.mask)
    drawn = {index for track in concept.tracks for index in track.drawn}
    evidence = {item.slice_index: item for item in concept.evidence}
    doubts: dict[int, float] = {}
    for index in range(stack.count):
        if index in drawn:
            continue
        if concept.tracks:
            doubt = sum(_doubt_of_track(track, index, stack) for track in concept.tracks)
            doubt += _disagreement(evidence.get(index), masks[index])
        else:
            doubt = _doubt_of_detections(evidence.get(index), masks[index])
        if doubt > 0:
            doubts[index] = doubt
    for track in concept.tracks:
        for index, doubt in _doubt_beyond(track, stack).items():
            doubts[index] = doubts.get(index, 0.0) + doubt
    return doubts


def _doubt_beyond(track: Track, stack: SliceStack) -> dict[int, float]:
    """Of the slices right beyond the drawn ones, where nothing looked for the object.

    An object that is wide on its last drawn slice seldom ends there.
    """
    from scipy import ndimage

    doubts = {}
    for index, step in ((min(track.drawn, default=0), -1), (max(track.drawn, default=0), 1)):
        beyond = index + step
        followed = any(stop.forward == (step > 0) for stop in track.stops) or beyond in track.masks
        if not track.drawn or followed or index not in track.masks or not 0 <= beyond < stack.count:
            continue
        mask = soft_mask_to_binary(track.masks[index], stack.slice_shape)
        depth = float(ndimage.distance_transform_edt(np.pad(mask, 1), sampling=stack.spacing[1:]).max())
        if depth > stack.spacing[0]:
            doubts[beyond] = (1 - stack.spacing[0] / depth) * float(np.count_nonzero(mask))
    return doubts


def _doubt_of_track(track: Track, index: int, stack: SliceStack) -> float:
    if index in track.doubts:
        return track.doubts[index]
    soft = track.masks.get(index)
    if soft is None:
        return 0.0
    probability = resize_soft_mask(soft, stack.slice_shape)
    mask = probability > MASK_THRESHOLD
    unsure = float(np.minimum(probability, 1 - probability).sum())
    doubt = unsure + (1 - track.object_scores.get(index, 1.0)) * float(np.count_nonzero(mask))
    if track.drawn:
        away = min(abs(index - one) for one in track.drawn) * stack.spacing[0]
        doubt += _edge_pixels(mask) * min(_DRIFT * away, _MOST_DRIFT_MM) / min(stack.spacing[1:])
    return doubt


def _doubt_of_detections(item: SliceDetections | None, mask: BoolMask) -> float:
    """Of a slice that was looked at by itself."""
    if item is None:
        return 0.0
    probability = _seen(item, mask.shape)
    unsure = float(np.minimum(probability, 1 - probability)[mask].sum())
    if mask.any():
        return unsure + (1 - min(item.score, 1.0)) * float(np.count_nonzero(mask))
    # What was seen there and not believed.
    return item.score * float(np.count_nonzero(probability > MASK_THRESHOLD))


def _disagreement(item: SliceDetections | None, mask: BoolMask) -> float:
    """Pixels on which a detection and the result differ, one of which is wrong."""
    if item is None or not (item.detections or item.semantic is not None):
        return 0.0
    seen = _seen(item, mask.shape) > MASK_THRESHOLD
    touched = bool((seen & mask).any())
    return item.score * float(np.count_nonzero(seen ^ mask)) / 2 if touched else 0.0


def _seen(item: SliceDetections, shape: tuple[int, ...]) -> np.ndarray:
    size = (int(shape[0]), int(shape[1]))
    parts: list[SoftMask] = [one.mask for one in item.detections if one.score >= 0.5 * item.score]
    if item.semantic is not None:
        parts.append(item.semantic)
    whole = np.zeros(size, np.float32)
    for part in parts:
        whole = np.maximum(whole, resize_soft_mask(part, size))
    return whole


def _edge_pixels(mask: BoolMask) -> int:
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    return int(np.count_nonzero(mask & ~inner))
