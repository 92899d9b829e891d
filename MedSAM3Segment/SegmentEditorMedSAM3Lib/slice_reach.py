"""What belongs to the slice that a view shows: a view is a plane, and a slice has the thickness of a voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from MedSAM3SceneLib.mrml.slice_planes import touched_thickness
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_world
from MedSAM3SceneLib.segments.prompts import Mark, positions_of
from MedSAM3SegmentLib.errors import MedSAM3Error

from .slice_view_geometry import ViewPlaces

#: Millimetres to either side of a view's plane where no volume says how thick a slice is.
_REACH_OF_NOTHING = 0.5


def slice_reach(places: ViewPlaces, volume_node: Any | None) -> float:
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


def lies_on(mark: Mark, places: ViewPlaces, reach: float) -> bool:
    """Whether the whole of ``mark``, at its place in the world, is on the slice that a view shows.

    Args:
        places: of the view.
        reach: from ``slice_reach``.
    """
    return bool((np.abs(places.heights_of(np.array(positions_of(mark)))) <= reach).all())


def slice_as_shown(slice_node: Any) -> Any:
    """A vtkMRMLSliceNode of no scene on the plane that ``slice_node`` shows now; a view may be scrolled on."""
    shown = slicer.vtkMRMLSliceNode()
    shown.GetSliceToRAS().DeepCopy(slice_node.GetSliceToRAS())
    shown.UpdateMatrices()
    return shown
