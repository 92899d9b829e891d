"""What a segment comes to hold where masking or an editable intensity range forbids a part of the change.

Where that is, Slicer's own functions say, as they do for its own tools. They are asked slab by slab, because they take
half a second for a whole volume; the rest is worked out on a thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import WORKING, StepGenerator, run_in_thread
from MedSAM3SceneLib.mrml.labelmaps import content_of, lattice_of, voxels_of
from MedSAM3SceneLib.mrml.segment_masks import block_of
from MedSAM3SceneLib.mrml.segmentation_nodes import require_present
from MedSAM3SceneLib.mrml.transforms import matrix_of
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

from .labelmap_merge import VoxelBlock, common_reach, with_protected_kept
from .overwrite import is_masking

#: Voxels that Slicer is asked about at once, which takes it some ten milliseconds.
_VOXELS_A_STEP = 2**21


def as_far_as_editable(
    labelmap: Any, written: Any | None, editor: Any, segment_id: str
) -> StepGenerator[tuple[Any | None, Any | None]]:
    """What a segment is to hold when it shall become ``labelmap`` and keeps what must not be edited.

    Args:
        labelmap: on the lattice that the segment is to stand on.
        written: the part of it that is new, on the same lattice, which neighbors may lose; None where there is none.
            The ``labelmap`` itself where all is: then they may lose what stays, too, as Slicer's own tools have it.
        editor: a vtkMRMLSegmentEditorNode with a segmentation.
        segment_id: of that segmentation.

    Returns:
        What is left of both, on the same lattice, each None where nothing is.

    Raises:
        Cancelled: the segment or what is needed of the scene was removed meanwhile.
    """
    if not is_masking(editor):
        return labelmap, written
    segmentation_node = editor.GetSegmentationNode()
    content = content_of(segmentation_node.GetSegmentation().GetSegment(segment_id))
    first, shape = yield from run_in_thread(lambda: common_reach(labelmap, content))
    _require_all(editor, segmentation_node, segment_id)
    protected = yield from _protected_block(editor, segment_id, lattice_of(labelmap), first, shape)
    kept = yield from run_in_thread(lambda: with_protected_kept(labelmap, content, protected))
    new = kept if written is labelmap else None
    if written is not None and written is not labelmap:
        new = yield from run_in_thread(lambda: with_protected_kept(written, None, protected))
    _require_all(editor, segmentation_node, segment_id)
    return kept, new


def editable_part(labelmap: Any, editor: Any, segment_id: str) -> StepGenerator[Any | None]:
    """The voxels of ``labelmap`` that may be edited, or None where none may.

    Args and raises as ``as_far_as_editable``.
    """
    if not is_masking(editor):
        return labelmap
    segmentation_node = editor.GetSegmentationNode()
    voxels, first = block_of(labelmap)
    protected = yield from _protected_block(editor, segment_id, lattice_of(labelmap), first, voxels.shape)
    editable = yield from run_in_thread(lambda: with_protected_kept(labelmap, None, protected))
    _require_all(editor, segmentation_node, segment_id)
    return editable


def protected_voxels(
    editor: Any, segment_id: str, lattice: Matrix, first: NDArray[np.int64], shape: tuple[int, ...]
) -> StepGenerator[BoolMask]:
    """Which voxels of a block must not be edited, bool ``[k, j, i]``.

    Args:
        editor, segment_id: as of ``as_far_as_editable``.
        lattice: ``(i, j, k, 1)`` to RAS of the segmentation's frame.
        first: the index ``(i, j, k)`` of the lattice at which the block begins.
        shape: of the block, ``(k, j, i)``.

    Raises:
        Cancelled: as ``as_far_as_editable``.
    """
    return (yield from _protected_block(editor, segment_id, lattice, first, shape)).voxels


def _protected_block(
    editor: Any, segment_id: str, lattice: Matrix, first: NDArray[np.int64], shape: tuple[int, ...]
) -> StepGenerator[VoxelBlock]:
    """Which voxels of a block of ``lattice`` must not be edited; ``first`` and ``shape`` as of the block."""
    segmentation_node = editor.GetSegmentationNode()
    protected, source = np.zeros(shape, bool), _intensities(editor)
    slab = max(1, _VOXELS_A_STEP // (shape[1] * shape[2]))
    for start in range(0, shape[0], slab):
        _require_all(editor, segmentation_node, segment_id)
        part = protected[start : start + slab]
        at = first + np.array([0, 0, start])
        part[...] = _protected(editor, segment_id, source, lattice, at, part.shape)
        yield WORKING
    return VoxelBlock(protected, first)


def _require_all(editor: Any, segmentation_node: Any, segment_id: str) -> None:
    """Check that segment and source volume are still there.

    Raises:
        Cancelled: not so.
    """
    require_present(segmentation_node)
    if segmentation_node.GetSegmentation().GetSegment(segment_id) is None:
        raise Cancelled("The segment was removed while it was worked on; nothing was written.")
    if editor.GetSourceVolumeIntensityMask() and editor.GetSourceVolumeNode() is None:
        raise Cancelled("The source volume was removed while its intensities were looked at; nothing was written.")


def _protected(
    editor: Any,
    segment_id: str,
    source: Any | None,
    lattice: Matrix,
    first: NDArray[np.int64],
    shape: tuple[int, ...],
) -> BoolMask:
    """Which voxels of a block of ``lattice`` must not be edited, bool ``[k, j, i]``.

    Args:
        source: from ``_intensities`` where there is an editable intensity range.
        first, shape: of the block, as of a ``VoxelBlock``.
    """
    block = slicer.vtkOrientedImageData()
    block.SetImageToWorldMatrix(matrix_of(lattice))
    last = first + shape[::-1] - 1
    block.SetExtent([int(end) for ends in zip(first, last, strict=True) for end in ends])
    protected = np.zeros(shape, bool)
    if editor.GetMaskMode() != slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere:
        mask = slicer.vtkOrientedImageData()
        editor.GetSegmentationNode().GenerateEditMask(
            mask, editor.GetMaskMode(), block, segment_id, editor.GetMaskSegmentID() or ""
        )
        protected |= voxels_of(mask) != 0
    if source is not None:
        protected |= _out_of_range(editor, source, block)
    return protected


def _intensities(editor: Any) -> Any | None:
    """The first component of the source volume, as Slicer looks at it; None where its intensities do not matter."""
    if not editor.GetSourceVolumeIntensityMask():
        return None
    volume_node = editor.GetSourceVolumeNode()
    source, image = slicer.vtkOrientedImageData(), volume_node.GetImageData()
    if image.GetNumberOfScalarComponents() > 1:
        first_component = vtk.vtkImageExtractComponents()
        first_component.SetInputData(image)
        first_component.SetComponents(0)
        first_component.Update()
        image = first_component.GetOutput()
    source.ShallowCopy(image)
    to_node = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(to_node)
    source.SetGeometryFromImageToWorldMatrix(to_node)
    return source


def _out_of_range(editor: Any, source: Any, block: Any) -> BoolMask:
    """Where in ``block``, an oriented image without voxels, the source volume is not in the editable range."""
    volume_node, segmentation_node = editor.GetSourceVolumeNode(), editor.GetSegmentationNode()
    to_segmentation = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        volume_node.GetParentTransformNode(), segmentation_node.GetParentTransformNode(), to_segmentation
    )
    aligned = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        source, block, aligned, True, False, to_segmentation, volume_node.GetImageBackgroundScalarComponentAsDouble(0)
    )
    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(aligned)
    threshold.ThresholdBetween(*editor.GetSourceVolumeIntensityMaskRange())
    threshold.SetInValue(0)
    threshold.SetOutValue(1)
    threshold.SetOutputScalarTypeToUnsignedChar()
    threshold.Update()
    return np.asarray(voxels_of(threshold.GetOutput()) != 0)
