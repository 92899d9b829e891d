"""Keeping a round: what it found becomes ordinary segments of a segmentation of its own."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap_name, content_of
from MedSAM3SceneLib.mrml.segmentation_nodes import new_segmentation, visibilities_kept
from MedSAM3SegmentLib.errors import InputError

from .added_nodes import AddedNodes, AddedSegmentation
from .request_folder import place_beside, put_into
from .round_record import DISBELIEVED, NOT, REJECTED, ROLE_TAG, TARGET_TAG, volume_of_round


def keep_round(round_node: Any, writer: SegmentWriter) -> Any:
    """A new segmentation with what a round holds now, but for what is not meant; one step of the undo history.

    Segments keep their names, colors, terminology and provenance.

    Raises:
        InputError: the node is no round, its volume is gone, or it holds nothing to keep.
    """
    volume_node = volume_of_round(round_node)
    source = round_node.GetSegmentation()
    kept = [one for one in map(str, source.GetSegmentIDs()) if _is_meant(source.GetSegment(one))]
    if not kept:
        raise InputError("'{name}' holds nothing to keep; go on from it, or choose another.", name=round_node.GetName())
    scene = round_node.GetScene()
    node = new_segmentation(volume_node)
    with visibilities_kept(scene, but=node):
        names = ", ".join(str(source.GetSegment(one).GetName()) for one in kept)
        node.SetName(scene.GenerateUniqueName(f"{volume_node.GetName()}: {names}"))
        node.GetSegmentation().SetSourceRepresentationName(binary_labelmap_name())
        parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        node.GetSegmentation().SetConversionParameter(parameter, source.GetConversionParameter(parameter))
        for segment_id in kept:
            _copy_segment(source.GetSegment(segment_id), segment_id, node.GetSegmentation())
    place = place_beside(volume_node)
    put_into(place, node)
    step = AddedNodes(scene, added=[AddedSegmentation(node, None, place)])
    display = round_node.GetDisplayNode()
    if display is not None and display.GetVisibility():
        # Shown twice, each would hide the other.
        display.SetVisibility(False)
        step.hidden.append(display)
    writer.add_step(step)
    return node


def _is_meant(segment: Any) -> bool:
    """Whether a segment is kept: neither what is not meant, nor empty."""
    role = vtk.reference("")
    is_left_out = segment.GetTag(ROLE_TAG, role) and str(role) in (DISBELIEVED, REJECTED)
    return not (is_left_out and str(segment.GetName()).startswith(NOT)) and content_of(segment) is not None


def _copy_segment(segment: Any, segment_id: str, target: Any) -> None:
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    copy.SetLabelValue(1)
    for tag in (ROLE_TAG, TARGET_TAG):
        copy.RemoveTag(tag)
    # A labelmap of its own, which later edits of the round do not reach.
    copy.AddRepresentation(binary_labelmap_name(), content_of(segment))
    target.AddSegment(copy, segment_id)
