"""Between the pixels of a slice view and places in the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.slice_planes import touched_thickness
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_world
from MedSAM3SceneLib.segments.prompts import Prompt, positions_of
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.prompts.prompts import PositionRAS

PixelXY = tuple[float, float]


class SliceViewGeometry:
    """What a slice view shows where, right now.

    Args:
        slice_node: the vtkMRMLSliceNode of the view.
    """

    def __init__(self, slice_node: Any) -> None:
        self._to_world = array_of(slice_node.GetXYToRAS())

    def world_of(self, xy: PixelXY) -> PositionRAS:
        """The place under a pixel, RAS millimeters."""
        x, y, z = (self._to_world @ np.array([xy[0], xy[1], 0.0, 1.0]))[:3]
        return float(x), float(y), float(z)

    def pixels_of(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """The pixels ``[n, 2]`` over places ``[n, 3]`` of the world, seen along the view's normal."""
        inverse = np.linalg.inv(self._to_world)
        return np.asarray((places @ inverse[:3, :3].T + inverse[:3, 3])[:, :2])

    def heights_of(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far in front of the slice places ``[n, 3]`` of the world lie, millimeters."""
        return np.asarray((places - self._to_world[:3, 3]) @ self.normal)

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit direction that the view looks along."""
        normal = np.cross(self._to_world[:3, 0], self._to_world[:3, 1])
        return np.asarray(normal / np.linalg.norm(normal))


#: Millimetres to either side of a view's plane where no volume says how thick a slice is.
_REACH_OF_NOTHING = 0.5


def slice_reach(places: SliceViewGeometry, volume_node: Any | None) -> float:
    """Millimetres to either side of a view's plane that belong to its slice: half a voxel of the volume."""
    if volume_node is None:
        return _REACH_OF_NOTHING
    ijk_to_node = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(ijk_to_node)
    try:
        ijk_to_world = node_to_world(volume_node) @ array_of(ijk_to_node)
    except MedSAM3Error:
        return _REACH_OF_NOTHING  # A warped volume cannot be segmented, which an action says.
    return touched_thickness(ijk_to_world, places.normal) / 2


def lies_on(prompt: Prompt, places: SliceViewGeometry, reach: float) -> bool:
    """Whether the whole of ``prompt``, at its place in the world, is on the slice that a view shows.

    Args:
        places: of the view.
        reach: from ``slice_reach``.
    """
    return bool((np.abs(places.heights_of(np.array(positions_of(prompt)))) <= reach).all())


def slice_as_shown(slice_node: Any) -> Any:
    """A vtkMRMLSliceNode of no scene on the plane that ``slice_node`` shows now; a view may be scrolled on."""
    shown = slicer.vtkMRMLSliceNode()
    shown.GetSliceToRAS().DeepCopy(slice_node.GetSliceToRAS())
    shown.UpdateMatrices()
    return shown
