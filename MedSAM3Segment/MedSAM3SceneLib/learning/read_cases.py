"""From chosen segments of the scene to files that a learning job reads, in steps that the window does not feel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap, content_version, lattice_of, oriented_image, voxels_of
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, labelmap_mask
from MedSAM3SceneLib.mrml.volumes import SceneVolume, read_in_steps
from MedSAM3SceneLib.segments.completed import is_completed
from MedSAM3SceneLib.segments.edited_slices import WrittenSlices, changed_slices, read_written
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.engine.learning.job_folder import JobFolder
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.prompts.drawn_plane import drawn_plane
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .learnable_segments import LearnableSegment

if TYPE_CHECKING:
    from MedSAM3SegmentLib.datasets.labelled_case import LabelledSlices

#: Copying this much takes a millisecond or a few.
_BYTES_A_STEP = 2**20


@dataclass(frozen=True, eq=False)
class _Labelmap:
    """A copy of the voxels of a labelmap, which other segments may share, and where they lie."""

    voxels: NDArray[Any]
    corner: NDArray[np.int64]
    lattice: Matrix


@dataclass(frozen=True, eq=False)
class _SegmentContent:
    """What a segment holds and remembers, read from the scene."""

    phrase: str
    labelmap: _Labelmap
    value: int
    written: WrittenSlices | None
    is_completed: bool


def write_cases(chosen: Sequence[LearnableSegment], folder: JobFolder) -> StepGenerator[tuple[str, ...]]:
    """Write the volumes with their chosen segments into the folder of a job, one file for each segmentation.

    Args:
        chosen: at least one; in the order of the scene.

    Returns:
        The modalities of the volumes, each once, those that are known.

    Raises:
        InputError: a node is gone or cannot be used, was changed meanwhile, or nothing in it is a person's work.
    """
    groups = [list(some) for _, some in groupby(chosen, key=lambda one: one.segmentation_node.GetID())]
    modalities: dict[str, None] = {}
    for number, group in enumerate(groups, start=1):
        node, volume_node = group[0].segmentation_node, group[0].volume_node
        require_node(node)
        placed = yield from read_in_steps(volume_node)
        contents = yield from _read_segments(node, group)
        to_segmentation = grid_to_segmentation(node, volume_node, placed)
        prepare = partial(_write, folder, number, node.GetName(), placed, contents, to_segmentation)
        yield from run_in_thread(prepare)
        if placed.volume.modality:
            modalities[placed.volume.modality] = None
    return tuple(modalities)


def _read_segments(node: Any, group: Sequence[LearnableSegment]) -> StepGenerator[list[_SegmentContent]]:
    """A copy of what segments hold, some slices a step."""
    segmentation = node.GetSegmentation()
    version = content_version(segmentation)
    copies: dict[str, _Labelmap] = {}
    contents = []
    for one in group:
        segment = one.segment
        labelmap = None if segment is None else binary_labelmap(segment)
        if labelmap is None or labelmap.IsEmpty():
            raise InputError(
                "The segment '{segment}' was removed or emptied; choose again what to learn.", segment=one.phrase
            )
        address = str(labelmap.__this__)
        if address not in copies:
            copies[address] = yield from _copy(labelmap)
        contents.append(
            _SegmentContent(
                one.phrase, copies[address], segment.GetLabelValue(), read_written(segment), is_completed(segment)
            )
        )
    if content_version(segmentation) != version:
        raise InputError("The segmentation '{name}' was changed while it was read; try again.", name=node.GetName())
    return contents


def _copy(labelmap: Any) -> StepGenerator[_Labelmap]:
    shared = voxels_of(labelmap)
    copied = np.empty_like(shared)
    slab = max(1, _BYTES_A_STEP // max(1, shared[:1].nbytes))
    for first in range(0, len(shared), slab):
        copied[first : first + slab] = shared[first : first + slab]
        yield WORKING
    return _Labelmap(copied, np.array(labelmap.GetExtent()[::2]), lattice_of(labelmap))


def _write(
    folder: JobFolder,
    number: int,
    name: str,
    placed: SceneVolume,
    contents: Sequence[_SegmentContent],
    to_segmentation: Matrix,
) -> None:
    """On a thread: masks on the voxels of the volume, which slices a person looked at, and the file.

    Args:
        name: of the segmentation, for sentences.
        to_segmentation: from ``grid_to_segmentation``.
    """
    # They need packages that are there once the panel has installed them.
    from MedSAM3SegmentLib.datasets.segmented_volumes import SegmentedVolume
    from MedSAM3SegmentLib.engine.learning.case_file import write_case

    grid = placed.volume.grid
    masks: dict[str, BoolMask] = {}
    pairs: list[tuple[_SegmentContent, BoolMask]] = []
    for content in contents:
        part = content.labelmap
        block = part.voxels == content.value
        if not block.any():
            raise InputError("The segment '{segment}' is empty; draw it, or leave it out.", segment=content.phrase)
        mask = labelmap_mask(oriented_image(block, part.corner, part.lattice), grid, to_segmentation)
        if not mask.any():
            raise InputError(
                "The segment '{segment}' has no voxel in its volume; leave it out, or choose the source volume in the "
                "Segment Editor.",
                segment=content.phrase,
            )
        asked = prompt_for(content.phrase)
        if asked in masks:
            raise InputError(
                "Two segments of '{name}' mean '{segment}'; leave one of them out.", name=name, segment=content.phrase
            )
        masks[asked] = mask
        pairs.append((content, mask))
    plane, labelled = _labelled_slices(name, pairs, grid)
    write_case(folder.data, number, SegmentedVolume(placed.volume, masks, labelled, plane))


def _labelled_slices(
    name: str, pairs: Sequence[tuple[_SegmentContent, BoolMask]], grid: VoxelGrid
) -> tuple[Plane, LabelledSlices]:
    """In which plane a segmentation is learnt from, and on which of its slices a person looked.

    All, where each segment is marked as completed. Else those that a person drew or corrected since the program wrote
    it, and of segments that the program did not write those with a voxel, in the plane that they were drawn in.

    Raises:
        InputError: segments were made along different planes, or nothing is a person's work.
    """
    planes = {content.written.plane for content, _ in pairs if content.written is not None}
    if len(planes) > 1:
        raise InputError(
            "The segments of '{name}' were segmented along different planes; learn from those of one plane at a time.",
            name=name,
        )
    own = SliceStack.along(grid)
    plane = next(iter(planes), Plane.ACQUIRED)
    if not planes:
        drawn = drawn_plane(own, [mask for _, mask in pairs])
        plane = Plane.ACQUIRED if drawn is None else drawn[0]
    if all(content.is_completed for content, _ in pairs):
        return plane, "all"
    stack = SliceStack.along(grid, plane)
    labelled = {index for content, mask in pairs for index in changed_slices(content.written, mask, stack)}
    if not labelled:
        raise InputError(
            "Nothing in '{name}' was drawn or corrected since the program wrote it, so that there is nothing to learn; "
            "correct slices, or mark the segments as completed where all of it is right.",
            name=name,
        )
    return plane, frozenset(labelled)
