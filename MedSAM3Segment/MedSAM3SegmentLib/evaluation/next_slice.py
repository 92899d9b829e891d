"""What drawing the suggested slice is worth, against drawing any other slice that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.volume import Volume

from .metrics import dice


@dataclass(frozen=True)
class NextSliceGain:
    """By how much the Dice coefficient of the whole object rises.

    Attributes:
        suggested: when the suggested slice is drawn.
        random: when a random slice that is wrong is drawn.
    """

    suggested: float
    random: float


def gain_of_next_slice(
    segmenter: SegmenterProtocol,
    volume: Volume,
    stack: SliceStack,
    truth: BoolMask,
    drawn: Sequence[int],
    rng: np.random.Generator,
) -> NextSliceGain | None:
    """Draw one more slice of an object, the suggested one or a random wrong one; None where nothing is wrong.

    Args:
        truth: bool ``[slice, row, column]``.
        drawn: slices that are drawn before.
    """
    before = _filled(segmenter, volume, stack, truth, drawn)
    mask = stack.extract(before.mask)
    wrong = np.flatnonzero((mask != truth).any(axis=(1, 2))).tolist()
    suggested = before.next_slice
    if suggested is None or not wrong:
        return None
    start = dice(mask, truth)
    gains = []
    for index in (suggested.slice_index, int(rng.choice(wrong))):
        after = _filled(segmenter, volume, stack, truth, sorted({*drawn, index}))
        gains.append(dice(stack.extract(after.mask), truth) - start)
    return NextSliceGain(*gains)


def _filled(
    segmenter: SegmenterProtocol, volume: Volume, stack: SliceStack, truth: BoolMask, drawn: Sequence[int]
) -> ConceptResult:
    mask = np.zeros_like(truth)
    mask[list(drawn)] = truth[list(drawn)]
    marks = MaskPromptRAS(np.ascontiguousarray(stack.insert(mask)), tuple(drawn))
    prompts = {"object": TargetPrompts(masks=(marks,), is_phrase=False)}
    request = SegmentRequest(("object",), plane=stack.plane, mode=Mode.FROM_PROMPTS, prompts=prompts)
    return segmenter.segment(volume, request).concepts[0]
