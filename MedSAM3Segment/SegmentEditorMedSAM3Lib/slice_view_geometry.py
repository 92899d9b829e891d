"""Between the pixels of a slice view and places in the world."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.mrml.transforms import array_of
from MedSAM3SegmentLib.prompts.prompts import PositionRAS

PixelXY = tuple[float, float]


class ViewPlaces:
    """What a slice view shows where, right now.

    Args:
        slice_node: the vtkMRMLSliceNode of the view.
    """

    def __init__(self, slice_node: Any) -> None:
        self._to_world = array_of(slice_node.GetXYToRAS())

    def world_of(self, xy: PixelXY) -> PositionRAS:
        """The place under a pixel, RAS millimetres."""
        x, y, z = (self._to_world @ np.array([xy[0], xy[1], 0.0, 1.0]))[:3]
        return float(x), float(y), float(z)

    def pixels_of(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """The pixels ``[n, 2]`` over places ``[n, 3]`` of the world, seen along the view's normal."""
        inverse = np.linalg.inv(self._to_world)
        return np.asarray((places @ inverse[:3, :3].T + inverse[:3, 3])[:, :2])

    def heights_of(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far in front of the slice places ``[n, 3]`` of the world lie, millimetres."""
        return np.asarray((places - self._to_world[:3, 3]) @ self.normal)

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit direction that the view looks along."""
        normal = np.cross(self._to_world[:3, 0], self._to_world[:3, 1])
        return np.asarray(normal / np.linalg.norm(normal))
