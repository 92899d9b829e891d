"""How well a model makes volumes of stacks, by the engine's own modes, on phantoms it has never seen.

One mask on the middle slice carried through; ``propagate`` against ``slices`` where slices are spoiled; a corrected
slice carried to its neighbors. Numbers speak of synthetic pictures only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.synthetic.corruption import corrupt_slices, stored_as
from MedSAM3SegmentLib.synthetic.phantom import (
    ORGANS,
    Contrast,
    Phantom,
    make_phantom,
    tilted_grid,
)
from MedSAM3SegmentLib.tracking.correction import correction_request
from MedSAM3SegmentLib.volume import Volume

from .metrics import dice

#: Millimetres from the first slice to the last, and rows and columns of a slice with their spacing.
_HEIGHT_MM, _PIXELS, _PIXEL_MM = 200.0, 128, 2.9

#: Slices on each side of a corrected one that count as its neighbors.
_NEIGHBOURS = 3


def phantom_with_slices(seed: int, spacing_mm: float, contrast: Contrast | None = None) -> tuple[Phantom, SliceStack]:
    """A phantom of 200 mm with slices ``spacing_mm`` apart, CT-like or MR-like as its seed decides, or as asked."""
    grid = tilted_grid((round(_HEIGHT_MM / spacing_mm) + 1, _PIXELS, _PIXELS), (_PIXEL_MM, _PIXEL_MM, spacing_mm))
    return make_phantom(seed, grid, contrast), SliceStack.along(grid, Plane.AXIAL)


def organs_of(phantom: Phantom) -> tuple[str, ...]:
    """The organs that are in ``phantom``."""
    return tuple(name for name in ORGANS if phantom.masks[name].any())


@dataclass(frozen=True)
class CarriedOrgan:
    """One organ carried from one mask on its middle slice.

    Attributes:
        dice: over the whole volume but the given slice, which comes back as it was given.
        stops: by how many slices it stopped too early (below 0) or too late, at each end inside the stack.
    """

    seed: int
    organ: str
    dice: float
    stops: tuple[int, ...]


def carry_from_middle(
    segmenter: Segmenter, seed: int, spacing_mm: float, *, in_words: bool = False
) -> list[CarriedOrgan]:
    """Give every organ of a phantom on its middle slice, and let the tracker find the rest.

    Args:
        in_words: whether the organ is named too, so that fresh detections check the tracker (mode ``propagate``);
            otherwise the drawn slice is all there is (mode ``from prompts``).
    """
    phantom, stack = phantom_with_slices(seed, spacing_mm)
    prompts, others = {}, {}
    for organ in organs_of(phantom):
        first, last = _ends(stack.extract(phantom.masks[organ]))
        given = np.zeros(phantom.masks[organ].shape, bool)
        middle = (first + last) // 2
        stack.extract(given)[middle] = stack.extract(phantom.masks[organ])[middle]
        prompts[organ] = TargetPrompts(masks=(MaskPromptRAS(given),), is_phrase=in_words)
        others[organ] = [index for index in range(stack.count) if index != middle]
    mode = Mode.PROPAGATE if in_words else Mode.FROM_PROMPTS
    request = SegmentRequest(tuple(prompts), plane=Plane.AXIAL, mode=mode, prompts=prompts)
    carried = []
    for concept in segmenter.segment(phantom.volume, request).concepts:
        truth, mask = stack.extract(phantom.masks[concept.concept]), stack.extract(concept.mask)
        true, found = _ends(truth), _ends(mask)
        misses = ((true[0] - found[0], true[0] > 0), (found[1] - true[1], true[1] < stack.count - 1))
        stops = tuple(miss for miss, inside in misses if inside)
        rest = others[concept.concept]
        carried.append(CarriedOrgan(seed, concept.concept, dice(mask[rest], truth[rest]), stops))
    return carried


def spoiled(phantom: Phantom, stack: SliceStack, seed: int, share: float = 1 / 3) -> Volume:
    """The volume with ``share`` of its slices spoiled: every other by noise, the rest without organ contrast."""
    array = phantom.volume.array.astype(np.float32)
    organs = np.logical_or.reduce(list(phantom.masks.values()))
    corrupt_slices(stack.extract(array), stack.extract(organs), share, np.random.default_rng(seed))
    return replace(phantom.volume, array=stored_as(array, phantom.volume.array.dtype))


@dataclass(frozen=True)
class ModeScore:
    """3D Dice of one organ by the modes ``slices`` and ``propagate``."""

    seed: int
    organ: str
    by_slices: float
    by_propagation: float


def compare_modes(
    segmenter: Segmenter, seed: int, spacing_mm: float, *, spoil: bool, organs: Sequence[str] = ORGANS
) -> list[ModeScore]:
    """Both modes on the same phantom, whole or with a third of its slices spoiled."""
    phantom, stack = phantom_with_slices(seed, spacing_mm)
    volume = spoiled(phantom, stack, seed) if spoil else phantom.volume
    asked = tuple(organ for organ in organs_of(phantom) if organ in organs)
    answers = [
        segmenter.segment(volume, SegmentRequest(asked, plane=Plane.AXIAL, mode=mode))
        for mode in (Mode.SLICES, Mode.PROPAGATE)
    ]
    return [
        ModeScore(seed, one.concept, *(dice(concept.mask, phantom.masks[one.concept]) for concept in (one, other)))
        for one, other in zip(answers[0].concepts, answers[1].concepts, strict=True)
    ]


@dataclass(frozen=True)
class CorrectionScore:
    """The slices around a corrected one.

    Attributes:
        before, after: Dice over the neighbors of the corrected slice.
        kept: whether the corrected slice came back as it was drawn, to the voxel.
    """

    seed: int
    organ: str
    before: float
    after: float
    kept: bool


def correct_worst_slices(segmenter: Segmenter, seed: int, spacing_mm: float) -> list[CorrectionScore]:
    """Segment a spoiled phantom by slices, draw each organ's worst slice as it should be, and propagate from there."""
    phantom, stack = phantom_with_slices(seed, spacing_mm)
    volume = spoiled(phantom, stack, seed)
    request = SegmentRequest(organs_of(phantom), plane=Plane.AXIAL)
    result = segmenter.segment(volume, request)
    scores = []
    for concept in result.concepts:
        truth, found = stack.extract(phantom.masks[concept.concept]), stack.extract(concept.mask)
        first, last = _ends(truth)
        worst = min(range(first, last + 1), key=lambda index: dice(found[index], truth[index]))
        fixed = concept.mask.copy()
        stack.extract(fixed)[worst] = truth[worst]
        again = segmenter.segment(volume, correction_request(request, result, concept.concept, fixed, [worst]))
        after = stack.extract(again.concepts[0].mask)
        near = [
            index
            for index in range(max(first, worst - _NEIGHBOURS), min(last, worst + _NEIGHBOURS) + 1)
            if index != worst
        ]
        scores.append(
            CorrectionScore(
                seed,
                concept.concept,
                dice(found[near], truth[near]),
                dice(after[near], truth[near]),
                bool(np.array_equal(after[worst], truth[worst])),
            )
        )
    return scores


def _ends(slices: BoolMask) -> tuple[int, int]:
    """First and last slice with anything on it."""
    there = np.flatnonzero(slices.any(axis=(1, 2)))
    return int(there[0]), int(there[-1])
