"""What a person did to a round since it was written: slices edited, segments deleted, renamed or added, a region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import vtk

from MedSAM3AgentLib.going_on import renamed
from MedSAM3AgentLib.planning.seeds import Seeds, TargetSeed
from MedSAM3AgentLib.targets import Plan, Structure, Target, target_of
from MedSAM3AgentLib.transcript import recorded_proposal
from MedSAM3SceneLib.coroutines import WORKING, StepGenerator
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap, content_of
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, labelmap_mask
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_world
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SceneLib.requests.drawn_prompts import box_of_roi
from MedSAM3SceneLib.segments.edited_slices import WrittenSlices, changed_slices, read_written
from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.provenance import Provenance
from MedSAM3SegmentLib.search_region import box_of
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

from .packed_mask import unpack_mask
from .round_record import NOT, REJECTED, ROLE_TAG, TARGET_TAG, read_record


@dataclass(frozen=True, eq=False)
class HeldSegment:
    """What a segment of a round holds now.

    Attributes:
        name: that it has now.
        role, target: that it was written with; empty where a person made it.
        content: from ``labelmaps.content_of``.
        written: what the agent wrote into it.
        provenance: where it came from, or None.
    """

    name: str
    role: str
    target: str
    content: Any | None
    written: WrittenSlices | None
    provenance: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """A markups ROI on the voxels of a volume.

    Attributes:
        box: in the frame of the volume's grid, its corners.
        to_roi: 4x4 from voxel index ``(i, j, k, 1)`` to the ROI's own axes, whose box reaches from -1 to 1.
    """

    box: BoxPromptRAS
    to_roi: Matrix


@dataclass(frozen=True, eq=False)
class HeldRound:
    """A round as it stands in the scene.

    Attributes:
        record: what was kept of it.
        segments: by ID.
        ijk_to_segmentation: from voxels of the volume to the node's frame.
    """

    record: Mapping[str, Any]
    segments: Mapping[str, HeldSegment]
    ijk_to_segmentation: Matrix


def read_round(node: Any, volume_node: Any, placed: SceneVolume) -> StepGenerator[HeldRound]:
    """What a round's node holds, one segment a step.

    Raises:
        InputError: what was kept of it is gone, a segment is no label map, or a parent transform is non-linear.
    """
    record = read_record(node)
    yield WORKING
    if not record.get("targets"):
        raise InputError(
            "What '{name}' was made from is not in the scene any more; ask again in place of going on.",
            name=node.GetName(),
        )
    segmentation = node.GetSegmentation()
    ijk_to_segmentation = grid_to_segmentation(node, volume_node, placed)
    held = {}
    for segment_id in map(str, segmentation.GetSegmentIDs()):
        segment = segmentation.GetSegment(segment_id)
        if binary_labelmap(segment) is None:
            raise InputError(
                "The segment '{segment}' is stored as {representation}; create its Binary labelmap in the "
                "Segmentations module.",
                segment=segment.GetName(),
                representation=segmentation.GetSourceRepresentationName(),
            )
        held[segment_id] = HeldSegment(
            str(segment.GetName()),
            _tag(segment, ROLE_TAG),
            _tag(segment, TARGET_TAG),
            content_of(segment),
            read_written(segment),
            read_provenance(segment),
        )
        yield WORKING
    return HeldRound(record, held, ijk_to_segmentation)


def read_region(roi_node: Any, volume_node: Any, placed: SceneVolume) -> DrawnRegion:
    """A markups ROI on the voxels of a volume.

    Raises:
        InputError: the node is no box, has no size, or is under a non-linear transform.
    """
    box = box_of_roi(roi_node, volume_node, placed)
    to_world = node_to_world(volume_node) @ placed.to_node @ placed.volume.grid.ijk_to_ras
    half = np.diag([*(2 / np.array(roi_node.GetSize())), 1.0])
    return DrawnRegion(box, half @ np.linalg.inv(array_of(roi_node.GetObjectToWorldMatrix())) @ to_world)


def region_mask(region: DrawnRegion, grid: VoxelGrid) -> BoolMask:
    """The voxels ``[k, j, i]`` whose centers lie in a region. Touches no scene.

    Raises:
        InputError: it is outside of the volume.
    """
    mask = np.zeros(grid.shape, bool)
    k_range, j_range, i_range = box_of(region.box, grid)
    j, i = np.arange(j_range.start, j_range.stop)[:, None], np.arange(i_range.start, i_range.stop)[None]
    for k in range(k_range.start, k_range.stop):
        inside = np.ones((j.size, i.size), bool)
        for row in region.to_roi[:3]:
            inside &= np.abs(row[0] * i + row[1] * j + row[2] * k + row[3]) <= 1 + 1e-6
        mask[k, j_range, i_range] = inside
    if not mask.any():
        raise InputError("The region holds no voxel of the volume; make it larger or move it.")
    return mask


def seeds_of(
    held: HeldRound,
    stack: SliceStack,
    text: str,
    container: BoolMask | None,
    vocabulary: Vocabulary,
    first_number: int,
) -> Seeds:
    """What the agent goes on from. Touches no scene; takes a while.

    Args:
        stack: how the volume is cut.
        text: as typed.
        container: what was drawn around, or None.

    Raises:
        InputError: what was kept of the round does not fit the volume.
    """
    try:
        return _Seeding(held, stack, container, vocabulary).seeds(text, first_number)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "What was kept of the round does not fit its volume; ask again in place of going on."
        ) from None


def provenance_by_target(held: HeldRound) -> dict[str, dict[str, Any]]:
    """The provenance of each target's segment."""
    return {one.target: one.provenance for one in held.segments.values() if one.target and one.provenance}


