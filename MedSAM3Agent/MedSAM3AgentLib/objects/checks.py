"""Verdicts by computation: what speaks for and against a mask without any model looking at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MedSAM3AgentLib.session import Check
from MedSAM3AgentLib.targets import Target
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.preprocessing.windowing import is_ct
from MedSAM3SegmentLib.units import format_milliliters, is_plain_picture
from MedSAM3SegmentLib.volume import Volume

from .agreement import Opinion, claimed_by
from .anatomy import expected_organ
from .candidates import MOSTLY, Measures, measure
from .sides import side_of

#: A single organ may have pieces beside its largest with this share of its voxels in all; more is doubted.
_PIECES = 0.25

#: Most of a volume that one structure may fill.
_FILLS = 0.5

#: A finding that differs from what is around it by less than this many standard deviations of it is doubted.
_CONTRAST = 0.35

#: A finding this thin along the stack is doubted, millimeters.
_THIN_MM = 4.0


@dataclass(frozen=True, eq=False)
class CheckContext:
    """What checks compare a mask with.

    Attributes:
        volume, stack: what was segmented, and how it was cut.
        target: what was asked for.
        organ: phrase of the vocabulary for it, or empty where it is no organ.
        is_finding: whether it is a finding in an organ.
        midline: R of the body's middle in millimeters, or None.
        container: of the target, filled, or None; all False where it was not found.
        confusers: masks of what is easily taken for it, by phrase.
        wordings: how many of its wordings gave anything.
    """

    volume: Volume
    stack: SliceStack
    target: Target
    organ: str
    is_finding: bool
    midline: float | None
    container: BoolMask | None
    confusers: Mapping[str, BoolMask]
    wordings: int


def check_mask(context: CheckContext, opinion: Opinion) -> tuple[Check, ...]:
    """All checks that can be made of a mask; an empty one has none."""
    measures = measure(opinion.mask, context.volume, context.stack)
    if measures is None:
        return ()
    return tuple(_checks(context, opinion, measures))


def _checks(context: CheckContext, opinion: Opinion, measures: Measures) -> Iterator[Check]:
    mask, target = opinion.mask, context.target
    if context.wordings > 1:
        agree = opinion.support * 2 > context.wordings
        said = message("{agreeing} of {count} wordings gave this.", agreeing=opinion.support, count=context.wordings)
        yield Check("wordings", agree, said)
    other = claimed_by(mask, context.confusers)
    if context.confusers:
        said = (
            message("'{phrase}' gave the same mask.", phrase=other)
            if other
            else message("No similar structure gave the same mask.")
        )
        yield Check("confusers", not other, said)
    if target.structure.side and context.midline is not None:
        side, share = side_of(mask, context.volume.grid, context.midline)
        is_there = side is target.structure.side and share >= MOSTLY
        yield Check("side", is_there, message("{share:.0f} % lie on the {side}.", share=100 * share, side=side.value))
    if context.container is not None:
        share = np.count_nonzero(mask & context.container) / np.count_nonzero(mask)
        yield Check("container", bool(share >= MOSTLY), message("{share:.0f} % lie in the organ.", share=100 * share))
    filled = np.count_nonzero(mask) / mask.size
    yield Check("extent", bool(filled <= _FILLS), message("It fills {share:.0f} % of the volume.", share=100 * filled))
    if not is_plain_picture(context.volume):
        yield from _anatomy_checks(context, mask, measures)


def _anatomy_checks(context: CheckContext, mask: BoolMask, measures: Measures) -> Iterator[Check]:
    expected = expected_organ(context.organ, both_sides=_means_both(context))
    if expected is not None:
        is_cut = touches_stack_end(mask, context.stack)
        size = measures.volume_ml
        fits = size <= expected.most_ml and (size >= expected.least_ml or is_cut)
        words = message("It has {volume}.", volume=format_milliliters(1000 * size))
        yield Check("size", bool(fits), words)
        if expected.ct_hu is not None and is_ct(context.volume):
            low, high = expected.ct_hu
            hu = measures.mean_intensity
            yield Check("intensity", low <= hu <= high, message("Its mean is {hu:.0f} HU.", hu=hu))
        if expected.is_single:
            rest = _share_beside_largest(mask)
            said = message("{share:.0f} % lie apart from its largest piece.", share=100 * rest)
            yield Check("pieces", rest <= _PIECES, said)
    if context.is_finding:
        thickness = (measures.slices[1] - measures.slices[0] + 1) * context.stack.spacing[0]
        if context.stack.count > 1:
            said = message("It reaches over {length:.0f} mm.", length=thickness)
            yield Check("thickness", thickness > _THIN_MM, said)
        contrast = contrast_with_surroundings(mask, context.volume, context.container)
        said = message("It differs from what is around it by {sigma:.1f} standard deviations.", sigma=contrast)
        yield Check("contrast", contrast >= _CONTRAST, said)


def contrast_with_surroundings(mask: BoolMask, volume: Volume, container: BoolMask | None) -> float:
    """How far the mean of a mask is from that of a shell around it, in standard deviations of the shell.

    Args:
        container: where the shell is cut, or None.
    """
    array = volume.array if volume.array.ndim == 3 else volume.array.mean(axis=3)
    shell = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask, iterations=1)
    if container is not None and np.count_nonzero(shell & container) > 20:
        shell &= container
    around = array[shell].astype(float)
    if around.size < 2 or around.std() == 0:
        return 0.0
    return float(abs(array[mask].mean() - around.mean()) / around.std())


def touches_stack_end(mask: BoolMask, stack: SliceStack) -> bool:
    """Whether a mask reaches the first or last slice, so that some of it may be missing."""
    slices = stack.extract(mask)
    return bool(slices[0].any() or slices[-1].any())


def _means_both(context: CheckContext) -> bool:
    return context.target.structure.side is None and context.organ in ("kidney", "lung", "adrenal gland")


def _share_beside_largest(mask: BoolMask) -> float:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return 0.0
    sizes = np.bincount(labels.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum())
