"""Typed set operations against Slicer's own: the calls of Logical operators on segments of a scene, voxel for voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.editing.commands import Combine, Operation
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.grids import rotation

Mask = NDArray[np.bool_]

#: What is typed, and the operation of the effect that it means.
TYPED = {
    "remove what lies in the liver": "SUBTRACT",
    "without the liver": "SUBTRACT",
    "add the liver": "UNION",
    "keep only what lies in the liver": "INTERSECT",
    "only inside liver": "INTERSECT",
    "remove everything outside the liver": "INTERSECT",
    "copy liver": "COPY",
    "invert": "INVERT",
    "clear": "CLEAR",
}


def cases(count: int) -> list[tuple[int, Mask, Mask, VoxelGrid]]:
    """Two random masks that overlap, touch, are within each other or empty, on oblique grids."""
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(5, 16, 3).tolist())
        first, second = (ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, 1.5)) for _ in range(2))
        mask, other = (one > np.quantile(one, rng.uniform(0.3, 0.95)) for one in (first, second))
        if seed % 10 == 3:
            other = ndimage.binary_erosion(mask)
        if seed % 10 == 5:
            other = np.zeros_like(mask)
        if seed % 10 == 7:
            mask = np.zeros_like(mask)
        made.append((seed, mask, other, _grid(rng, shape)))
    return made


def _grid(rng: np.random.Generator, shape: tuple[int, ...]) -> VoxelGrid:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(rng.normal(size=3), rng.uniform(0, 40)) * rng.uniform(0.5, 6, 3)
    matrix[:3, 3] = rng.uniform(-200, 200, 3)
    return VoxelGrid((shape[0], shape[1], shape[2]), matrix)


def label_map(mask: Mask, grid: VoxelGrid, crop: bool) -> Any:
    """A mask as Slicer has it, as a whole or cropped to what is in it, as segments are kept."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    starts, stops = (0, 0, 0), mask.shape
    if crop and mask.any():
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        starts, stops = tuple(one.start for one in box), tuple(one.stop for one in box)
    part = mask[tuple(slice(*ends) for ends in zip(starts, stops, strict=True))]
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(end for n in (2, 1, 0) for end in (starts[n], stops[n] - 1)))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    values = numpy_to_vtk(np.ascontiguousarray(part).astype(np.uint8).ravel(), deep=True)
    image.GetPointData().SetScalars(values)
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, grid.ijk_to_ras[row, column])
    image.SetImageToWorldMatrix(matrix)
    return image


def mask_in(node: Any, segment: str, shape: tuple[int, ...]) -> Mask:
    import slicer
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment, image)
    mask = np.zeros(shape, bool)
    low_i, high_i, low_j, high_j, low_k, high_k = image.GetExtent()
    if high_i >= low_i and high_j >= low_j and high_k >= low_k:
        values = vtk_to_numpy(image.GetPointData().GetScalars())
        part = values.reshape(high_k - low_k + 1, high_j - low_j + 1, high_i - low_i + 1) > 0
        mask[low_k : high_k + 1, low_j : high_j + 1, low_i : high_i + 1] = part
    return mask


def inverse(image: Any) -> Any:
    import slicer
    import vtk

    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(image)
    threshold.ThresholdByLower(0)
    threshold.SetInValue(1)
    threshold.SetOutValue(0)
    threshold.SetOutputScalarType(vtk.VTK_UNSIGNED_CHAR)
    threshold.Update()
    result = slicer.vtkOrientedImageData()
    result.ShallowCopy(threshold.GetOutput())
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    result.SetGeometryFromImageToWorldMatrix(matrix)
    return result


def slicers(mask: Mask, other: Mask, grid: VoxelGrid, operation: str) -> Mask:
    """What Logical operators leaves of the first of two segments, with masking bypassed, as the effect does it."""
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    selected, modifier = segmentation.AddEmptySegment("selected"), segmentation.AddEmptySegment("modifier")
    for segment, one in ((selected, mask), (modifier, other)):
        assert logic.SetBinaryLabelmapToSegment(label_map(one, grid, False), node, segment, logic.MODE_REPLACE)
    whole, cropped = label_map(mask, grid, False), label_map(other, grid, True)
    extent = cropped.GetExtent()
    match operation:
        case "COPY":
            logic.SetBinaryLabelmapToSegment(cropped, node, selected, logic.MODE_REPLACE, extent)
        case "UNION":
            logic.SetBinaryLabelmapToSegment(cropped, node, selected, logic.MODE_MERGE_MAX, extent)
        case "SUBTRACT":
            logic.SetBinaryLabelmapToSegment(inverse(cropped), node, selected, logic.MODE_MERGE_MIN, extent)
        case "INTERSECT":
            common = slicer.vtkOrientedImageData()
            resample = slicer.vtkOrientedImageDataResample
            resample.MergeImage(whole, cropped, common, resample.OPERATION_MINIMUM, whole.GetExtent())
            logic.SetBinaryLabelmapToSegment(common, node, selected, logic.MODE_REPLACE, extent)
        case "INVERT":
            logic.SetBinaryLabelmapToSegment(inverse(whole), node, selected, logic.MODE_REPLACE)
        case "CLEAR" | "FILL":
            slicer.vtkOrientedImageDataResample.FillImage(whole, int(operation == "FILL"), whole.GetExtent())
            logic.SetBinaryLabelmapToSegment(whole, node, selected, logic.MODE_REPLACE)
    left = mask_in(node, selected, mask.shape)
    assert np.array_equal(mask_in(node, modifier, mask.shape), other)
    slicer.mrmlScene.RemoveNode(node)
    return left


@pytest.mark.parametrize("typed", [*TYPED, (Combine(Operation.FILL),)], ids=str)
def test_set_operations_are_slicers_own_on_random_grids(typed: str | tuple[Combine], scene: Any) -> None:
    del scene
    operation = TYPED[typed] if isinstance(typed, str) else typed[0].operation.value
    wrong = []
    for seed, mask, other, grid in cases(30):
        ours = apply_commands(mask, grid, typed, others={"Liver": other, "Spleen": ~other}).mask
        if not np.array_equal(ours, slicers(mask, other, grid, operation)):
            wrong.append(seed)
    assert not wrong