@dataclass(frozen=True, eq=False)
class _Seeding:
    held: HeldRound
    stack: SliceStack
    container: BoolMask | None
    vocabulary: Vocabulary

    def seeds(self, text: str, first_number: int) -> Seeds:
        shape = self.stack.grid.shape
        targets: dict[str, TargetSeed] = {}
        added = {
            segment.name: segment
            for segment in self.held.segments.values()
            if not segment.role and segment.content is not None
        }
        for entry in self.held.record["targets"]:
            seed = self._seed_of(entry, shape, added)
            targets[seed.target.name] = seed
        for name, segment in added.items():
            target = renamed(Target(Structure(name)), name, self.vocabulary)
            if target.name not in targets:
                targets[target.name] = self._drawn(target, segment)
        provenance = Provenance.from_dict(self.held.record["provenance"])
        plan = Plan(tuple(seed.target for seed in targets.values()))
        return Seeds(plan, targets, text, self.container, provenance, first_number)

    def _seed_of(
        self, entry: Mapping[str, Any], shape: tuple[int, int, int], added: dict[str, HeldSegment]
    ) -> TargetSeed:
        target, name = target_of(entry["target"]), str(entry["name"])
        before = unpack_mask(entry["mask"], shape)
        earlier = recorded_proposal(entry["proposal"], target, before)
        rejected = self._rejected(name)
        segment = self.held.segments.get(entry["segment"]) if entry["segment"] else None
        drawn = added.pop(name, None)
        is_sought = self.container is not None
        if drawn is not None and segment is None:
            # A person made it anew in place of what was deleted, or not found.
            return replace(self._drawn(target, drawn), rejected=rejected)
        if segment is None:
            if entry["segment"]:
                rejected, is_sought = _united(rejected, before), True
            empty = np.zeros(shape, bool)
            kept = None if is_sought else earlier
            return TargetSeed(target, empty, rejected=rejected, earlier=kept, is_sought=is_sought)
        mask = self._mask(segment)
        if drawn is not None:
            mask |= self._mask(drawn)
        if segment.name != name:
            target, is_sought = renamed(target, segment.name, self.vocabulary), True
        if not mask.any() and before.any():
            return TargetSeed(target, mask, rejected=_united(rejected, before), is_sought=True)
        edited = changed_slices(segment.written, mask, self.stack)
        if not np.array_equal(mask, before):
            differing = self.stack.extract(mask != before).any(axis=(1, 2))
            edited = tuple(sorted({*edited, *np.flatnonzero(differing).tolist()}))
            is_edited = True
        else:
            is_edited = False
        scores = {} if segment.written is None else segment.written.scores
        earlier = replace(earlier, slice_scores=scores)
        return TargetSeed(target, mask, edited, is_edited, scores, rejected, earlier, is_sought)

    def _drawn(self, target: Target, segment: HeldSegment) -> TargetSeed:
        """A segment that a person made: all of it was drawn."""
        mask = self._mask(segment)
        slices = np.flatnonzero(self.stack.extract(mask).any(axis=(1, 2))).tolist()
        return TargetSeed(target, mask, tuple(slices), bool(slices))

    def _mask(self, segment: HeldSegment) -> BoolMask:
        return labelmap_mask(segment.content, self.stack.grid, self.held.ijk_to_segmentation)

    def _rejected(self, target: str) -> BoolMask | None:
        """What a person rejected before; a segment of it that is deleted, or named otherwise, takes that back."""
        rejected = None
        for segment in self.held.segments.values():
            is_rejected = segment.role == REJECTED and segment.name.startswith(NOT)
            if is_rejected and segment.target == target and segment.content is not None:
                rejected = _united(rejected, self._mask(segment))
        return rejected


def _united(first: BoolMask | None, second: BoolMask) -> BoolMask:
    return second if first is None else first | second


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""
