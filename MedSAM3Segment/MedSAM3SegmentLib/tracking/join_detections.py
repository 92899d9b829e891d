"""Which detected object a drawn or tracked one is, and a track joined with what was detected of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask, soft_mask_to_binary
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import SliceSource, Track
from MedSAM3SegmentLib.search_region import SearchRegion

from .tracked_objects import TrackedObject


def labels_of_drawn(target: TrackedObject, found: ConceptResult, stack: SliceStack) -> tuple[int, ...]:
    """The detected objects that are what a person drew; it may have been detected in pieces."""
    return _covering({seed.slice_index: seed.mask for seed in target.seeds if seed.mask is not None}, found, stack)


def labels_of_track(track: Track, found: ConceptResult, stack: SliceStack) -> tuple[int, ...]:
    """The detected objects that are what a drawn track is."""
    masks = {index: soft_mask_to_binary(soft, stack.slice_shape) for index, soft in track.masks.items()}
    return _covering(masks, found, stack)


def _covering(masks: Mapping[int, BoolMask], found: ConceptResult, stack: SliceStack) -> tuple[int, ...]:
    """Of each slice the object that has most of its mask."""
    labels = stack.extract(found.instance_map)
    covering = set[int]()
    for index, mask in masks.items():
        counts = np.bincount(labels[index][mask].astype(int), minlength=1)
        counts[0] = 0
        if 2 * counts.max() > np.count_nonzero(mask):
            covering.add(int(counts.argmax()))
    return tuple(sorted(covering))


def detected_masks(found: ConceptResult, labels: Collection[int], stack: SliceStack) -> dict[int, BoolMask]:
    """Detected objects as one, bool ``[row, column]`` by slice."""
    of_object = np.isin(stack.extract(found.instance_map), list(labels))
    return {index: of_object[index] for index in np.flatnonzero(of_object.any(axis=(1, 2))).tolist()}


def instance_labels(found: ConceptResult) -> list[int]:
    return [instance.label for instance in found.instances]


def with_detections(track: Track, found: ConceptResult, labels: Collection[int], search_region: SearchRegion) -> Track:
    """A track with the slices that its object was detected on and the tracker did not reach."""
    scores = found.score_by_slice
    masks, object_scores, sources = dict(track.masks), dict(track.object_scores), dict(track.sources)
    for index, mask in detected_masks(found, labels, search_region.stack).items():
        if index not in masks and index not in track.drawn:
            masks[index] = SoftMask.of(mask)
            object_scores[index] = scores.get(index, 0.0)
            sources[index] = SliceSource.DETECTED
    masks, object_scores = dict(sorted(masks.items())), dict(sorted(object_scores.items()))
    return replace(track, masks=masks, object_scores=object_scores, sources=sources)


def with_object_scores(evidence: Sequence[SliceDetections], tracks: Sequence[Track]) -> tuple[SliceDetections, ...]:
    """The evidence with what the tracker says of the slices that no detector was asked about."""
    known = {item.slice_index: item for item in evidence}
    for track in tracks:
        for index, score in track.object_scores.items():
            if index not in known or (known[index].score < score and known[index] not in evidence):
                known[index] = SliceDetections(index, score, score)
    return tuple(known[index] for index in sorted(known))
