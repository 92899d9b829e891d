"""Changing the voxels of one segment as Slicer's own tools do, with masking and overwrite mode honoured.

All voxels go through vtkSlicerSegmentEditorLogic. What it leaves to its caller is done here: it takes for granted that
modifier, segment and reference geometry stand on one lattice, and quietly resamples neighbours or does nothing at all
where they do not.
"""

from __future__ import annotations

from typing import Any, Protocol

import slicer

from MedSAM3SegmentLib.grid import Matrix

from .frames import matrix_of
from .labelmaps import (
    binary_labelmap,
    binary_labelmap_name,
    content_of,
    lattice_of,
    padded_labelmap,
    resampled_labelmap,
)


class VoxelTool(Protocol):
    """Whoever changes the voxels of segments: the logic of Slicer's Segment Editor, directly or through an effect."""

    def set_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Make the segment hold ``labelmap``, as masking and overwrite mode allow."""
        ...

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Take ``labelmap`` away from the segment, whatever masking says."""
        ...


def is_masking(editor: Any) -> bool:
    """Whether a vtkMRMLSegmentEditorNode says that not all voxels may be edited."""
    everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    return bool(editor.GetMaskMode() != everywhere or editor.GetSourceVolumeIntensityMask())


def reference_lattice(segmentation: Any) -> Matrix | None:
    """``(i, j, k, 1)`` to RAS of the voxels that Slicer edits ``segmentation`` on; None while none were chosen."""
    if not slicer.vtkSlicerSegmentEditorLogic.GetReferenceImageGeometryStringFromSegmentation(segmentation):
        return None
    return lattice_of(reference_image(segmentation))


def modify_segment(editor: Any, segment_id: str, labelmap: Any, tool: VoxelTool) -> None:
    """Make a segment hold ``labelmap``, as far as masking allows, and take it from neighbours as overwriting wants.

    Args:
        editor: the vtkMRMLSegmentEditorNode that ``tool`` works with; its segmentation holds the segment.
        labelmap: on the lattice the segment is to stand on.
        tool: changes the voxels. It is asked once, unless neighbours stand on other lattices.
    """
    segmentation_node = editor.GetSegmentationNode()
    segmentation = segmentation_node.GetSegmentation()
    _stand_on_lattice(segmentation, segment_id, lattice_of(labelmap))
    if is_masking(editor):
        # What the segment holds where masking forbids editing is kept only as far as the modifier reaches.
        labelmap = padded_labelmap(labelmap, binary_labelmap(segmentation.GetSegment(segment_id)))
        _include_in_reference(segmentation, labelmap)
    overwritten = _overwritten(editor, segment_id)
    apart = [other for other in overwritten if not _is_on_lattice(segmentation, other, lattice_of(labelmap))]
    mode = editor.GetOverwriteMode()
    if apart:
        # The editor would resample a whole neighbour to erase a part of it.
        editor.SetOverwriteMode(editor.OverwriteNone)
    try:
        tool.set_voxels(segment_id, labelmap)
    finally:
        editor.SetOverwriteMode(mode)
    if apart:
        written = content_of(segmentation.GetSegment(segment_id))
        for other in overwritten if written is not None else ():
            present = binary_labelmap(segmentation.GetSegment(other))
            if not present.IsEmpty():
                tool.remove_voxels(other, resampled_labelmap(written, lattice_of(present)))


def _overwritten(editor: Any, segment_id: str) -> list[str]:
    """The other segments that lose the voxels written into ``segment_id``."""
    if editor.GetOverwriteMode() == editor.OverwriteNone:
        return []
    segmentation_node = editor.GetSegmentationNode()
    others = [other for other in segmentation_node.GetSegmentation().GetSegmentIDs() if other != segment_id]
    if editor.GetOverwriteMode() == editor.OverwriteVisibleSegments:
        display = segmentation_node.GetDisplayNode()
        others = [other for other in others if display is not None and display.GetSegmentVisibility(other)]
    return others


def reference_image(segmentation: Any) -> Any:
    """The lattice that Slicer edits ``segmentation`` on, as an oriented image without voxels."""
    geometry = slicer.vtkSlicerSegmentEditorLogic.GetReferenceImageGeometryStringFromSegmentation(segmentation)
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, image, False)
    return image


def _include_in_reference(segmentation: Any, labelmap: Any) -> None:
    """Let the reference geometry reach as far as ``labelmap``, which is on the same lattice.

    The editor's masks end where the reference geometry ends, and what lies beyond would count as editable.
    """
    reference = reference_image(segmentation)
    old, new = reference.GetExtent(), labelmap.GetExtent()
    whole = [(min, max)[end % 2](old[end], new[end]) for end in range(6)]
    if tuple(whole) != old:
        converter = slicer.vtkSegmentationConverter
        reference.SetExtent(whole)
        geometry = converter.SerializeImageGeometry(reference)
        segmentation.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)


def _is_on_lattice(segmentation: Any, segment_id: str, lattice: Matrix) -> bool:
    """Whether the labelmap of ``segment_id`` is on ``lattice``, or empty and on none."""
    labelmap = binary_labelmap(segmentation.GetSegment(segment_id))
    wanted = slicer.vtkOrientedImageData()
    wanted.SetImageToWorldMatrix(matrix_of(lattice))
    return bool(labelmap.IsEmpty() or slicer.vtkOrientedImageDataResample.DoGeometriesMatch(labelmap, wanted))


def start_empty(segmentation: Any, segment_id: str) -> None:
    """Give a segment that shares its labelmap with no other an empty one in its place."""
    sharing: list[str] = []
    segmentation.GetSegmentIDsSharingBinaryLabelmapRepresentation(segment_id, sharing, False)
    if not sharing:
        segmentation.GetSegment(segment_id).AddRepresentation(binary_labelmap_name(), slicer.vtkOrientedImageData())


def _stand_on_lattice(segmentation: Any, segment_id: str, lattice: Matrix) -> None:
    """Move ``segment_id`` to a labelmap of its own on ``lattice`` where it shares or has one on another lattice.

    Otherwise the editor would resample all segments of the shared labelmap, and erase the old content at wrong places.
    """
    if _is_on_lattice(segmentation, segment_id, lattice):
        return
    segmentation.SeparateSegmentLabelmap(segment_id)
    segment = segmentation.GetSegment(segment_id)
    labelmap = binary_labelmap(segment)
    if not labelmap.IsEmpty():
        # Replaced, not changed: a change of the old one would remove the 3D surfaces of all segments.
        segment.AddRepresentation(binary_labelmap_name(), resampled_labelmap(labelmap, lattice))
