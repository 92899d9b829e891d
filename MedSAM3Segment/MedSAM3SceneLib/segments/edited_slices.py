"""Which slices of a segment a person drew or corrected since the program wrote it.

What the program wrote is remembered in a tag of the segment (``io.written_slices``), so it follows the segment through
undo and redo and into files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import vtk

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.written_slices import (
    WRITTEN_TAG,
    WrittenSlices,
    changed_slices,
    format_written,
    parse_written,
    slice_checksums,
)

__all__ = [
    "WRITTEN_TAG",
    "WrittenSlices",
    "changed_slices",
    "edited_slices",
    "is_edited_in",
    "is_remembered",
    "provenance_of_both",
    "read_written",
    "remembered_of_both",
    "write_written",
    "written_slices",
]


def edited_slices(segment: Any, mask: BoolMask, stack: SliceStack) -> tuple[int, ...]:
    """The slices of ``stack`` that a person drew, corrected or emptied, in rising order.

    Args:
        segment: a vtkSegment.
        mask: what it holds now, bool ``[k, j, i]`` on the stack's grid.
        stack: how it is cut. What was written along another plane tells nothing here, so all slices with a voxel
            count as drawn then.
    """
    return changed_slices(read_written(segment), mask, stack)


def is_remembered(segment: Any, stack: SliceStack) -> bool:
    """Whether it is known what the program wrote into ``segment`` (a vtkSegment) on the slices of ``stack``."""
    written = read_written(segment)
    return written is not None and written.plane is stack.plane and written.count == stack.count


def written_slices(
    mask: BoolMask, stack: SliceStack, drawn: tuple[int, ...] = (), scores: Mapping[int, float] | None = None
) -> WrittenSlices:
    """What a segment that holds ``mask`` now is to remember as written by the program; touches no scene.

    Args:
        mask: bool ``[k, j, i]`` on the stack's grid.
        drawn: slices that a person drew, which count as edited from now on too.
        scores: how sure each slice is, of any slices.
    """
    checksums = slice_checksums(mask, stack)
    known = {index: round(score, 2) for index, score in (scores or {}).items() if index in checksums}
    # No slice has the empty checksum, so one that was emptied by hand stays edited too.
    return WrittenSlices(stack.plane, stack.count, checksums | dict.fromkeys(drawn, ""), known)


def write_written(segment: Any, written: WrittenSlices) -> None:
    """Keep ``written`` on ``segment`` (a vtkSegment)."""
    segment.SetTag(WRITTEN_TAG, format_written(written))


def read_written(segment: Any) -> WrittenSlices | None:
    """What was kept on ``segment`` (a vtkSegment); None where nothing was, or nothing readable."""
    text = vtk.reference("")
    if not segment.GetTag(WRITTEN_TAG, text):
        return None
    return parse_written(str(text))


def remembered_of_both(
    before: WrittenSlices | None,
    held: BoolMask,
    holds: BoolMask,
    region: BoolMask,
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


def is_edited_in(region: BoolMask, written: WrittenSlices | None, mask: BoolMask, grid: VoxelGrid) -> bool:
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
