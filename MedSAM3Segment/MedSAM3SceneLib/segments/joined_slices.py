"""What is remembered of a segment in which a run wrote some slices anew and left the others as they were.

Touches no scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack, VoxelGrid

from .edited_slices import WrittenSlices, changed_slices, written_slices


def remembered_of_both(
    before: WrittenSlices | None,
    held: NDArray[np.bool_],
    holds: NDArray[np.bool_],
    region: NDArray[np.bool_],
    stack: SliceStack,
    score: float | None,
    is_masked: bool = False,
) -> WrittenSlices:
    """What a segment is to remember as written by the program, so that what a person edited elsewhere stays known.

    It stays in the plane of the run before, whichever plane this one was in.

    Args:
        before: what was remembered until now; None where all counts as drawn.
        held, holds: what it held, and holds now, bool ``[k, j, i]``.
        region: the voxels that were written anew, bool ``[k, j, i]``.
        stack: how the volume was cut to write them.
        score: how sure what was written is, where that is known.
        is_masked: whether masking may have kept there what a person did, which then stays known.
    """
    earlier = stack if before is None else SliceStack.along(stack.grid, before.plane)
    if before is None or before.count != earlier.count:
        before = WrittenSlices(earlier.plane, earlier.count, {})
    anew = {int(index) for index in np.flatnonzero(earlier.extract(region).all(axis=(1, 2)))}
    edited = set(changed_slices(before, held, earlier)) - (set() if is_masked else anew)
    scores = {index: sure for index, sure in before.scores.items() if index not in anew}
    if score is not None:
        scores |= dict.fromkeys(anew, score)
    now = written_slices(holds, earlier, scores=scores)
    checksums = {index: checksum for index, checksum in now.checksums.items() if index not in edited}
    checksums |= {index: before.checksums[index] for index in edited if index in before.checksums}
    return WrittenSlices(now.plane, now.count, checksums, now.scores)


def is_edited_in(
    region: NDArray[np.bool_], written: WrittenSlices | None, mask: NDArray[np.bool_], grid: VoxelGrid
) -> bool:
    """Whether a person drew, corrected or emptied a slice of a segment that ``region`` has a part of.

    Args:
        region: bool ``[k, j, i]``.
        written: what the segment remembers.
        mask: what it holds, bool ``[k, j, i]``.
    """
    stack = SliceStack.along(grid) if written is None else SliceStack.along(grid, written.plane)
    changed = list(changed_slices(written, mask, stack))
    return bool(changed and stack.extract(region)[changed].any())


def provenance_of_both(new: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """The provenance of a segment that holds a slice of one run in what another one wrote.

    Returns:
        ``new`` with the other's under ``joined_to``: that of the first, where several slices were written anew.
    """
    first = (before or {}).get("joined_to", before)
    if not isinstance(first, dict) or all(first.get(key) == new.get(key) for key in ("created", "slices")):
        # The same run at another threshold.
        return new
    return new | {"joined_to": first}
