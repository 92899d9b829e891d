"""What a result would take the place of that no run brings back: edits, and slices that are not looked at this time.

It is found before anything is written, so that whoever made it can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.labelmaps import content_of, content_version
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, labelmap_mask
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.messages.message import Message

from .edited_slices import (
    WrittenSlices,
    changed_slices,
    is_edited_in,
    read_written,
)
from .provenance import read_provenance

#: Asked with the names of edited and of completed segments; False when they shall stay as they are.
ConfirmReplace = Callable[[Sequence[str]], bool]

#: Segments as they were once, from ``labelmaps.content_version``.
Version = tuple[tuple[str, str, int], ...]


def edited_segments(
    segmentation_node: Any,
    segment_ids: Iterable[str],
    volume_node: Any,
    placed: SceneVolume,
    left: Version = (),
    looked_at: BoolMask | None = None,
    only_there: bool = False,
) -> StepGenerator[tuple[str, ...]]:
    """The names of segments that hold what a person drew, or had the effect do, since a run wrote them.

    Args:
        segmentation_node: a vtkMRMLSegmentationNode.
        segment_ids: those that count; any that are gone by now are left out.
        volume_node: what they were found in.
        placed: as it was read.
        left: segments as the last run left those that it wrote; which are still like that need not be looked at.
        looked_at: bool ``[k, j, i]``; segments with voxels elsewhere are named too. None for all of the volume.
        only_there: whether all elsewhere stays, so that only edits where ``looked_at`` is set count.

    Raises:
        InputError: a parent transform of either node is non-linear.
    """
    segmentation, grid = segmentation_node.GetSegmentation(), placed.volume.grid
    lattice = grid_to_segmentation(segmentation_node, volume_node, placed)
    known = left if looked_at is None or only_there else ()
    touched = {name for name, *_ in {*known} ^ {*content_version(segmentation)}}
    present = [segmentation.GetSegment(name) for name in dict.fromkeys(segment_ids) if name in touched]
    edited: list[str] = []
    for segment in filter(None, present):
        name, written, content = str(segment.GetName()), read_written(segment), content_of(segment)
        provenance = read_provenance(segment) or {}
        others = provenance.get("joined_to")
        by_effect = "action" in provenance or (isinstance(others, dict) and "action" in others and not only_there)
        is_edited = partial(_is_edited, content, written, grid, lattice, looked_at, only_there)
        if by_effect or (yield from run_in_thread(is_edited)):
            edited.append(name)
    return tuple(edited)


def _is_edited(
    content: Any | None,
    written: WrittenSlices | None,
    grid: VoxelGrid,
    lattice: Matrix,
    looked_at: BoolMask | None,
    only_there: bool,
) -> bool:
    """Whether a segment that holds ``content`` is not as the program wrote it, or larger; touches no scene."""
    mask = labelmap_mask(content, grid, lattice)
    if only_there and looked_at is not None:
        return is_edited_in(looked_at, written, mask, grid)
    if looked_at is not None and (mask & ~looked_at).any():
        return True
    stack = SliceStack.along(grid) if written is None else SliceStack.along(grid, written.plane)
    return bool(changed_slices(written, mask, stack))


def confirm_writing(
    edited: Sequence[str], completed: Sequence[str], may_replace: ConfirmReplace | None, refused: Message
) -> None:
    """Make sure that segments may be written which hold what a person did or are marked as completed.

    Args:
        edited, completed: their names.
        may_replace: asked once for all of them; None where there is nobody to ask.
        refused: what is said where only edits are refused.

    Raises:
        InputError: one is completed and there is nobody to ask.
        Cancelled: the answer was no.
    """
    if completed and may_replace is None:
        raise InputError(
            "The segment '{name}' is marked as completed, so nothing was written into it; pass replaceCompleted=True, "
            "change its status, or choose another segmentation.",
            name=completed[0],
        )
    names = tuple(dict.fromkeys((*edited, *completed)))
    if not names or may_replace is None or may_replace(names):
        return
    if completed:
        raise Cancelled("Nothing was written, and what is completed is as it was.")
    raise Cancelled(refused)
