"""What to follow through a stack, and where to begin: what a person drew, or what was detected where it is surest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, PointPrompt
from MedSAM3SegmentLib.prompts.prompts import BoxReading, TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import (
    BoxFractions,
    BoxOnSlices,
    PointOnSlice,
    boxes_on,
    drawn_on,
    points_on,
)
from MedSAM3SegmentLib.results.result import ConceptResult

from .detection_agreement import FreshDetections

Mask = NDArray[np.bool_]

#: Slices that score this close to the best one are as sure; the one among them with the largest area is begun with.
AS_SURE = 0.05

#: A detection is what a box shows if it fills this much of it and lies in it (intersection over union; an ellipse that
#: touches all four sides has 0.79).
FILLS_BOX = 0.5

#: Boxes of neighbouring slices show the same object from this intersection over union on.
_SAME_BOX = 0.3


@dataclass(frozen=True, eq=False)
class Seed:
    """An object, shown on one slice.

    Attributes:
        mask: bool ``[row, column]`` at the volume's resolution, or None where points or a box show it.
        points: points or a box, or None where a mask shows it.
        drawn: whether a person drew the mask, so that it must come back as it is.
    """

    slice_index: int
    mask: Mask | None = None
    points: PointPrompt | None = None
    drawn: bool = False

    @property
    def prompt(self) -> PointPrompt | MaskPrompt:
        """As the tracker takes it."""
        if self.mask is not None:
            return MaskPrompt(torch.from_numpy(np.ascontiguousarray(self.mask)))
        assert self.points is not None
        return self.points


@dataclass(frozen=True, eq=False)
class Target:
    """One object to be followed.

    Attributes:
        concept: what it is an object of.
        seeds: where it is shown.
        score: how sure that is; 1 where a person showed it.
        slices: it is followed on these only.
        fresh: detections to check with, or None.
        corrections: clicks on slices that no seed is on; they change what was tracked there.
        shown: whether a person showed it.
    """

    concept: str
    seeds: tuple[Seed, ...]
    score: float
    slices: range
    fresh: FreshDetections | None = None
    corrections: tuple[PointOnSlice, ...] = ()
    shown: bool = False


def detected_targets(
    found: ConceptResult, stack: SliceStack, slices: range, fresh: FreshDetections | None
) -> list[Target]:
    """One target per object that was assembled from detections, seeded at its surest slice.

    Args:
        found: assembled from evidence.
        slices: that are followed.
    """
    labels = stack.extract(found.instance_map)
    scores = found.score_by_slice
    targets = []
    for instance in found.instances:
        extent = range(instance.first_slice, instance.last_slice + 1)
        areas = {z: int(np.count_nonzero(labels[z] == instance.label)) for z in extent if z in scores}
        best = max(scores[z] for z, area in areas.items() if area)
        surest = max((z for z, area in areas.items() if area and scores[z] >= best - AS_SURE), key=lambda z: areas[z])
        seed = Seed(surest, labels[surest] == instance.label)
        targets.append(Target(found.concept, (seed,), instance.score, slices, fresh))
    return targets


def drawn_targets(
    concept: str, prompts: TargetPrompts, stack: SliceStack, slices: range, fresh: FreshDetections | None = None
) -> list[Target]:
    """One target per object that a person showed.

    All marks of a concept show one object, unless several positive boxes lie on the same slice: those are as many
    objects, and a point belongs to the one whose box holds it, else to the first.

    A box on several slices ends the object where it ends. Negative boxes are negative clicks in their middle: the
    tracker knows no others.

    Raises:
        InputError: something lies outside of the volume, or nothing shows where the object is.
    """
    boxes = boxes_on(stack, prompts.boxes) if prompts.reading is BoxReading.ONLY_THIS_ONE else ()
    points = [*points_on(stack, prompts.points), *_middles([box for box in boxes if not box.positive])]
    drawn = drawn_on(stack, prompts.masks)
    groups = _grouped([box for box in boxes if box.positive]) or [[]]
    shown = any(point.positive for point in points) or any(mask.any() for mask in drawn.values()) or any(groups)
    if not shown:
        raise InputError(
            "All that was drawn says what is not '{concept}'; show on one slice at least where it is.", concept=concept
        )
    owners = [_owner(point, groups) for point in points]
    targets = []
    for number, group in enumerate(groups):
        own = [point for point, owner in zip(points, owners, strict=True) if owner == number or not point.positive]
        masks = drawn if number == 0 else {}
        targets.append(_drawn_target(concept, group, own, masks, slices, fresh))
    return targets


def box_seeds_from_detections(target: Target, fresh: FreshDetections, stack: SliceStack) -> Target:
    """The target with what was detected in a box in place of the box, where both agree.

    Boxes with points, and boxes that no detection fills, are left to the tracker.
    """
    seeds = []
    for seed in target.seeds:
        if seed.points is not None and seed.points.box is not None and not seed.points.points:
            detected, overlap = fresh.best_match(seed.slice_index, _filled(seed.points.box, stack.slice_shape))
            if detected is not None and overlap >= FILLS_BOX:
                seed = Seed(seed.slice_index, mask=detected)
        seeds.append(seed)
    return replace(target, seeds=tuple(seeds))


def _filled(box: BoxFractions, shape: tuple[int, int]) -> Mask:
    """The pixels ``[row, column]`` of a box."""
    rows, columns = shape
    mask = np.zeros(shape, bool)
    left, right = int(np.floor(box[0] * columns)), int(np.ceil(box[2] * columns))
    top, bottom = int(np.floor(box[1] * rows)), int(np.ceil(box[3] * rows))
    mask[top:bottom, left:right] = True
    return mask


def _drawn_target(
    concept: str,
    boxes: Sequence[BoxOnSlices],
    points: Sequence[PointOnSlice],
    drawn: Mapping[int, Mask],
    slices: range,
    fresh: FreshDetections | None,
) -> Target:
    seeds = [Seed(index, mask=mask, drawn=True) for index, mask in drawn.items()]
    box_at = {box.middle: box.box for box in boxes}
    corrections: list[PointOnSlice] = []
    for index in sorted({*box_at, *(point.slice_index for point in points)} - drawn.keys()):
        here = [point for point in points if point.slice_index == index]
        if index not in box_at and not any(point.positive for point in here):
            corrections += here
            continue
        places = tuple((point.x, point.y) for point in here)
        labels = tuple(int(point.positive) for point in here)
        seeds.append(Seed(index, points=PointPrompt(places, labels, box_at.get(index))))
    seeds.sort(key=lambda seed: seed.slice_index)
    deep = [box.slices for box in boxes if len(box.slices) > 1]
    if deep:
        allowed = range(min(part.start for part in deep), max(part.stop for part in deep))
        slices = range(max(slices.start, allowed.start), min(slices.stop, allowed.stop))
    return Target(concept, tuple(seeds), 1.0, slices, fresh, tuple(corrections), shown=True)


def _middles(boxes: Sequence[BoxOnSlices]) -> list[PointOnSlice]:
    """A negative click in the middle of each box."""
    return [
        PointOnSlice(box.middle, (box.box[0] + box.box[2]) / 2, (box.box[1] + box.box[3]) / 2, False) for box in boxes
    ]


def _grouped(boxes: Sequence[BoxOnSlices]) -> list[list[BoxOnSlices]]:
    """Boxes by object: those on one slice are different objects, those on different slices the same if they overlap.

    Where there is one box a slice at most they all show one object.
    """
    groups: list[list[BoxOnSlices]] = []
    several = len({box.middle for box in boxes}) < len(boxes)
    for box in sorted(boxes, key=lambda box: box.middle):
        free = [group for group in groups if all(other.middle != box.middle for other in group)]
        if several:
            free = [group for group in free if _box_iou(group[-1].box, box.box) >= _SAME_BOX]
        if free:
            max(free, key=lambda group: _box_iou(group[-1].box, box.box)).append(box)
        else:
            groups.append([box])
    return groups


def _owner(point: PointOnSlice, groups: Sequence[Sequence[BoxOnSlices]]) -> int:
    for number, group in enumerate(groups):
        for box in group:
            x0, y0, x1, y1 = box.box
            if point.slice_index in box.slices and x0 <= point.x <= x1 and y0 <= point.y <= y1:
                return number
    return 0


def _box_iou(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)
