"""The study of propagation: how well a model makes volumes of stacks by the engine's own modes.

One mask on the middle slice carried through, without and with the organ's name; ``propagate`` against ``slices`` on
clean slices and where a third is spoiled; an organ's worst slice corrected and carried to its neighbors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.synthetic.phantom import ORGANS
from MedSAM3SegmentLib.tracking.correction import correction_request
from MedSAM3SegmentLib.volume import Volume

from .phantom_cases import spoil_volume
from .study import Study, StudyQuestion, ends_of, measure_ends

MASK, MASK_AND_WORD = "mask on one slice", "mask and word"
SLICES, PROPAGATE = "slices", "propagate"
BEFORE, AFTER = "before correction", "worst slice corrected"
CLEAN, SPOILED = "clean", "a third spoiled"
CAME_BACK = "corrected slices that came back to the voxel"

#: Slices on each side of a corrected one that count as its neighbors.
_NEIGHBORS = 3


def _predict(asked: StudyQuestion) -> Iterator[Prediction]:
    if not asked.references:
        return
    for method in (MASK, MASK_AND_WORD):
        if asked.wants(method, CLEAN):
            yield from _carried(asked, method)
    for condition in (CLEAN, SPOILED):
        if condition in asked.conditions:
            yield from _by_modes(asked, condition)


def _carried(asked: StudyQuestion, method: str) -> Iterator[Prediction]:
    """Every organ given on its middle slice; the others count."""
    stack, prompts, others = asked.stack, {}, {}
    for organ, mask in asked.masks.items():
        middle = sum(ends_of(stack.extract(mask))) // 2
        given = np.zeros(mask.shape, bool)
        stack.extract(given)[middle] = stack.extract(mask)[middle]
        prompts[organ] = TargetPrompts(masks=(MaskPromptRAS(given),), is_phrase=method == MASK_AND_WORD)
        others[organ] = [index for index in range(stack.count) if index != middle]
    mode = Mode.PROPAGATE if method == MASK_AND_WORD else Mode.FROM_PROMPTS
    request = SegmentRequest(tuple(prompts), plane=Plane.AXIAL, mode=mode, prompts=prompts)
    for one in asked.segment(request).concepts:
        ends = measure_ends(stack.extract(one.mask), stack.extract(asked.masks[one.concept]))
        counting = asked.counting(one.concept, others[one.concept])
        yield Prediction(one.concept, Prompt(method, CLEAN), one.mask, reference=counting, measured=ends)


def _by_modes(asked: StudyQuestion, condition: str) -> Iterator[Prediction]:
    """Both modes on the clean or the spoiled volume, and corrections of the spoiled one."""
    is_spoiled = condition == SPOILED
    volume = spoil_volume(asked.volume, asked.masks, asked.seed) if is_spoiled else asked.volume
    request = SegmentRequest(tuple(asked.references), plane=Plane.AXIAL)
    if asked.wants(PROPAGATE):
        for one in asked.segment(replace(request, mode=Mode.PROPAGATE), volume).concepts:
            yield Prediction(one.concept, Prompt(PROPAGATE, condition), one.mask)
    corrects = is_spoiled and (asked.wants(BEFORE) or asked.wants(AFTER))
    if asked.wants(SLICES) or corrects:
        result = asked.segment(request, volume)
        if asked.wants(SLICES):
            for one in result.concepts:
                yield Prediction(one.concept, Prompt(SLICES, condition), one.mask)
        if corrects:
            yield from _corrected(asked, volume, request, result)


def _corrected(
    asked: StudyQuestion, volume: Volume, request: SegmentRequest, result: SegmentResult
) -> Iterator[Prediction]:
    """Each organ's worst slice drawn as it should be; the slices around it count, before and after."""
    stack = asked.stack
    for one in result.concepts:
        truth, found = stack.extract(asked.masks[one.concept]), stack.extract(one.mask)
        first, last = ends_of(truth)
        worst = min(range(first, last + 1), key=lambda index, f=found, t=truth: dice(f[index], t[index]))  # type: ignore[misc]
        fixed = one.mask.copy()
        stack.extract(fixed)[worst] = truth[worst]
        near = range(max(first, worst - _NEIGHBORS), min(last, worst + _NEIGHBORS) + 1)
        counting = asked.counting(one.concept, [index for index in near if index != worst])
        if asked.wants(BEFORE):
            yield Prediction(one.concept, Prompt(BEFORE, SPOILED), one.mask, reference=counting)
        if asked.wants(AFTER):
            again = asked.segment(correction_request(request, result, one.concept, fixed, [worst]), volume).concepts[0]
            kept = {CAME_BACK: float(np.array_equal(stack.extract(again.mask)[worst], truth[worst]))}
            yield Prediction(one.concept, Prompt(AFTER, SPOILED), again.mask, reference=counting, measured=kept)


PROPAGATION = Study(
    "propagation",
    _predict,
    (MASK, MASK_AND_WORD, SLICES, PROPAGATE, BEFORE, AFTER),
    (CLEAN, SPOILED),
    seeds=(200000, 200006),
    spacing=5.0,
    concepts=ORGANS,
    groups={"organs": ORGANS},
    compared=((PROPAGATE, SLICES), (AFTER, BEFORE)),
)
