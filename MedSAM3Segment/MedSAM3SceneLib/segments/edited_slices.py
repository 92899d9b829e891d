"""Which slices of a segment a person drew or corrected since the program wrote it.

What the program wrote is remembered as one short checksum per slice, in a tag of the segment, so it follows the
segment through undo and redo and into files. A slice that differs was edited; without a memory all that is there was
drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.voxel_grid import Plane, SliceStack

#: The tag of a segment that holds the checksums.
WRITTEN_TAG = "MedSAM3.WrittenSlices"


@dataclass(frozen=True)
class WrittenSlices:
    """What the program wrote into a segment.

    Attributes:
        plane: the stack was cut in.
        count: slices the stack had.
        checksums: of each slice with a voxel, by its index; ``""`` for slices that a person drew.
        scores: how sure each of these slices was, where that is known.
    """

    plane: Plane
    count: int
    checksums: Mapping[int, str]
    scores: Mapping[int, float] = field(default_factory=dict)


def edited_slices(segment: Any, mask: NDArray[np.bool_], stack: SliceStack) -> tuple[int, ...]:
    """The slices of ``stack`` that a person drew, corrected or emptied, in rising order.

    Args:
        segment: a vtkSegment.
        mask: what it holds now, bool ``[k, j, i]`` on the stack's grid.
        stack: how it is cut. What was written along another plane tells nothing here, so all slices with a voxel
            count as drawn then.
    """
    return changed_slices(read_written(segment), mask, stack)


def changed_slices(written: WrittenSlices | None, mask: NDArray[np.bool_], stack: SliceStack) -> tuple[int, ...]:
    """As ``edited_slices`` of what ``read_written`` gave; touches no scene."""
    there = _checksums(mask, stack)
    if written is None or written.plane is not stack.plane or written.count != stack.count:
        return tuple(sorted(there))
    before = written.checksums
    return tuple(sorted(index for index in there.keys() | before.keys() if there.get(index) != before.get(index)))


def written_slices(
    mask: NDArray[np.bool_], stack: SliceStack, drawn: tuple[int, ...] = (), scores: Mapping[int, float] | None = None
) -> WrittenSlices:
    """What a segment that holds ``mask`` now is to remember as written by the program; touches no scene.

    Args:
        mask: bool ``[k, j, i]`` on the stack's grid.
        drawn: slices that a person drew, which count as edited from now on too.
        scores: how sure each slice is, of any slices.
    """
    checksums = _checksums(mask, stack)
    known = {index: round(score, 2) for index, score in (scores or {}).items() if index in checksums}
    # No slice has the empty checksum, so one that was emptied by hand stays edited too.
    return WrittenSlices(stack.plane, stack.count, checksums | dict.fromkeys(drawn, ""), known)


def write_written(segment: Any, written: WrittenSlices) -> None:
    """Keep ``written`` on ``segment`` (a vtkSegment)."""
    memory = {"plane": written.plane.value, "count": written.count, "checksums": dict(written.checksums)}
    memory["scores"] = dict(written.scores)
    segment.SetTag(WRITTEN_TAG, json.dumps(memory, separators=(",", ":")))


def read_written(segment: Any) -> WrittenSlices | None:
    """What was kept on ``segment`` (a vtkSegment); None where nothing was, or nothing readable."""
    text = vtk.reference("")
    if not segment.GetTag(WRITTEN_TAG, text):
        return None
    try:
        memory = json.loads(str(text))
        checksums = {int(index): str(checksum) for index, checksum in memory["checksums"].items()}
        scores = {int(index): float(score) for index, score in memory.get("scores", {}).items()}
        return WrittenSlices(Plane(memory["plane"]), int(memory["count"]), checksums, scores)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _checksums(mask: NDArray[np.bool_], stack: SliceStack) -> dict[int, str]:
    """A checksum of each slice that has a voxel."""
    slices = stack.extract(mask)
    filled = np.flatnonzero(slices.any(axis=(1, 2)))
    return {
        int(index): hashlib.blake2b(np.packbits(slices[index]).tobytes(), digest_size=5).hexdigest() for index in filled
    }
