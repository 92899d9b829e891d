"""From per-slice evidence to one mask in the volume: which slices count, which objects are believed, and why.

Runs without the model and without torch, so a moved threshold is answered at once. ``linking`` says which regions are
one object, ``cleanup`` which objects are believed, ``search_region`` where anything may be at all.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import soft_mask_to_binary
from MedSAM3SegmentLib.messages.message import Message
from MedSAM3SegmentLib.reporting.sentences import (
    describe_filled,
    describe_short,
    describe_smaller,
    describe_weak,
    reason_of,
)
from MedSAM3SegmentLib.request import AssemblyOptions
from MedSAM3SegmentLib.results.result import ConceptResult, Instance, SegmentResult
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.suggest_slice import with_next_slice
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.search_region import SearchRegion

from .cleanup import (
    LEAST_EXTENT_MM,
    SizeRule,
    fill_gaps,
    largest,
)
from .find_cut_off import find_cut_off
from .linking import connected, link
from .regions import LinkedGroup, Region, Regions

#: Below the threshold by this factor a slice still counts if it continues an object that is sure elsewhere.
CONTINUATION = 0.5


@dataclass(frozen=True, eq=False)
class _Assembled:
    """The objects that are believed, and how it came to that."""

    instances: tuple[Regions, ...]
    dropped: int
    steps: tuple[Message, ...]


def assemble(
    concept: ConceptResult,
    stack: SliceStack,
    threshold: float,
    options: AssemblyOptions = AssemblyOptions(),  # noqa: B008 (frozen)
    search_region: SearchRegion | None = None,
) -> ConceptResult:
    """The same evidence turned into mask, instances and reason at ``threshold``.

    A slice counts when its score reaches the threshold, or half of it where the object goes on from a sure slice.
    Regions of neighboring slices that overlap are one object; two that the detector keeps apart on a slice stay two.
    Objects that never reach the threshold, or are too short to be real, are dropped. A concept that was followed
    through the stack has one object per track. What a person drew is left as it was drawn.

    Args:
        concept: with evidence, or tracks, or both; tracks then decide.
        stack: how the volume was cut.
        threshold: lowest best score of an object.
        options: which steps run; each that did something says so in ``ConceptResult.clean_up``.
        search_region: cuts what lies outside of it, or None.
    """
    if concept.tracks:
        assembled = _from_tracks(concept.tracks, stack, threshold, options, search_region)
    else:
        assembled = _from_evidence(concept.evidence, stack, threshold, options, search_region)
    slices, instances = _numbered(assembled.instances, stack)
    instance_map = np.ascontiguousarray(stack.insert(slices))
    low = threshold * CONTINUATION if options.hysteresis else threshold
    cut_off = find_cut_off(instance_map, stack, search_region, lambda index: _seen_on(concept, index, low, stack))
    instances = tuple(replace(one, cut_off=cut_off.get(one.label, ())) for one in instances)
    return replace(
        concept,
        found=bool(instances),
        reason=reason_of(concept, instances, assembled.dropped, threshold),
        mask=np.ascontiguousarray(stack.insert(slices > 0)),
        instance_map=instance_map,
        instances=instances,
        clean_up=assembled.steps,
    )


def with_threshold(result: SegmentResult, threshold: float) -> SegmentResult:
    """The same detections and tracks cut at another threshold; the model does not run.

    Of objects that were followed those drop out whose score is below; none is followed anew. Where concepts lie in
    another one, they stay in what that was.
    """
    assembled = (
        assemble(concept, result.stack, threshold, result.assembly, result.search_region_of(concept.concept))
        for concept in result.concepts
    )
    concepts = tuple(with_next_slice(concept, result.stack) for concept in assembled)
    return replace(result, concepts=concepts, provenance=replace(result.provenance, threshold=threshold))


def slice_mask(evidence: SliceDetections, threshold: float, shape: tuple[int, int]) -> BoolMask:
    """The mask of one slice ``[row, column]`` at the volume's resolution."""
    mask = np.zeros(shape, bool)
    for _, part in slice_parts(evidence, threshold, shape):
        mask |= part
    return mask


def _seen_on(concept: ConceptResult, index: int, low: float, stack: SliceStack) -> BoolMask:
    """What the model saw of a concept on a slice, ``[row, column]``, whatever it had to lie in."""
    mask = np.zeros(stack.slice_shape, bool)
    for track in concept.tracks:
        if index in track.masks and index not in track.drawn:
            mask |= soft_mask_to_binary(track.masks[index], stack.slice_shape)
    for item in () if concept.tracks else concept.evidence:
        if item.slice_index == index:
            mask |= slice_mask(item, min(low, item.score), stack.slice_shape)
    return mask


def _from_evidence(
    evidence: Sequence[SliceDetections],
    stack: SliceStack,
    threshold: float,
    options: AssemblyOptions,
    search_region: SearchRegion | None,
) -> _Assembled:
    """What was detected on every slice by itself, as objects."""
    low = threshold * CONTINUATION if options.hysteresis else threshold
    looked_at = {item.slice_index for item in evidence}
    count = {item.slice_index for item in evidence if item.score >= low}
    if options.fill_gaps:
        # What little was seen there is a better guess than the neighbors' shape.
        count |= {n for n in looked_at if {n - 1, n + 1} <= count}
    regions = [
        region
        for item in evidence
        if item.slice_index in count
        for region in _seen(item, min(low, item.score), stack, search_region)
    ]
    if options.link:
        groups = link(
            regions,
            kept_apart=all(item.semantic is None for item in evidence),
            bridge=looked_at if options.fill_gaps else (),
            least_slices=math.ceil(LEAST_EXTENT_MM / stack.spacing[0] - 1e-6),
        )
    else:
        groups = _connected(regions, stack)
    return _cleaned(groups, stack, SizeRule(stack, threshold, looked_at), looked_at, options, search_region)


