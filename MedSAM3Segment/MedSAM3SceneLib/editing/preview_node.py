"""A segmentation that only shows what is not decided yet: slices of an unfinished run, a moved threshold, one slice.

It is a node of its own, hidden from all selectors and never saved, so no user's segment is touched. All its segments
share one label map that is written in place; where concepts overlap the later one shows.

What is written in place shows with ``repaint``, which lets all slice views draw again. How often, the owner decides:
``MedSAM3WidgetsLib.preview_display`` has a timer for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import release
from MedSAM3SceneLib.mrml.labelmaps import binary_labelmap_name
from MedSAM3SceneLib.mrml.segmentation_nodes import remove_segmentation, segmentation_nodes, visibilities_kept
from MedSAM3SceneLib.mrml.transforms import matrix_of
from MedSAM3SceneLib.mrml.volumes import SceneVolume
from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack

#: Marks the node, so that one left behind is found.
PREVIEW_ATTRIBUTE = "MedSAM3.Preview"

#: Red, green and blue from 0 to 1.
Color = tuple[float, float, float]


class PreviewNode:
    """A preview of some concepts in one volume. ``remove`` takes it away again.

    Args:
        volume_node: the volume, whose transforms the preview follows.
        placed: what was read of it, or a slice through it; the preview has its voxels.
        concepts: phrases.
        color_of: the color of each, red, green, blue from 0 to 1.
    """

    def __init__(
        self, volume_node: Any, placed: SceneVolume, concepts: Sequence[str], color_of: Callable[[str], Color]
    ) -> None:
        scene = volume_node.GetScene()
        remove_previews(scene)
        self._numbers = {concept: number for number, concept in enumerate(concepts, start=1)}
        # Pages that are never written take no memory.
        self._labels = np.zeros(placed.volume.grid.shape, np.uint16)
        self._labelmap: Any = _shared_labelmap(self._labels, placed.to_node @ placed.volume.grid.ijk_to_ras)
        node = _hidden_segmentation(volume_node)
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName(binary_labelmap_name())
        for concept, number in self._numbers.items():
            segment = slicer.vtkSegment()
            segment.SetName(concept)
            segment.SetColor(*color_of(concept))
            segment.SetLabelValue(number)
            segment.AddRepresentation(binary_labelmap_name(), self._labelmap)
            segmentation.AddSegment(segment)
        # Last, when all is in it and its display is known: the subject hierarchy has no item for a node that is hidden
        # from editors, and complains in the log about all that becomes of its segments and its display.
        node.SetScene(scene)
        node.GetDisplayNode()
        with visibilities_kept(scene):
            self.node = scene.AddNode(node)

    @property
    def is_there(self) -> bool:
        """Whether its node is still in the scene; a user may have closed that."""
        return self.node.GetScene() is not None

    def show_slice(self, concept: str, stack: SliceStack, index: int, mask: BoolMask) -> None:
        """Have ``mask`` bool ``[row, column]`` of ``concept`` on one slice of ``stack``; ``repaint`` shows it."""
        number = self._numbers.get(concept)
        if number is None or not self.is_there:
            return
        labels = stack.extract(self._labels)[index]
        labels[labels == number] = 0
        labels[mask] = number

    def show_labels(self, labels: NDArray[np.uint16]) -> None:
        """Have uint16 ``[k, j, i]`` in place of all that was there: concept ``n`` (from 1) in the order given.

        ``repaint`` shows it. The array is taken over, since a copy of a large one takes half a second: whoever gives it
        must not need it as it is any more.
        """
        if self.is_there:
            before: list[object] = [self._labels]
            self._labels = np.ascontiguousarray(labels)
            self._labelmap.GetPointData().SetScalars(_scalars_on(self._labels))
            release(before)

    def repaint(self) -> None:
        """Let the views show what was written."""
        if self._labelmap is not None and self.is_there:
            self._labelmap.GetPointData().GetScalars().Modified()
            self._labelmap.Modified()
            # Slice views do not hear of a changed label map by itself.
            self.node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.RepresentationModified)

    def remove(self) -> None:
        """Take the preview away."""
        if self._labelmap is not None:
            # Slicer would clear the voxels of one segment after the other.
            self._labelmap.SetExtent(0, -1, 0, -1, 0, -1)
            self._labelmap.GetPointData().SetScalars(None)
        remove_segmentation(self.node)
        self._labelmap = None
        labels: list[object] = [self._labels]
        self._labels = np.zeros((0, 0, 0), np.uint16)
        release(labels)


def remove_previews(scene: Any) -> None:
    """Take every preview away that is in ``scene``."""
    for node in segmentation_nodes(scene) if scene is not None else ():
        if node.GetAttribute(PREVIEW_ATTRIBUTE):
            remove_segmentation(node)


def _hidden_segmentation(volume_node: Any) -> Any:
    """A segmentation node that is in no scene yet, with a display that is."""
    display = slicer.vtkMRMLSegmentationDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility3D(False)
    display.SetOpacity2DFill(0.4)
    display = volume_node.GetScene().AddNode(display)
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName("MedSAM3 preview")
    node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetSelectable(False)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def _shared_labelmap(labels: NDArray[np.uint16], ijk_to_node: NDArray[np.float64]) -> Any:
    """An oriented image that shows the memory of ``labels``, not a copy."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*labels.shape[::-1])
    image.SetImageToWorldMatrix(matrix_of(ijk_to_node))
    image.GetPointData().SetScalars(_scalars_on(labels))
    return image


def _scalars_on(labels: NDArray[np.uint16]) -> Any:
    """A VTK array of the memory of ``labels``, not a copy, which keeps it alive."""
    from vtk import VTK_UNSIGNED_SHORT
    from vtk.util.numpy_support import numpy_to_vtk

    scalars = numpy_to_vtk(labels.ravel(), deep=False, array_type=VTK_UNSIGNED_SHORT)
    scalars.SetName("ImageScalars")
    return scalars
