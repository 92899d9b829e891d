"""Regions that a user chose in the scene, as the engine's words on the voxels of one volume.

Boxes and masks are carried through the parent transforms of both nodes, so that they end up on the voxels that they
cover in the slice views.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np

from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap
from MedSAM3SceneLib.mrml.nodes import require_node
from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation, segment_mask
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_world, require_linear
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SceneLib.segments.edited_slices import edited_slices, is_remembered
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, MaskPromptRAS, TargetPrompts


def box_of_roi(roi_node: Any, volume_node: Any, placed: SceneVolume) -> BoxPromptRAS:
    """The box of a markups ROI, in the frame of ``placed``.

    Raises:
        InputError: the node is no box, has no size, or is under a non-linear transform.
    """
    require_node(roi_node)
    if not roi_node.IsA("vtkMRMLMarkupsROINode"):
        raise InputError(
            "'{region}' is not a region of interest; draw one in the Markups module.", region=roi_node.GetName()
        )
    require_linear(roi_node)
    size = np.array(roi_node.GetSize())
    if not (size > 0).all():
        raise InputError("The region '{region}' has no size; draw it, or choose no region.", region=roi_node.GetName())
    world_to_volume = np.linalg.inv(node_to_world(volume_node) @ placed.to_node)
    to_volume = world_to_volume @ array_of(roi_node.GetObjectToWorldMatrix())
    corners = [to_volume @ np.array([*(np.array(ends) * size / 2), 1.0]) for ends in product((-1, 1), repeat=3)]
    return BoxPromptRAS(tuple((float(x), float(y), float(z)) for x, y, z, _ in corners))


def mask_of_segment(segmentation_node: Any, segment_id: str, volume_node: Any, placed: SceneVolume) -> BoolMask:
    """A segment as bool ``[k, j, i]`` on the voxels of ``placed``.

    Raises:
        InputError: the segment is not there, is empty or is no label map, or a parent transform is non-linear.
    """
    segmentation = segmentation_node.GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    if segment is None:
        raise InputError(
            "'{segmentation}' has no segment '{segment_id}'; choose another one.",
            segmentation=segmentation_node.GetName(),
            segment_id=segment_id,
        )
    if binary_labelmap(segment) is None:
        raise InputError(
            "The segment '{segment}' is stored as {representation}; create its Binary labelmap in the "
            "Segmentations module, or choose another one.",
            segment=segment.GetName(),
            representation=segmentation.GetSourceRepresentationName(),
        )
    ijk_to_segmentation = grid_to_segmentation(segmentation_node, volume_node, placed)
    mask = segment_mask(segment, placed.volume.grid, ijk_to_segmentation)
    if not mask.any():
        raise InputError(
            "The segment '{segment}' has no voxel in the volume; choose another one.", segment=segment.GetName()
        )
    return mask


def drawn_prompts(
    segmentation_node: Any, concepts: Iterable[str], volume_node: Any, placed: SceneVolume, stack: SliceStack
) -> dict[str, TargetPrompts]:
    """What was drawn in the segment of each concept's name, for concepts that have one with something in it.

    Where several have the name, as after a run beside what was drawn for it, it is the one that was changed last.
    Slices count that were drawn or corrected since the program wrote the segment; all of them where none was.

    Args:
        stack: how the volume will be cut.
    """
    prompts: dict[str, TargetPrompts] = {}
    ijk_to_segmentation = grid_to_segmentation(segmentation_node, volume_node, placed)
    segmentation = segmentation_node.GetSegmentation()
    for concept in concepts:
        named = [segmentation.GetSegment(segment_id) for segment_id in segment_ids_named(segmentation, concept)]
        for segment in sorted(filter(binary_labelmap, named), key=_changed_at, reverse=True):
            mask = segment_mask(segment, placed.volume.grid, ijk_to_segmentation)
            if mask.any():
                # Without a memory of these slices all count, and the engine looks in which plane they were drawn.
                slices = edited_slices(segment, mask, stack) if is_remembered(segment, stack) else ()
                prompts[concept] = TargetPrompts(masks=(MaskPromptRAS(mask, slices or None),), is_phrase=False)
                break
    return prompts


def segment_ids_named(segmentation: Any, name: str) -> list[str]:
    """The IDs of all segments of a vtkSegmentation that have a name, in capitals or not; Slicer would give any one."""
    wanted = name.strip().casefold()
    ids = [str(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    return [one for one in ids if str(segmentation.GetSegment(one).GetName() or "").strip().casefold() == wanted]


def _changed_at(segment: Any) -> int:
    """When voxels of ``segment`` (a vtkSegment) were changed, or of those that share its labelmap; later is more."""
    return int(binary_labelmap(segment).GetMTime())
