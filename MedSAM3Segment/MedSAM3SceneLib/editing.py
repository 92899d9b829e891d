"""Writing masks into segments as Slicer's own tools do: masking and overwrite mode honoured, one undo state per action.

All voxels go through vtkSlicerSegmentEditorLogic. What it leaves to its caller is done here: it takes for granted that
modifier, segment and reference geometry stand on one lattice, and quietly resamples neighbours or does nothing at all
where they do not.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.grid import Matrix

from .frames import matrix_of
from .labelmaps import (
    binary_labelmap,
    binary_labelmap_name,
    content_of,
    labelmap_on_lattice,
    lattice_of,
    padded_labelmap,
    resampled_labelmap,
)

#: The segment editor node of this project, one per scene, as Slicer's Segment Editor has its own.
EDITOR_TAG = "MedSAM3Segment"

_EDITOR_CLASS = "vtkMRMLSegmentEditorNode"


class VoxelTool(Protocol):
    """Whoever changes the voxels of segments: the logic of Slicer's Segment Editor, directly or through an effect."""

    def set_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Make the segment hold ``labelmap``, as masking and overwrite mode allow."""
        ...

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Take ``labelmap`` away from the segment, whatever masking says."""
        ...


class SegmentWriter:
    """Writes masks into one segmentation after another, and undoes it.

    Like Slicer's Segment Editor it remembers the undo states of the segmentation it worked on last.
    """

    def __init__(self) -> None:
        self._logic = slicer.vtkSlicerSegmentEditorLogic()

    def begin(self, segmentation_node: Any, volume_node: Any) -> None:
        """Start one action on ``segmentation_node``: take over the user's editing settings and save one undo state.

        When a Segment Editor of the scene has this segmentation open, its masking, editable intensity range and
        overwrite mode hold. Otherwise everything may be written, and segments may overlap, because phrases do: a liver
        contains its tumour.
        """
        scene = segmentation_node.GetScene()
        self._logic.SetMRMLScene(scene)
        editor = _own_editor(scene)
        theirs = _open_editor(scene, segmentation_node)
        settings = theirs or slicer.vtkMRMLSegmentEditorNode()
        editor.SetAndObserveSegmentationNode(segmentation_node)
        source = theirs.GetSourceVolumeNode() if theirs else None
        editor.SetAndObserveSourceVolumeNode(source if source and source.GetImageData() else volume_node)
        editor.SetMaskMode(settings.GetMaskMode())
        editor.SetMaskSegmentID(settings.GetMaskSegmentID())
        editor.SetSourceVolumeIntensityMask(settings.GetSourceVolumeIntensityMask())
        editor.SetSourceVolumeIntensityMaskRange(settings.GetSourceVolumeIntensityMaskRange())
        editor.SetOverwriteMode(theirs.GetOverwriteMode() if theirs else settings.OverwriteNone)
        self._logic.SetSegmentEditorNode(editor)
        self._logic.SaveStateForUndo()

    def write(self, segment_id: str, mask: NDArray[np.bool_], ijk_to_ras: Matrix) -> str:
        """Make ``segment_id`` of the segmentation given to ``begin`` hold ``mask``, as far as masking allows.

        Args:
            segment_id: an existing segment; what it held is replaced, but kept where masking forbids editing.
            mask: bool ``[k, j, i]``, not empty.
            ijk_to_ras: where its voxels lie, in the segmentation's own frame.

        Returns:
            A sentence when the mask had to be resampled, else ``""``.
        """
        # The mask of "outside other segments" leaves out the selected one.
        self._logic.SetCurrentSegmentID(segment_id)
        lattice = lattice_of(_reference_image(self._logic.GetSegmentation()))
        labelmap = labelmap_on_lattice(mask, ijk_to_ras, lattice)
        message = ""
        if labelmap is None:
            # Slicer's segments may each stand on a lattice of their own, so nothing need be resampled.
            labelmap = labelmap_on_lattice(mask, ijk_to_ras, ijk_to_ras)
            if is_masking(self._logic.GetSegmentEditorNode()):
                # Masks exist on the segmentation's lattice only.
                labelmap = resampled_labelmap(labelmap, lattice)
                message = "was resampled to the voxels of the segmentation, which are not those of the volume."
        if not is_masking(self._logic.GetSegmentEditorNode()):
            # All that it held goes; without it the editor has less to look through.
            _start_empty(self._logic.GetSegmentation(), segment_id)
        modify_segment(self._logic.GetSegmentEditorNode(), segment_id, labelmap, self)
        return message

    def clear(self, segment_id: str) -> None:
        """Take all voxels out of ``segment_id`` of the segmentation given to ``begin``, as far as masking allows."""
        content = content_of(self._logic.GetSegmentation().GetSegment(segment_id))
        if content is not None:
            self._logic.SetCurrentSegmentID(segment_id)
            remove = self._logic.ModificationModeRemove
            self._logic.ModifySegmentByLabelmap(
                self._logic.GetSegmentationNode(), segment_id, content, remove, False, False
            )

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to undo."""
        return bool(self._logic.CanUndo())

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone action to do again."""
        return bool(self._logic.CanRedo())

    def undo(self) -> bool:
        """Restore the segmentation to what it was before the last action; False when there is nothing to undo."""
        available = self.can_undo
        if available:
            self._logic.Undo()
        return available

    def redo(self) -> bool:
        """Do again what was undone; False when there is nothing to redo."""
        available = self.can_redo
        if available:
            self._logic.Redo()
        return available

    def set_voxels(self, segment_id: str, labelmap: Any) -> None:
        """See ``VoxelTool``."""
        self._modify(segment_id, labelmap, self._logic.ModificationModeSet, bypass_masking=False)

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """See ``VoxelTool``."""
        self._modify(segment_id, labelmap, self._logic.ModificationModeRemove, bypass_masking=True)

    def _modify(self, segment_id: str, labelmap: Any, mode: Any, bypass_masking: bool) -> None:
        self._logic.ModifySegmentByLabelmap(
            self._logic.GetSegmentationNode(), segment_id, labelmap, mode, False, bypass_masking
        )


