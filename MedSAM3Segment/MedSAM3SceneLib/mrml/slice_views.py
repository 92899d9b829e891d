"""Where slice views and stacks of slices meet: the slice a view shows, and jumping to a slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import SliceStack

from .slice_planes import StackSlice, stack_slice, view_plane
from .transforms import node_to_world
from .volumes import PlacedVolume


def shown_slice(slice_node: Any, volume_node: Any, placed: PlacedVolume) -> StackSlice:
    """The slice of a volume that a view shows.

    Raises:
        InputError: the view cuts through several slices, or shows a place beside the volume.
    """
    shown = stack_slice(view_plane(slice_node, volume_node, placed), placed.volume.grid)
    if shown is None:
        raise InputError(
            "The view '{view}' is oblique to the slices of '{volume}'; choose 'Rotate to volume plane' under the pin "
            "in its bar, or use Preview slice, which takes any plane.",
            view=slice_node.GetName(),
            volume=volume_node.GetName(),
        )
    return shown


def jump_to_slice(volume_node: Any, placed: PlacedVolume, stack: SliceStack, index: int) -> None:
    """Let all slice views show the middle of slice ``index`` of ``stack``."""
    middle = (np.array(stack.grid.shape[::-1]) - 1) / 2
    middle[stack.axis] = index
    to_world = node_to_world(volume_node) @ placed.to_node
    x, y, z, _ = to_world @ np.array([*stack.grid.to_ras(middle), 1.0])
    slicer.vtkMRMLSliceNode.JumpAllSlices(volume_node.GetScene(), float(x), float(y), float(z))
