"""What a slice view shows of a volume: one of its own slices, or an oblique cut through several of them.

A view that runs along the voxels shows a slice of a stack, which the engine knows already. Any other view is a plane of
its own; ``oblique_slice`` looks the volume up along it, as the view does, and gives a volume of one slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.preprocessing.windowing import is_ct
from MedSAM3SegmentLib.volume import Volume

from .nodes import require_node
from .transforms import array_of, node_to_world
from .volumes import SceneVolume

#: How far, in slices, a view may lean from corner to corner of the volume and still show one slice.
LEAN_TOLERANCE = 0.5

#: Most rows or columns of an oblique slice; a finer volume is looked up more coarsely.
MOST_PIXELS = 1024


@dataclass(frozen=True, eq=False)
class ViewPlane:
    """The plane of a slice view in the frame of a volume's grid.

    Attributes:
        origin: a place on it, RAS millimeters.
        right, down: unit directions of the screen, perpendicular.
    """

    origin: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.right, self.down)


@dataclass(frozen=True)
class StackSlice:
    """One slice of a volume's own stack.

    Attributes:
        plane: that the stack is cut in.
        index: along the stack.
    """

    plane: Plane
    index: int


def view_plane(slice_node: Any, volume_node: Any, placed: SceneVolume) -> ViewPlane:
    """The plane that a vtkMRMLSliceNode shows, in the frame of ``placed``'s grid.

    Raises:
        InputError: the node shows no slice, or the volume is under a non-linear transform.
    """
    require_node(slice_node)
    if not slice_node.IsA("vtkMRMLSliceNode"):
        raise InputError(
            "'{view}' is no slice view; give one, such as that of the Red view.", view=slice_node.GetName()
        )
    slice_to_world = array_of(slice_node.GetSliceToRAS())
    to_grid = np.linalg.inv(node_to_world(volume_node) @ placed.to_node) @ slice_to_world
    right, up = to_grid[:3, 0], to_grid[:3, 1]
    right = right / np.linalg.norm(right)
    # A parent transform that scales makes the screen's axes lean in the volume.
    down = right * (up @ right) - up
    return ViewPlane(to_grid[:3, 3], right, down / np.linalg.norm(down))


def stack_slice(view: ViewPlane, grid: VoxelGrid) -> StackSlice | None:
    """The slice of ``grid`` that ``view`` shows, or None where it cuts through several.

    Raises:
        InputError: the view shows a place beside the volume.
    """
    index_axis = int(np.abs(grid.directions.T @ view.normal).argmax())
    across = view.normal @ grid.ijk_to_ras[:3, :3]
    at_origin = view.normal @ (view.origin - grid.ijk_to_ras[:3, 3])
    size = np.array(grid.shape[::-1])
    others = [axis for axis in range(3) if axis != index_axis]
    # Where along the index axis the plane meets the four edges of the volume.
    meets = []
    for ends in product((0, 1), repeat=2):
        corner = np.zeros(3)
        corner[others] = np.array(ends) * (size[others] - 1)
        meets.append((at_origin - across @ corner) / across[index_axis])
    if max(meets) - min(meets) > LEAN_TOLERANCE:
        return None
    index = int(np.floor(sum(meets) / 4 + 0.5))
    if not 0 <= index < size[index_axis]:
        raise InputError("The slice view shows a place beside the volume; scroll to where the volume is.")
    for plane in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL):
        if SliceStack.along(grid, plane).axis == index_axis:
            return StackSlice(plane, index)
    raise AssertionError("every index axis has a plane")


def oblique_slice(view: ViewPlane, volume: Volume) -> Volume:
    """A volume of one slice: ``volume`` along ``view``, linear between its voxels.

    Its slice is as thick as what the plane touches: a voxel belongs to it when the plane goes through the voxel.

    Raises:
        InputError: the view shows a place beside the volume.
    """
    from scipy.ndimage import map_coordinates

    grid = _grid_on_plane(view, volume.grid)
    _, rows, columns = grid.shape
    j, i = np.mgrid[0:rows, 0:columns]
    to_volume = np.linalg.inv(volume.grid.ijk_to_ras) @ grid.ijk_to_ras
    places = to_volume[:3, :3] @ np.stack([i.ravel(), j.ravel(), np.zeros(i.size)]) + to_volume[:3, 3:]
    array = volume.array[..., None] if volume.array.ndim == 3 else volume.array
    size = np.array(volume.grid.shape[::-1])[:, None]
    # Between the outermost voxels' centers and their borders there is still volume.
    beside = ((places < -0.5) | (places > size - 0.5)).any(axis=0)
    parts = []
    for component in np.moveaxis(array, -1, 0):
        values = map_coordinates(component, places[::-1], np.float64, order=1, mode="nearest")
        values[beside] = component.min()
        parts.append(values.reshape(1, rows, columns))
    looked_up = np.stack(parts, axis=-1)
    if not np.issubdtype(volume.array.dtype, np.floating):
        looked_up = np.rint(looked_up)
    looked_up = looked_up.astype(volume.array.dtype)
    looked_up = looked_up[..., 0] if volume.array.ndim == 3 else looked_up
    # Without a modality a volume is known for a CT by its air, which a slice need not have.
    modality = "CT" if is_ct(volume) else volume.modality
    return Volume(looked_up, grid, modality, volume.name, volume.messages)


def mask_on_slice(mask: BoolMask, grid: VoxelGrid, slice_grid: VoxelGrid) -> BoolMask:
    """``mask`` bool ``[k, j, i]`` of ``grid`` where the pixels of an oblique slice are, ``[0, row, column]``."""
    pixels = np.argwhere(np.ones(slice_grid.shape, bool))[:, ::-1].astype(np.float64)
    places = np.rint(grid.to_ijk(slice_grid.to_ras(pixels))).astype(int)
    there = ((places >= 0) & (places < np.array(grid.shape[::-1]))).all(axis=1)
    found = np.zeros(len(places), bool)
    i, j, k = places[there].T
    found[there] = mask[k, j, i]
    return found.reshape(slice_grid.shape)


def touched_thickness(ijk_to_ras: Matrix, normal: NDArray[np.float64]) -> float:
    """How far apart, in millimeters, two planes lie that touch the same voxel from both sides."""
    return float(np.abs(normal @ ijk_to_ras[:3, :3]).sum())


def _grid_on_plane(view: ViewPlane, grid: VoxelGrid) -> VoxelGrid:
    """The grid of one slice that covers where ``view`` cuts ``grid``."""
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in grid.shape[::-1]])))
    places = grid.to_ras(corners) - view.origin
    heights = places @ view.normal
    crossings = [place for place, height in zip(places, heights, strict=True) if abs(height) < 1e-9]
    for first, second in product(range(8), repeat=2):
        differs = np.flatnonzero(corners[first] != corners[second])
        if len(differs) == 1 and heights[first] * heights[second] < 0:
            part = heights[first] / (heights[first] - heights[second])
            crossings.append(places[first] + part * (places[second] - places[first]))
    if len(crossings) < 3:
        raise InputError("The slice view shows a place beside the volume; scroll to where the volume is.")
    across, along = np.array(crossings) @ view.right, np.array(crossings) @ view.down
    extent = max(np.ptp(across), np.ptp(along))
    spacing = max(min(grid.spacing), extent / MOST_PIXELS)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = view.right * spacing, view.down * spacing
    matrix[:3, 2] = view.normal * touched_thickness(grid.ijk_to_ras, view.normal)
    matrix[:3, 3] = view.origin + (across.min() + spacing / 2) * view.right + (along.min() + spacing / 2) * view.down
    columns, rows = (max(1, int(np.ceil(np.ptp(way) / spacing - 1e-6))) for way in (across, along))
    return VoxelGrid((1, rows, columns), matrix)


def shown_slice(slice_node: Any, volume_node: Any, placed: SceneVolume) -> StackSlice:
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


def jump_to_slice(volume_node: Any, placed: SceneVolume, stack: SliceStack, index: int) -> None:
    """Let all slice views show the middle of slice ``index`` of ``stack``."""
    middle = (np.array(stack.grid.shape[::-1]) - 1) / 2
    middle[stack.axis] = index
    to_world = node_to_world(volume_node) @ placed.to_node
    x, y, z, _ = to_world @ np.array([*stack.grid.to_ras(middle), 1.0])
    slicer.vtkMRMLSliceNode.JumpAllSlices(volume_node.GetScene(), float(x), float(y), float(z))
