"""How two segmentations differ: overlap, volumes, and what was added and taken away, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import slicer

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread, run_steps_to_end
from MedSAM3SceneLib.editing.write_result import check_segmentation_node
from MedSAM3SceneLib.mrml.segmentation_nodes import require_present
from MedSAM3SceneLib.mrml.transforms import node_to_node
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import joined, message

from .beside_view import BesideView
from .segment_pairs import named_segments, pair_segments

__all__ = ["BesideView", "SegmentComparison", "compare_in_steps", "compare_segmentations"]


@dataclass(frozen=True)
class SegmentComparison:
    """One segment in two segmentations.

    Attributes:
        name: that both have; numbered where one segmentation has several of that name.
        dice: twice what both hold of what each holds, 0 to 1; 1 where both hold nothing.
        volume_first_ml, volume_second_ml: milliliters, 0 where a segmentation has no such segment.
        added_ml, removed_ml: what only the second, or only the first, holds.
        note: what there is to know of it, sentences; mostly empty.
    """

    name: str
    dice: float
    volume_first_ml: float
    volume_second_ml: float
    added_ml: float
    removed_ml: float
    note: str = ""


def compare_segmentations(first_node: Any, second_node: Any) -> list[SegmentComparison]:
    """Compare two segmentation nodes by the names of their segments, with the window alive.

    Each segment has its volume on voxels of its own, to the voxel. Where the voxels of two do not coincide, overlap is
    counted on the finer ones, with the nearest voxels of the other. Transforms count.

    Returns:
        Those of the first in its order, then those that only the second has.

    Raises:
        InputError: a node is no segmentation, is under a non-linear transform, or its segments are not label maps.
        Cancelled: a node was removed meanwhile.
    """
    return run_steps_to_end(compare_in_steps(first_node, second_node), slicer.app.processEvents)


def compare_in_steps(first_node: Any, second_node: Any) -> StepGenerator[list[SegmentComparison]]:
    """As ``compare_segmentations``, in short steps."""
    for node in (first_node, second_node):
        check_segmentation_node(node)
    second_to_first = node_to_node(second_node, first_node)
    first, second = named_segments(first_node), named_segments(second_node)
    compared = []
    for name in dict.fromkeys([*first, *second]):
        work = partial(_compare, name, first.get(name), second.get(name), second_to_first)
        compared.append((yield from run_in_thread(work)))
        for node in (first_node, second_node):
            require_present(node)
    return compared


def _compare(name: str, first: Any | None, second: Any | None, second_to_first: Matrix) -> SegmentComparison:
    notes = []
    if first is None:
        notes.append(message("Only the second has it."))
    if second is None:
        notes.append(message("Only the first has it."))
    pair = pair_segments(first, second, second_to_first)
    if pair is None:
        # Nothing is nothing; but a segment that is not there is not the same as an empty one.
        dice = 0.0 if notes else 1.0
        said = notes or [message("Both are empty, which counts as the same.")]
        return SegmentComparison(name, dice, 0.0, 0.0, 0.0, 0.0, str(joined(said)))
    one, other = pair.volume_first_mm3, pair.volume_second_mm3
    both = int(np.count_nonzero(pair.first & pair.second))
    shared = min(both * pair.voxel_mm3, one, other)
    if not pair.is_exact:
        notes.append(message("Their voxels do not coincide; the nearest ones were compared."))
    return SegmentComparison(
        name,
        2 * shared / (one + other),
        one / 1000,
        other / 1000,
        (other - shared) / 1000,
        (one - shared) / 1000,
        str(joined(notes)),
    )