def is_masking(editor: Any) -> bool:
    """Whether a vtkMRMLSegmentEditorNode says that not all voxels may be edited."""
    everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    return bool(editor.GetMaskMode() != everywhere or editor.GetSourceVolumeIntensityMask())


def reference_lattice(segmentation: Any) -> Matrix | None:
    """``(i, j, k, 1)`` to RAS of the voxels that Slicer edits ``segmentation`` on; None while none were chosen."""
    if not slicer.vtkSlicerSegmentEditorLogic.GetReferenceImageGeometryStringFromSegmentation(segmentation):
        return None
    return lattice_of(_reference_image(segmentation))


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
    tool.set_voxels(segment_id, labelmap)
    if apart:
        editor.SetOverwriteMode(mode)
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


def _own_editor(scene: Any) -> Any:
    editor = scene.GetSingletonNode(EDITOR_TAG, _EDITOR_CLASS)
    if editor is None:
        editor = slicer.vtkMRMLSegmentEditorNode()
        editor.SetSingletonTag(EDITOR_TAG)
        editor.SetName(EDITOR_TAG)
        editor = scene.AddNode(editor)
    return editor


def _open_editor(scene: Any, segmentation_node: Any) -> Any | None:
    """The segment editor node of the scene that has ``segmentation_node`` open, this project's own left out."""
    for number in range(scene.GetNumberOfNodesByClass(_EDITOR_CLASS)):
        editor = scene.GetNthNodeByClass(number, _EDITOR_CLASS)
        if editor.GetSingletonTag() != EDITOR_TAG and editor.GetSegmentationNode() is segmentation_node:
            return editor
    return None


def _reference_image(segmentation: Any) -> Any:
    """The lattice that Slicer edits ``segmentation`` on, as an oriented image without voxels."""
    geometry = slicer.vtkSlicerSegmentEditorLogic.GetReferenceImageGeometryStringFromSegmentation(segmentation)
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, image, False)
    return image


def _include_in_reference(segmentation: Any, labelmap: Any) -> None:
    """Let the reference geometry reach as far as ``labelmap``, which is on the same lattice.

    The editor's masks end where the reference geometry ends, and what lies beyond would count as editable.
    """
    reference = _reference_image(segmentation)
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


def _start_empty(segmentation: Any, segment_id: str) -> None:
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
