"""Segmentation nodes as a whole: made beside a volume, removed, and the lattice that their segments are edited on.

Slice views choose a segmentation whenever one comes or goes, and may apply checkboxes of an earlier one to its
segments: a bug of Slicer's. What is added and removed here leaves the visibility of all others as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer

from MedSAM3SegmentLib.errors import Cancelled
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix

from .labelmaps import binary_labelmap, binary_labelmap_name
from .transforms import matrix_of


def new_segmentation(volume_node: Any) -> Any:
    """A new segmentation node beside ``volume_node``, under the same transform."""
    scene = volume_node.GetScene()
    name = scene.GenerateUniqueName(f"{volume_node.GetName()} segmentation")
    with visibilities_kept(scene):
        segmentation_node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        segmentation_node.CreateDefaultDisplayNodes()
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    return segmentation_node


def remove_segmentation(segmentation_node: Any) -> None:
    """Take a segmentation node and its display out of its scene, if it is in one."""
    scene = segmentation_node.GetScene()
    if scene is None:
        return
    displays = [segmentation_node.GetNthDisplayNode(n) for n in range(segmentation_node.GetNumberOfDisplayNodes())]
    with visibilities_kept(scene, but=segmentation_node):
        scene.RemoveNode(segmentation_node)
        for display in displays:
            # Where there is a subject hierarchy they went with it; elsewhere Slicer leaves them behind.
            if display is not None and display.GetScene() is scene:
                scene.RemoveNode(display)


@contextmanager
def visibilities_kept(scene: Any, but: Any | None = None) -> Iterator[None]:
    """Give all segmentations of ``scene`` but one the visibility back that they have now, of each segment, too."""
    before = [
        (node, display, bool(display.GetVisibility()), _segment_visibilities(node, display))
        for node in segmentation_nodes(scene)
        if node is not but and (display := node.GetDisplayNode()) is not None
    ]
    try:
        yield
    finally:
        for node, display, is_visible, segments in before:
            if display.GetScene() is not scene:
                continue
            display.SetVisibility(is_visible)
            now = _segment_visibilities(node, display)
            for segment_id, is_shown in segments.items():
                if now.get(segment_id, is_shown) != is_shown:
                    display.SetSegmentVisibility(segment_id, is_shown)


def segmentation_nodes(scene: Any) -> list[Any]:
    """All segmentation nodes of ``scene``, in its order."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    return [scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode") for number in range(count)]


def _segment_visibilities(segmentation_node: Any, display: Any) -> dict[str, bool]:
    ids = segmentation_node.GetSegmentation().GetSegmentIDs()
    return {str(segment_id): bool(display.GetSegmentVisibility(segment_id)) for segment_id in ids}


def require_present(node: Any) -> None:
    """Check that a node is still in the scene.

    Raises:
        Cancelled: a user removed it, or closed the scene.
    """
    if node.GetScene() is None:
        raise Cancelled(
            "'{name}' was removed, or the scene was closed, while segments were written.", name=node.GetName()
        )


def prepare_lattice(segmentation_node: Any, volume_node: Any, shape: tuple[int, ...], ijk_to_ras: Matrix) -> None:
    """Let a segmentation that holds nothing yet store label maps on the voxels of a result; others stay as they are.

    Args:
        volume_node: the volume that was segmented.
        shape: voxel counts ``(k, j, i)`` of the result.
        ijk_to_ras: where its voxels lie, in the segmentation's own frame.
    """
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        segmentation.SetSourceRepresentationName(binary_labelmap_name())
    if _is_empty(segmentation):
        _take_geometry(segmentation_node, volume_node, shape, ijk_to_ras)


@contextmanager
def geometry_kept(segmentation_node: Any) -> Iterator[None]:
    """Let a segmentation store and edit its segments as before again when what is done inside is broken off."""
    segmentation = segmentation_node.GetSegmentation()
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    stored = segmentation.GetSourceRepresentationName()
    geometry = segmentation.GetConversionParameter(_geometry_parameter())
    reference = segmentation_node.GetNodeReferenceID(role)
    try:
        yield
    except BaseException:
        if segmentation.GetSourceRepresentationName() != stored:
            segmentation.SetSourceRepresentationName(stored)
        segmentation.SetConversionParameter(_geometry_parameter(), geometry)
        segmentation_node.SetNodeReferenceID(role, reference)
        raise


def _is_empty(segmentation: Any) -> bool:
    """Whether no segment holds a voxel or surface, so that the lattice they would be on is still free to choose."""
    segments = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
    labelmaps = [binary_labelmap(segment) for segment in segments]
    return all(labelmap is not None and labelmap.IsEmpty() for labelmap in labelmaps)


def _take_geometry(segmentation_node: Any, volume_node: Any, shape: tuple[int, ...], ijk_to_ras: Matrix) -> None:
    """Let the segments be edited on the voxels of the result, which are those of the volume unless it was sheared."""
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    converter = slicer.vtkSegmentationConverter
    k, j, i = shape
    wanted = slicer.vtkOrientedImageData()
    wanted.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    wanted.SetImageToWorldMatrix(matrix_of(ijk_to_ras))
    reference = slicer.vtkOrientedImageData()
    name = _geometry_parameter()
    converter.DeserializeImageGeometry(
        segmentation_node.GetSegmentation().GetConversionParameter(name), reference, False
    )
    same = slicer.vtkOrientedImageDataResample.DoGeometriesMatch(reference, wanted)
    if not same or reference.GetExtent() != wanted.GetExtent():
        segmentation_node.GetSegmentation().SetConversionParameter(name, converter.SerializeImageGeometry(wanted))


def _geometry_parameter() -> str:
    return str(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName())
