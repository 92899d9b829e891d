"""Replacing what a segment holds, and taking it from neighbors as the overwrite mode of the Segment Editor says.

Slicer's editor logic looks through all of a segment several times to replace what it holds: a quarter of a second for a
liver of a fine CT. So the segment is given another labelmap, and the logic is left the voxels that neighbors lose by
it, and to tell everybody. It takes for granted that all of them stand on one lattice and quietly resamples neighbors
that do not, so those are seen to here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.labelmaps import (
    binary_labelmap,
    binary_labelmap_name,
    labelmap_on_lattice,
    lattice_of,
    resampled_labelmap,
    voxels_of,
)
from MedSAM3SceneLib.mrml.segment_masks import block_of
from MedSAM3SceneLib.mrml.transforms import matrix_of
from MedSAM3SceneLib.segments.completed import completed_segments
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, common_part


class VoxelTool(Protocol):
    """Whoever changes the voxels of segments: the logic of Slicer's Segment Editor, directly or through an effect."""

    def add_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Make the segment hold ``labelmap`` too, as the overwrite mode of the editor says."""
        ...

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Take ``labelmap`` away from the segment."""
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


def replace_content(
    editor: Any,
    segment_id: str,
    labelmap: Any,
    taken: Any | None,
    tool: VoxelTool,
    spared: Collection[str] = (),
    is_own: bool = False,
) -> None:
    """Make a segment hold ``labelmap`` and nothing else, and take from neighbors as overwriting wants.

    Masks were looked at already, by the functions of ``masking``.

    Args:
        editor: the vtkMRMLSegmentEditorNode that ``tool`` works with; its segmentation holds the segment.
        labelmap: on the lattice the segment is to stand on.
        taken: the voxels of it that neighbors may lose, on the same lattice; None where they lose none.
        tool: changes the voxels. It is asked once, unless neighbors stand on other lattices or some are spared.
        spared: segments that lose nothing, whatever the overwrite mode says. Completed ones do not either.
        is_own: whether nobody else holds the voxels of ``labelmap``, so that the segment need not have a copy.
    """
    segmentation = editor.GetSegmentationNode().GetSegmentation()
    spared = {*spared, *completed_segments(segmentation)} - {segment_id}
    overwritten = [] if taken is None else overwritten_segments(editor, segment_id, spared)
    # The editor would resample a whole neighbor to erase a part of it, and knows of none that is spared.
    apart = bool(spared) or not all(_is_on_lattice(segmentation, other, lattice_of(labelmap)) for other in overwritten)
    lost = None if apart or taken is None else _lost_by_neighbours(segmentation, taken, overwritten)
    with (
        _labelmap_replaced(segmentation, segment_id, labelmap, is_own),
        without_masks(editor, overwriting=lost is not None),
    ):
        tool.add_voxels(segment_id, _first_voxel(labelmap) if lost is None else lost)
    if apart:
        with without_masks(editor, overwriting=False):
            for other in overwritten:
                present = binary_labelmap(segmentation.GetSegment(other))
                if not present.IsEmpty():
                    is_on_lattice = _is_on_lattice(segmentation, other, lattice_of(taken))
                    tool.remove_voxels(
                        other, taken if is_on_lattice else resampled_labelmap(taken, lattice_of(present))
                    )


def remove_content(editor: Any, segment_id: str, tool: VoxelTool) -> None:
    """Make a segment hold nothing, whatever is masked.

    Args:
        editor, tool: as of ``replace_content``.
    """
    segmentation = editor.GetSegmentationNode().GetSegmentation()
    segment = segmentation.GetSegment(segment_id)
    if not _has_voxels(segment):
        return
    last = _first_voxel(binary_labelmap(segment), segment.GetLabelValue())
    with _labelmap_replaced(segmentation, segment_id, last, True), without_masks(editor, overwriting=False):
        tool.remove_voxels(segment_id, last)


@contextmanager
def without_masks(editor: Any, overwriting: bool) -> Iterator[None]:
    """Switch the masks of a vtkMRMLSegmentEditorNode off for a moment, of which no widget hears.

    Even where the editor shall bypass masks its intensity range holds, and its mask of one segment gets voxels back.

    Args:
        overwriting: whether its overwrite mode stays, too.
    """
    mask_mode, in_range = editor.GetMaskMode(), editor.GetSourceVolumeIntensityMask()
    overwrite_mode, was_quiet = editor.GetOverwriteMode(), editor.GetDisableModifiedEvent()
    editor.SetDisableModifiedEvent(True)
    try:
        editor.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        editor.SetSourceVolumeIntensityMask(False)
        if not overwriting:
            editor.SetOverwriteMode(editor.OverwriteNone)
        yield
    finally:
        editor.SetMaskMode(mask_mode)
        editor.SetSourceVolumeIntensityMask(in_range)
        editor.SetOverwriteMode(overwrite_mode)
        editor.SetDisableModifiedEvent(was_quiet)


