"""Segmenting without words: what was segmented in one volume, or on some slices, is found in another.

As FATE-SAM does with SAM 2 (arXiv 2501.09138): each slice of the new volume is compared with the labeled slices by
its image features, the most similar ones are put into the tracker's memory as if they had been prompted, and the
tracker says where the same object is. What comes out is evidence, as from the detector; assembly is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.detection.postprocess import MIN_SCORE
from MedSAM3SegmentLib.features.slice_encoder import SliceFeatures
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.interpolation.fill_track import fill_track
from MedSAM3SegmentLib.models.abilities import tracker_of
from MedSAM3SegmentLib.models.memory_bank import MemoryBank
from MedSAM3SegmentLib.models.tracker_types import TrackerOutput
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import RunReporter, Stage
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.results.tracks import SliceSource, Track
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.volume import Volume

from .support_set import SupportSet, pool_features

_INTERPOLATED = frozenset({SliceSource.INTERPOLATED, SliceSource.MOVED})

#: Lowest score that counts where a request names none.
LIKENESS_THRESHOLD = 0.5


def detect_from_examples(
    examples: Sequence[tuple[Example, Window]],
    features: SliceFeatures,
    window: Window,
    search_region: SearchRegion,
    reporter: RunReporter,
    show: Callable[[SliceDetections], None],
) -> list[SliceDetections]:
    """Where the structure of ``examples`` is on each slice that ``search_region`` lets through.

    Args:
        examples: of one structure, with the windows that their volumes are seen through; cut in the same plane.
        features: of the volume, cut as the search region's stack is.
        window: that the volume is seen through.
        show: given each slice of the volume as soon as it is known.

    Returns:
        One item per slice of the search region.

    Raises:
        InputError: an example shows nothing.
        MissingTrackerError: the model has no tracker.
        Cancelled: between two slices.
    """
    tracker = tracker_of(features.model, None)
    if not search_region.slices:
        return []
    supports = SupportSet()
    for example, seen_through in examples:
        shown = features.elsewhere(example.volume, SliceStack.along(example.volume.grid, search_region.stack.plane))
        supports.add(example, shown, seen_through, tracker, reporter)
    stage = reporter.begin(Stage.SEGMENTING, 2 * len(search_region.slices))
    looks = []
    for index in search_region.slices:
        stage.check()
        looks.append(pool_features(features.of([index], window)))
        stage.advance()
    evidence = []
    for index, (memories, share) in zip(search_region.slices, supports.nearest(torch.stack(looks)), strict=True):
        stage.check()
        image = features.of([index], window)
        # As if they were the slices just before, the most similar one the nearest.
        prompted = {len(memories) - 1 - rank: memory for rank, memory in enumerate(memories)}
        place = len(memories)
        answer = tracker.track(tracker.build_features(image), place, place + 1, MemoryBank(prompted), reverse=False)
        evidence.append(_evidence(index, answer, share))
        show(evidence[-1])
        stage.advance()
    return evidence


def limit_to_labelled_slices(example: Example, volume: Volume, stack: SliceStack) -> Example:
    """An example in ``volume`` itself as one of the slices with the structure.

    A whole volume that is labeled leaves nothing to do, so what is empty there is not known yet.
    """
    if example.slices is not None or example.volume.content_hash != volume.content_hash:
        return example
    there = np.flatnonzero(stack.extract(example.mask).any(axis=(1, 2)))
    return replace(example, slices=tuple(there.tolist()))


def labelled_slices(examples: Sequence[Example], volume: Volume, stack: SliceStack) -> dict[int, BoolMask]:
    """The slices ``[row, column]`` of ``volume`` itself that the examples label, by index."""
    labelled: dict[int, BoolMask] = {}
    for example in examples:
        if example.slices is not None and example.volume.content_hash == volume.content_hash:
            masks = stack.extract(example.mask)
            labelled |= {index: masks[index] for index in example.slices}
    return labelled


def with_labelled_slices(
    concept: ConceptResult,
    labelled: Mapping[int, BoolMask],
    stack: SliceStack,
    volume: Volume,
    check: Callable[[], None] = lambda: None,
) -> ConceptResult:
    """An assembled concept as tracks, whose labeled slices come back as they are when it is assembled again.

    What lies between two of them is filled as between drawn slices.

    Args:
        labelled: bool ``[row, column]`` by slice.
        check: called between two steps; raises to cancel.
    """
    if not labelled:
        return concept
    tracks = list(concept.tracks)
    if not tracks:
        labels = stack.extract(concept.instance_map)
        for instance in concept.instances:
            extent = range(instance.first_slice, instance.last_slice + 1)
            masks = {index: SoftMask.of(labels[index] == instance.label) for index in extent}
            scores = {index: concept.score_by_slice.get(index, instance.score) for index in extent}
            tracks.append(Track((), instance.score, masks, scores))
    first = tracks[0] if tracks else Track((), 1.0, {}, {})
    drawn = tuple(sorted(labelled))
    masks = {**first.masks, **{index: SoftMask.of(mask) for index, mask in labelled.items()}}
    scores = {**first.object_scores, **{index: float(mask.any()) for index, mask in labelled.items()}}
    sources = {**dict.fromkeys(first.masks, SliceSource.DETECTED), **first.sources}
    labelled_track = replace(
        first, seeds=drawn, score=1.0, masks=masks, object_scores=scores, drawn=drawn, shown=True, sources=sources
    )
    filled = fill_track(labelled_track, stack, volume, check=check)
    between = {index for index, source in filled.sources.items() if source in _INTERPOLATED}
    others = [_without_slices(track, between) for track in tracks[1:]]
    return replace(concept, tracks=(filled, *others))


def _without_slices(track: Track, slices: Collection[int]) -> Track:
    """A track of another object, which is not on slices that the labeled one was filled on."""
    masks = {index: soft for index, soft in track.masks.items() if index not in slices}
    return replace(track, masks=masks)


def _evidence(index: int, answer: TrackerOutput, share: float) -> SliceDetections:
    """What the tracker found, as a detection.

    The score is the geometric mean of what the tracker says and of what the labeled slices like this one say.
    """
    there = float(answer.object_score_logits.sigmoid())
    score = (there * share) ** 0.5
    soft = SoftMask.of(answer.pred_masks.sigmoid().float().numpy(force=True))
    if score < MIN_SCORE or soft.probability.size == 0:
        return SliceDetections(index, min(score, MIN_SCORE), share)
    rows, columns = soft.size
    height, width = soft.probability.shape
    box = (soft.left / columns, soft.top / rows, (soft.left + width) / columns, (soft.top + height) / rows)
    return SliceDetections(index, score, share, (Detection(score, there, share, box, soft),))
