"""Nodes for tests, and where their voxels really are: independent of the code under test and of Slicer's exporters."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from hypothesis import strategies as st
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from .scene import boot

Array = NDArray[Any]


def add_volume(array: Array, ijk_to_ras: Array | None = None, parent: Any = None, name: str = "ct") -> Any:
    """A scalar volume node of ``array`` ``[k, j, i]``, or a vector volume node of ``[k, j, i, component]``."""
    slicer = boot()
    class_name = "vtkMRMLVectorVolumeNode" if array.ndim == 4 else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    slicer.updateVolumeFromArray(node, array)
    if ijk_to_ras is not None:
        node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_transform(matrix: Array, parent: Any = None) -> Any:
    node = boot().mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
    node.SetMatrixTransformToParent(vtk_matrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_warp() -> Any:
    """A non-linear transform node."""
    node = boot().mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    warp = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)):
        points.InsertNextPoint(corner)
        moved.InsertNextPoint(np.multiply(corner, (1.0, 1.1, 1.2)) + np.square(corner) / 20)
    warp.SetSourceLandmarks(points)
    warp.SetTargetLandmarks(moved)
    warp.SetBasisToR()
    node.SetAndObserveTransformToParent(warp)
    return node


def add_segmentation(volume: Any, masks: dict[str, Array]) -> Any:
    """A segmentation drawn on ``volume`` by Slicer; segments that do not overlap share one labelmap."""
    slicer = boot()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for name, mask in masks.items():
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*mask.shape[::-1])
        image.SetImageToWorldMatrix(matrix)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
        segment_id = node.GetSegmentation().AddEmptySegment(name, name)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return node


def vtk_matrix(array: Array) -> Any:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(element) for element in np.asarray(array).ravel()])
    return matrix


def to_world(node: Any) -> Array:
    """4x4 from the frame of ``node`` to the world."""
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def mask_in_world(volume: Any, mask: Array) -> Array:
    """World RAS of the set voxels of ``mask`` on the voxels of ``volume``, ``[n, 3]``, sorted."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijk_to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    return _sorted(to_world(volume) @ ijk_to_ras, np.argwhere(mask)[:, ::-1])


def segment_in_world(segmentation: Any, segment_id: str) -> Array:
    """World RAS of the voxels of a segment, ``[n, 3]``, sorted; read from the segment's own labelmap."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    if image.IsEmpty():
        return np.zeros((0, 3))
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ijk_to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    first = np.array(image.GetExtent()[::2])
    return _sorted(to_world(segmentation) @ ijk_to_ras, np.argwhere(voxels == segment.GetLabelValue())[:, ::-1] + first)


def misplaced(segmentation: Any, segment_id: str, volume: Any, mask: Array) -> int:
    """How many voxels of a segment or of the mask it should hold have no counterpart at the same place in the world."""
    return unmatched(segment_in_world(segmentation, segment_id), mask_in_world(volume, mask))


def snapshot(segmentation: Any) -> list[tuple[Any, ...]]:
    """All that undo must restore: of every segment its name, color, tags, and every voxel with its place."""
    content = []
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        tags = []
        for tag in ("MedSAM3.Provenance", "TerminologyEntry"):
            value = vtk.reference("")
            tags.append(str(value) if segment.GetTag(tag, value) else None)
        where = segment_in_world(segmentation, segment_id)
        content.append((segment_id, segment.GetName(), segment.GetColor(), *tags, where.tobytes()))
    return content


def _sorted(matrix: Array, indices: Array) -> Array:
    positions = indices @ matrix[:3, :3].T + matrix[:3, 3]
    return positions[np.lexsort(np.rint(positions * 1e3).T)] if len(positions) else np.zeros((0, 3))


def unmatched(first: Array, second: Array) -> int:
    """How many of the positions ``[n, 3]`` of either list have none of the other within a tenth of a micrometre."""
    from scipy.spatial import cKDTree

    if not len(first) or not len(second):
        return len(first) + len(second)
    return sum(int((cKDTree(a).query(b)[0] > 1e-4).sum()) for a, b in ((first, second), (second, first)))


def rotation(degrees: tuple[float, float, float]) -> Array:
    """3x3 rotation about x, then y, then z."""
    total = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = [n for n in range(3) if n != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        total = turn @ total
    return total


def rigid(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(degrees)
    matrix[:3, 3] = shift
    return matrix


#: Turned about all axes and shifted.
TURNED = rigid((20, -35, 50), (100, 0, 0))

_angles = st.tuples(*[st.floats(-180, 180)] * 3)
_shifts = st.tuples(*[st.floats(-150, 150)] * 3)

#: Rigid 4x4 matrices.
rigids = st.builds(rigid, _angles, _shifts)


@st.composite
def lattices(draw: st.DrawFn) -> Array:
    """4x4 matrices of any voxel grid with perpendicular axes: permuted, flipped, left-handed, oblique, anisotropic."""
    permutation = np.eye(3)[draw(st.permutations(range(3)))]
    flips = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    spacing = np.diag(draw(st.tuples(*[st.floats(0.4, 7.5)] * 3)))
    tilt = rotation(draw(st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(*[st.floats(-40, 40)] * 3))))
    matrix = np.eye(4)
    matrix[:3, :3] = tilt @ permutation @ flips @ spacing
    matrix[:3, 3] = draw(_shifts)
    return matrix


@st.composite
def label_arrays(draw: st.DrawFn, labels: int = 2) -> Array:
    """Small int16 arrays ``[k, j, i]`` of 0 to ``labels``, each label present."""
    shape = draw(st.tuples(*[st.integers(2, 6)] * 3))
    array = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, labels + 1, shape)
    array.ravel()[: labels + 1] = range(labels + 1)
    return array.astype(np.int16)


def remove_slice_views(scene: Any) -> None:
    """Slice nodes are singletons, which survive when the scene is cleared."""
    while scene.GetNumberOfNodesByClass("vtkMRMLSliceNode"):
        scene.RemoveNode(scene.GetNthNodeByClass(0, "vtkMRMLSliceNode"))


def slice_view(slice_to_ras: Array | None = None, orientation: str = "Axial") -> Any:
    """The slice node of the one slice view of a test."""
    import slicer

    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
    if node is None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetLayoutName("Red")
        node = slicer.mrmlScene.AddNode(node)
    if slice_to_ras is None:
        node.SetOrientation(orientation)
    else:
        for row in range(4):
            for column in range(4):
                node.GetSliceToRAS().SetElement(row, column, float(slice_to_ras[row, column]))
        node.UpdateMatrices()
    return node


def along(ijk_to_world: Array, axis: int, index: float) -> Array:
    """The matrix of a slice view that runs along the voxels and shows a slice of an index axis."""
    columns = [ijk_to_world[:3, other] / np.linalg.norm(ijk_to_world[:3, other]) for other in range(3) if other != axis]
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = columns
    matrix[:3, 2] = np.cross(*columns)
    at = np.array([1.3, 2.1, 0.6])
    at[axis] = index
    matrix[:3, 3] = ijk_to_world[:3, :3] @ at + ijk_to_world[:3, 3]
    return matrix


def segments(node: Any) -> dict[str, str]:
    """The IDs of a segmentation's segments by their names."""
    segmentation = node.GetSegmentation()
    return {segmentation.GetSegment(i).GetName(): i for i in segmentation.GetSegmentIDs()}