def overwritten_segments(editor: Any, segment_id: str, spared: Collection[str] = ()) -> list[str]:
    """The other segments, but those spared or completed, that lose the voxels written into ``segment_id``."""
    if editor.GetOverwriteMode() == editor.OverwriteNone:
        return []
    segmentation_node = editor.GetSegmentationNode()
    spared = {*spared, *completed_segments(segmentation_node.GetSegmentation())}
    ids = segmentation_node.GetSegmentation().GetSegmentIDs()
    others = [other for other in ids if other != segment_id and other not in spared]
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


def _is_on_lattice(segmentation: Any, segment_id: str, lattice: Matrix) -> bool:
    """Whether the labelmap of ``segment_id`` is on ``lattice``, or empty and on none."""
    labelmap = binary_labelmap(segmentation.GetSegment(segment_id))
    wanted = slicer.vtkOrientedImageData()
    wanted.SetImageToWorldMatrix(matrix_of(lattice))
    return bool(labelmap.IsEmpty() or slicer.vtkOrientedImageDataResample.DoGeometriesMatch(labelmap, wanted))


@contextmanager
def _labelmap_replaced(segmentation: Any, segment_id: str, labelmap: Any, is_own: bool) -> Iterator[None]:
    """Give a segment a labelmap of its own that holds ``labelmap``, of which others hear by what is done inside.

    Whatever breaks that off gives it back the labelmap that it had.
    """
    segment = segmentation.GetSegment(segment_id)
    if _is_sharing(segmentation, segment_id) and _has_voxels(segment):
        segmentation.SeparateSegmentLabelmap(segment_id)
    before, value = binary_labelmap(segment), segment.GetLabelValue()
    own = slicer.vtkOrientedImageData()
    # The voxels may be those of a result, which must not change when the segment is edited.
    own.ShallowCopy(labelmap) if is_own else own.DeepCopy(labelmap)
    segment.AddRepresentation(binary_labelmap_name(), own)
    segment.SetLabelValue(1)
    try:
        yield
    except BaseException:
        segment.AddRepresentation(binary_labelmap_name(), before)
        segment.SetLabelValue(value)
        raise


def _lost_by_neighbours(segmentation: Any, labelmap: Any, neighbours: Sequence[str]) -> Any | None:
    """The voxels of ``labelmap`` that neighbors on its lattice hold, or None where they hold none."""
    voxels, first = block_of(labelmap)
    lost = np.zeros((0, 0, 0), bool)
    present = [binary_labelmap(segmentation.GetSegment(neighbour)) for neighbour in neighbours]
    for shared in {id(image): image for image in present if not image.IsEmpty()}.values():
        held = voxels_of(shared)
        common = common_part(voxels.shape, held, np.array(shared.GetExtent()[::2]) - first)
        if common is not None:
            into, part = common
            lost = lost if lost.size else np.zeros_like(voxels)
            lost[into] |= voxels[into] & (held[part] != 0)
    return _at(lost, first, lattice_of(labelmap)) if lost.any() else None


def _first_voxel(labelmap: Any, value: int = 1) -> Any:
    """A labelmap of the first voxel that has the label ``value`` in ``labelmap``, which has one."""
    # Slice by slice, so that the first voxel ends it.
    for index, part in enumerate(voxels_of(labelmap)):
        is_set = part == value
        if is_set.any():
            row, column = np.unravel_index(int(is_set.argmax()), is_set.shape)
            first = np.array(labelmap.GetExtent()[::2]) + np.array([column, row, index])
            return _at(np.ones((1, 1, 1), bool), first, lattice_of(labelmap))
    raise ValueError("the labelmap holds no such voxel")


def _at(voxels: BoolMask, first: NDArray[np.int64], lattice: Matrix) -> Any:
    """A labelmap of ``voxels`` ``[k, j, i]`` from index ``first`` ``(i, j, k)`` of ``lattice`` on."""
    start = lattice.copy()
    start[:3, 3] += start[:3, :3] @ first
    return labelmap_on_lattice(voxels, start, lattice)


def _has_voxels(segment: Any) -> bool:
    labelmap = binary_labelmap(segment)
    # Slice by slice, so that the first voxel ends it.
    return not labelmap.IsEmpty() and any((part == segment.GetLabelValue()).any() for part in voxels_of(labelmap))


def _is_sharing(segmentation: Any, segment_id: str) -> bool:
    """Whether the labelmap of a segment holds others too."""
    sharing: list[str] = []
    segmentation.GetSegmentIDsSharingBinaryLabelmapRepresentation(segment_id, sharing, False)
    return bool(sharing)
