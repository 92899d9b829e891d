"""Which slices of a segment a person drew or corrected since the program wrote it.

What the program wrote is remembered as one short checksum per slice, in a tag of the segment, so it follows the
segment into files. A slice that differs was edited; without a memory all that is there was drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack

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


def parse_written(text: str) -> WrittenSlices | None:
    """What the tag of a segment says; None where that is nothing, or nothing readable."""
    try:
        memory = json.loads(text)
        checksums = {int(index): str(checksum) for index, checksum in memory["checksums"].items()}
        scores = {int(index): float(score) for index, score in memory.get("scores", {}).items()}
        return WrittenSlices(Plane(memory["plane"]), int(memory["count"]), checksums, scores)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def format_written(written: WrittenSlices) -> str:
    """What ``parse_written`` reads."""
    memory = {
        "plane": written.plane.value,
        "count": written.count,
        "checksums": dict(written.checksums),
        "scores": dict(written.scores),
    }
    return json.dumps(memory, separators=(",", ":"))


def changed_slices(written: WrittenSlices | None, mask: BoolMask, stack: SliceStack) -> tuple[int, ...]:
    """The slices of ``stack`` that a person drew, corrected or emptied, in rising order.

    Args:
        written: what the segment remembers.
        mask: what it holds now, bool ``[k, j, i]`` on the stack's grid.
        stack: how it is cut. What was written along another plane tells nothing here, so all slices with a voxel
            count as drawn then.
    """
    there = slice_checksums(mask, stack)
    if written is None or written.plane is not stack.plane or written.count != stack.count:
        return tuple(sorted(there))
    before = written.checksums
    return tuple(sorted(index for index in there.keys() | before.keys() if there.get(index) != before.get(index)))


def slice_checksums(mask: BoolMask, stack: SliceStack) -> dict[int, str]:
    """A checksum of each slice that has a voxel."""
    slices = stack.extract(mask)
    filled = np.flatnonzero(slices.any(axis=(1, 2)))
    return {
        int(index): hashlib.blake2b(np.packbits(slices[index]).tobytes(), digest_size=5).hexdigest() for index in filled
    }
