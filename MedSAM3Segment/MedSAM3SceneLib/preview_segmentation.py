"""A segmentation that only shows what is not decided yet: slices of an unfinished run, a moved threshold, one slice.

It is a node of its own, hidden from all selectors and never saved, so no user's segment is touched. All its segments
share one label map that is written in place; where concepts overlap the later one shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.grid import SliceStack

from .frames import matrix_of
from .labelmaps import binary_labelmap_name
from .segmentation_nodes import remove_segmentation
from .steps import release
from .volumes import PlacedVolume

#: Marks the node, so that one left behind is found.
PREVIEW_ATTRIBUTE = "MedSAM3.Preview"

#: Red, green and blue from 0 to 1.
Colour = tuple[float, float, float]

#: Seconds between two repaints at least: each lets all slice views draw again.
REPAINT_INTERVAL = 0.25


class PreviewSegmentation:
    """A preview of some concepts in one volume. ``remove`` takes it away again.

    Args:
        volume_node: the volume, whose transforms the preview follows.
        placed: what was read of it, or a slice through it; the preview has its voxels.
        concepts: phrases.
        colour_of: the colour of each, red, green, blue from 0 to 1.
    """

    def __init__(
        self, volume_node: Any, placed: PlacedVolume, concepts: Sequence[str], colour_of: Callable[[str], Colour]
    ) -> None:
        remove_previews(volume_node.GetScene())
        self._numbers = {concept: number for number, concept in enumerate(concepts, start=1)}
        # Pages that are never written take no memory.
        self._labels = np.zeros(placed.volume.grid.shape, np.uint16)
        self._labelmap: Any = _shared_labelmap(self._labels, placed.to_node @ placed.volume.grid.ijk_to_ras)
        self._painted = 0.0
        self.node = _hidden_segmentation(volume_node)
        segmentation = self.node.GetSegmentation()
        segmentation.SetSourceRepresentationName(binary_labelmap_name())
        for concept, number in self._numbers.items():
            segment = slicer.vtkSegment()
            segment.SetName(concept)
            segment.SetColor(*colour_of(concept))
            segment.SetLabelValue(number)
            segment.AddRepresentation(binary_labelmap_name(), self._labelmap)
            segmentation.AddSegment(segment)

    @property
    def is_there(self) -> bool:
        """Whether its node is still in the scene; a user may have closed that."""
        return self.node.GetScene() is not None

    def show_slice(self, concept: str, stack: SliceStack, index: int, mask: NDArray[np.bool_]) -> None:
        """Show ``mask`` bool ``[row, column]`` of ``concept`` on one slice of ``stack``."""
        number = self._numbers.get(concept)
        if number is None or not self.is_there:
            return
        labels = stack.extract(self._labels)[index]
        labels[labels == number] = 0
        labels[mask] = number
        if time.monotonic() - self._painted > REPAINT_INTERVAL:
            self.repaint()

    def show_labels(self, labels: NDArray[np.uint16]) -> None:
        """Show uint16 ``[k, j, i]`` in place of all that was shown: concept ``n`` (from 1) in the order given.

        The array is taken over, since a copy of a large one takes half a second: whoever gives it must not need it as
        it is any more.
        """
        if self.is_there:
            before: list[object] = [self._labels]
            self._labels = np.ascontiguousarray(labels)
            self._labelmap.GetPointData().SetScalars(_scalars_on(self._labels))
            release(before)
            self.repaint()

    def repaint(self) -> None:
        """Let the views show what was written."""
        if self._labelmap is None:
            return
        self._painted = time.monotonic()
        self._labelmap.GetPointData().GetScalars().Modified()
        self._labelmap.Modified()

    def remove(self) -> None:
        """Take the preview away."""
        remove_segmentation(self.node)
        # Slicer would clear the voxels of one segment after the other.
        for number in range(self.node.GetSegmentation().GetNumberOfSegments()):
            self.node.GetSegmentation().GetNthSegment(number).RemoveAllRepresentations()
        self._labelmap = None
        labels: list[object] = [self._labels]
        self._labels = np.zeros((0, 0, 0), np.uint16)
        release(labels)


def remove_previews(scene: Any) -> None:
    """Take every preview away that is in ``scene``."""
    if scene is None:
        return
    nodes = [
        scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"))
    ]
    for node in nodes:
        if node.GetAttribute(PREVIEW_ATTRIBUTE):
            remove_segmentation(node)


def _hidden_segmentation(volume_node: Any) -> Any:
    scene = volume_node.GetScene()
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(scene.GenerateUniqueName("MedSAM3 preview"))
    node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetSelectable(False)
    node = scene.AddNode(node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSaveWithScene(False)
        display.SetVisibility3D(False)
        display.SetOpacity2DFill(0.4)
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
