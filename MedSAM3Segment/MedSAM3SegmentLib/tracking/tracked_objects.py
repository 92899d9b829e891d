"""What to follow through a stack, and where to begin: what a person drew, or what was detected where it is surest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.box_ops import box_iou
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.models.tracker_types import MaskPrompt, PointPrompt
from MedSAM3SegmentLib.prompts.prompts import BoxReading, TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import (
    BoxFractions,
    SliceBox,
    SlicePoint,
    boxes_on,
    drawn_on,
    points_on,
)
from MedSAM3SegmentLib.results.result import ConceptResult

from .detection_agreement import DetectionAgreement

#: Slices that score this close to the best one are as sure; the one among them with the largest area is begun with.
AS_SURE = 0.05

#: A detection is what a box shows if it fills this much of it and lies in it (intersection over union; an ellipse that
#: touches all four sides has 0.79).
FILLS_BOX = 0.5

#: Boxes of neighboring slices show the same object from this intersection over union on.
_SAME_BOX = 0.3


@dataclass(frozen=True, eq=False)
class ConditioningPrompt:
    """An object, shown on one slice.

    Attributes:
        mask: bool ``[row, column]`` at the volume's resolution, or None where points or a box show it.
        points: points or a box, or None where a mask shows it.
        drawn: whether a person drew the mask, so that it must come back as it is.
    """

    slice_index: int
    mask: BoolMask | None = None
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
class TrackedObject:
    """One object to be followed.

    Attributes:
        concept: what it is an object of.
        seeds: where it is shown.
        score: how sure that is; 1 where a person showed it.
        slices: it is followed on these only.
        agreement: detections to check with, or None.
        corrections: clicks on slices that no seed is on; they change what was tracked there.
        shown: whether a person showed it.
    """

    concept: str
    seeds: tuple[ConditioningPrompt, ...]
    score: float
    slices: range
    agreement: DetectionAgreement | None = None
    corrections: tuple[SlicePoint, ...] = ()
    shown: bool = False


def detected_objects(
    found: ConceptResult, stack: SliceStack, slices: range, agreement: DetectionAgreement | None
) -> list[TrackedObject]:
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
        seed = ConditioningPrompt(surest, labels[surest] == instance.label)
        targets.append(TrackedObject(found.concept, (seed,), instance.score, slices, agreement))
    return targets


def drawn_objects(
    concept: str, prompts: TargetPrompts, stack: SliceStack, slices: range, agreement: DetectionAgreement | None = None
) -> list[TrackedObject]:
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
        targets.append(_drawn_target(concept, group, own, masks, slices, agreement))
    return targets


def masks_of_drawn_boxes(target: TrackedObject, agreement: DetectionAgreement, stack: SliceStack) -> TrackedObject:
    """The target with what was detected in a box in place of the box, where both agree.

    Boxes with points, and boxes that no detection fills, are left to the tracker.
    """
    seeds = []
    for seed in target.seeds:
        if seed.points is not None and seed.points.box is not None and not seed.points.points:
            detected, overlap = agreement.best_match(seed.slice_index, _filled(seed.points.box, stack.slice_shape))
            if detected is not None and overlap >= FILLS_BOX:
                seed = ConditioningPrompt(seed.slice_index, mask=detected)
        seeds.append(seed)
    return replace(target, seeds=tuple(seeds))


def _filled(box: BoxFractions, shape: tuple[int, int]) -> BoolMask:
    """The pixels ``[row, column]`` of a box."""
    rows, columns = shape
    mask = np.zeros(shape, bool)
    left, right = int(np.floor(box[0] * columns)), int(np.ceil(box[2] * columns))
    top, bottom = int(np.floor(box[1] * rows)), int(np.ceil(box[3] * rows))
    mask[top:bottom, left:right] = True
    return mask


def _drawn_target(
    concept: str,
    boxes: Sequence[SliceBox],
    points: Sequence[SlicePoint],
    drawn: Mapping[int, BoolMask],
    slices: range,
    agreement: DetectionAgreement | None,
) -> TrackedObject:
    seeds = [ConditioningPrompt(index, mask=mask, drawn=True) for index, mask in drawn.items()]
    box_at = {box.middle: box.box for box in boxes}
    corrections: list[SlicePoint] = []
    for index in sorted({*box_at, *(point.slice_index for point in points)} - drawn.keys()):
        here = [point for point in points if point.slice_index == index]
        if index not in box_at and not any(point.positive for point in here):
            corrections += here
            continue
        places = tuple((point.x, point.y) for point in here)
        labels = tuple(int(point.positive) for point in here)
        seeds.append(ConditioningPrompt(index, points=PointPrompt(places, labels, box_at.get(index))))
    seeds.sort(key=lambda seed: seed.slice_index)
    deep = [box.slices for box in boxes if len(box.slices) > 1]
    if deep:
        allowed = range(min(part.start for part in deep), max(part.stop for part in deep))
        slices = range(max(slices.start, allowed.start), min(slices.stop, allowed.stop))
    return TrackedObject(concept, tuple(seeds), 1.0, slices, agreement, tuple(corrections), shown=True)


def _middles(boxes: Sequence[SliceBox]) -> list[SlicePoint]:
    """A negative click in the middle of each box."""
    return [
        SlicePoint(box.middle, (box.box[0] + box.box[2]) / 2, (box.box[1] + box.box[3]) / 2, False) for box in boxes
    ]


def _grouped(boxes: Sequence[SliceBox]) -> list[list[SliceBox]]:
    """Boxes by object: those on one slice are different objects, those on different slices the same if they overlap.

    Where there is one box a slice at most they all show one object.
    """
    groups: list[list[SliceBox]] = []
    several = len({box.middle for box in boxes}) < len(boxes)
    for box in sorted(boxes, key=lambda box: box.middle):
        free = [group for group in groups if all(other.middle != box.middle for other in group)]
        if several:
            free = [group for group in free if box_iou(group[-1].box, box.box) >= _SAME_BOX]
        if free:
            max(free, key=lambda group: box_iou(group[-1].box, box.box)).append(box)
        else:
            groups.append([box])
    return groups


def _owner(point: SlicePoint, groups: Sequence[Sequence[SliceBox]]) -> int:
    for number, group in enumerate(groups):
        for box in group:
            x0, y0, x1, y1 = box.box
            if point.slice_index in box.slices and x0 <= point.x <= x1 and y0 <= point.y <= y1:
                return number
    return 0
