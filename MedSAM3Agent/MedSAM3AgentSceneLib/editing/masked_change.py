"""What masking of a Segment Editor leaves of a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from MedSAM3AgentLib.editing.regions import filled_region
from MedSAM3SceneLib.coroutines import StepGenerator, run_in_thread
from MedSAM3SceneLib.editing.masking import protected_voxels
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, message

from .edited_segments import EditedSegment


def keep_protected(
    editor: Any, target: EditedSegment, before: BoolMask, pieces: Sequence[EditedSegment]
) -> StepGenerator[list[Message]]:
    """Give a segment back what a command changed where nothing may be edited; pieces of it lose as much.

    Masks by other segments are those before the command.

    Args:
        editor: a vtkMRMLSegmentEditorNode that is masking.
        before: what the segment held, bool ``[k, j, i]``.
        pieces: what was split off.

    Returns:
        What there is to say of it.

    Raises:
        InputError: the intensity range of the editor has no volume.
        Cancelled: segment, segmentation or volume were removed meanwhile.
    """
    if not target.segment_id:
        return []
    if editor.GetSourceVolumeIntensityMask() and editor.GetSourceVolumeNode() is None:
        raise InputError("The editable intensity range needs a source volume; select one in the Segment Editor.")
    region = yield from run_in_thread(lambda: filled_region(before ^ target.mask))
    if region is None:
        return []
    first = target.block.first + np.array([part.start for part in reversed(region)])
    shape = tuple(part.stop - part.start for part in region)
    protected = yield from protected_voxels(editor, target.segment_id, target.block.lattice, first, shape)

    def restore() -> int:
        changed = before[region] ^ target.mask[region]
        kept = target.mask.copy()
        kept[region] = np.where(protected, before[region], kept[region])
        target.mask = kept
        everywhere = np.zeros(kept.shape, bool)
        everywhere[region] = protected
        for piece in pieces:
            start = (piece.block.first - target.block.first)[::-1]
            there = tuple(slice(at, at + size) for at, size in zip(start, piece.mask.shape, strict=True))
            piece.mask = piece.mask & ~everywhere[there]
        return int(np.count_nonzero(changed & protected))

    count = yield from run_in_thread(restore)
    if not count:
        return []
    return [message("Masking kept {count} voxels of '{name}' as they were.", count=count, name=target.name)]