def _from_tracks(
    tracks: Sequence[Track],
    stack: SliceStack,
    threshold: float,
    options: AssemblyOptions,
    search_region: SearchRegion | None,
) -> _Assembled:
    """Every object that was followed through the stack; where a person drew, nothing else counts on that slice."""
    drawn = {index for track in tracks for index in track.drawn}
    taken: dict[int, BoolMask] = {}
    groups = []
    for track in sorted(tracks, key=lambda track: track.sureness, reverse=True):
        regions = []
        for index, soft in sorted(track.masks.items()):
            if index in drawn and index not in track.drawn:
                continue
            mask = soft_mask_to_binary(soft, stack.slice_shape)
            if index not in track.drawn and search_region is not None:
                mask = search_region.clip(index, mask)
            before = taken.setdefault(index, np.zeros(stack.slice_shape, bool))
            region = Region.of(index, track.score, mask & ~before, index in track.drawn)
            before |= mask
            if region is not None:
                regions.append(region)
        if regions:
            groups.append(LinkedGroup((tuple(regions),), track.shown))
    looked_at = set(search_region.slices) if search_region is not None else set(range(stack.count))
    return _cleaned(groups, stack, SizeRule(stack, threshold, looked_at), looked_at - drawn, options, search_region)


def _cleaned(
    groups: list[LinkedGroup],
    stack: SliceStack,
    rule: SizeRule,
    fillable: Collection[int],
    options: AssemblyOptions,
    search_region: SearchRegion | None,
) -> _Assembled:
    """The steps that are switched on, one after the other, each with a sentence if it did something."""
    steps = []
    kept = [group for group in groups if rule.is_sure(group)]
    if options.drop_isolated:
        long = [group for group in kept if group.shown or rule.is_long_enough(group)]
        if len(long) < len(kept):
            where = {region.slice_index for group in kept if group not in long for region in group.regions}
            steps.append(describe_short(len(kept) - len(long), where))
        kept = long
    weak = {region.slice_index for group in kept for region in group.regions if region.score < rule.threshold}
    if weak:
        steps.append(describe_weak(weak))
    if options.fill_gaps:
        kept, filled = fill_gaps(kept, fillable, stack.slice_shape, search_region)
        if filled:
            steps.append(describe_filled(set(filled)))
    dropped = len(groups) - len(kept)
    if options.largest_only:
        kept, fewer = largest(kept)
        if fewer:
            steps.append(describe_smaller(fewer))
    return _Assembled(tuple(instance for group in kept for instance in group.instances), dropped, tuple(steps))


def _seen(item: SliceDetections, low: float, stack: SliceStack, search_region: SearchRegion | None) -> list[Region]:
    """The regions of one slice; a pixel belongs to the surest of them."""
    taken = np.zeros(stack.slice_shape, bool)
    regions = []
    for score, mask in slice_parts(item, low, stack.slice_shape):
        allowed = mask if search_region is None else search_region.clip(item.slice_index, mask)
        region = Region.of(item.slice_index, score, allowed & ~taken)
        taken |= allowed
        if region is not None:
            regions.append(region)
    return regions


def slice_parts(item: SliceDetections, threshold: float, shape: tuple[int, int]) -> Iterator[tuple[float, BoolMask]]:
    """Score and mask ``[row, column]`` of what is seen on a slice, surest first.

    A semantic map does not say what is one object; each of its connected parts is a part by itself.
    """
    from scipy import ndimage

    if item.semantic is None:
        for detection in item.detections:
            if detection.score >= threshold:
                yield detection.score, soft_mask_to_binary(detection.mask, shape)
        return
    labels, count = ndimage.label(soft_mask_to_binary(item.semantic, shape), structure=np.ones((3, 3)))
    for number in range(1, count + 1):
        yield item.score, labels == number


def _connected(regions: Sequence[Region], stack: SliceStack) -> list[LinkedGroup]:
    """Connected objects, whatever the detector takes for one."""
    candidates, scores = np.zeros((stack.count, *stack.slice_shape), bool), np.zeros(stack.count)
    for region in regions:
        candidates[(region.slice_index, *region.window)] |= region.mask
        scores[region.slice_index] = max(scores[region.slice_index], region.score)
    return connected(candidates, scores)


def _numbered(objects: Sequence[Regions], stack: SliceStack) -> tuple[NDArray[np.uint16], tuple[Instance, ...]]:
    """Objects ``[slice, row, column]`` numbered from the largest, and what is known of each."""
    slices = np.zeros((stack.count, *stack.slice_shape), np.uint16)
    instances = []
    for rank, regions in enumerate(sorted(objects, key=lambda regions: -_pixels(regions)), start=1):
        voxels = 0
        for region in regions:
            part = slices[(region.slice_index, *region.window)]
            free = region.mask & (part == 0)
            part[free] = rank
            voxels += int(np.count_nonzero(free))
        indices = [region.slice_index for region in regions]
        best = max(region.score for region in regions)
        volume = voxels * stack.grid.voxel_volume_mm3
        instances.append(Instance(rank, voxels, volume, min(indices), max(indices), best))
    return slices, tuple(instances)


def _pixels(regions: Regions) -> int:
    return sum(region.area for region in regions)
