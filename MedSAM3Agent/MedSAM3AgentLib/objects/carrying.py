"""What an edited slice changes on the others: what the model carries from it, as far as that is to be believed.

Carried objects go astray where they touch another one, and cut off parts that were right. So what was there is kept,
but for slices near an edited one that show the same and come closer to its shape, gaps towards it, and pieces that do
not belong to it. What each of these is worth was measured with the demo model: docs/agent-evaluation.md.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.mask_ops import mask_iou
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.tracking.correction import NOT_RELIED_ON

from .agreement import SAME_IOU

#: A slice comes nearer to one that was drawn where its overlap with it (intersection over union) rises by this much.
#: Chosen on 41 structures of phantoms 200100 to 200106 (5 mm, demo model): none got worse by it, with 0 two did.
_NEARER = 0.05


def carried_over(
    held: BoolMask, left: BoolMask, carried: BoolMask, edited: Collection[int], stack: SliceStack, *, is_single: bool
) -> BoolMask:
    """What a structure holds after slices of it were edited and carried through the stack.

    Args:
        held: what it held before, bool ``[k, j, i]``; all False where a person drew it.
        left: what it holds now, edits included.
        carried: what the model carried from the edited slices.
        edited: slices that were edited; they stay as they were left.
        is_single: whether it is one thing, so that pieces the model does not follow are another.
    """
    if not held.any():
        return carried
    before, drawn, followed = stack.extract(held), stack.extract(left), stack.extract(carried)
    new = drawn.copy()
    for index in range(stack.count):
        nearest = min(edited, key=lambda one: abs(one - index))
        if index in edited or abs(nearest - index) > NOT_RELIED_ON or not before[index].any():
            continue
        was, becomes = (mask_iou(one[index], drawn[nearest]) for one in (before, followed))
        if becomes > was + _NEARER and mask_iou(followed[index], before[index]) >= SAME_IOU:
            new[index] = followed[index]
    _fill_gaps(new, before, followed, edited)
    if is_single:
        labels, _ = ndimage.label(drawn)
        # Whatever the model follows, or a person edited, is the structure.
        meant = np.union1d(np.unique(labels[followed]), np.unique(labels[list(edited)]))
        new &= (labels == 0) | np.isin(labels, meant)
    return np.ascontiguousarray(stack.insert(new))


def _fill_gaps(new: NDArray[np.bool_], before: BoolMask, followed: BoolMask, edited: Collection[int]) -> None:
    """Fill slices without the object from one that a person added towards those that had it, and beyond its end."""
    for added in (index for index in edited if not before[index].any() and new[index].any()):
        for step in (1, -1):
            index = added + step
            while 0 <= index < len(new) and not before[index].any() and index not in edited:
                if not _goes_on(followed[index], new[index - step]):
                    break
                new[index] = followed[index]
                index += step


def _goes_on(mask: BoolMask, neighbor: BoolMask) -> bool:
    """Whether a slice goes on from its neighbor: mostly over it, and not much larger."""
    size = int(np.count_nonzero(mask))
    shared, beside = int(np.count_nonzero(mask & neighbor)), int(np.count_nonzero(neighbor))
    return size > 0 and 2 * shared >= size and size <= 1.5 * beside
