"""From a volume node to a volume of the engine, and the way back to the node's place in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SceneLib.coroutines import (
    WORKING,
    StepGenerator,
    run_in_thread,
    run_steps_to_end,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.preprocessing.resampling import straighten
from MedSAM3SegmentLib.volume import Volume

from .nodes import require_node
from .transforms import (
    array_of,
    node_to_world,
    require_linear,
    rigid_part,
)

#: UCUM code of Hounsfield units, as Slicer's DICOM reader puts it on a volume node.
_HOUNSFIELD = "[hnsf'U]"

_BROWSER_CLASS = "vtkMRMLSequenceBrowserNode"

#: Copying this much takes a millisecond or a few.
_BYTES_A_STEP = 2**20


@dataclass(frozen=True, eq=False)
class SceneVolume:
    """A volume for the engine and where its frame lies in the scene.

    Attributes:
        volume: a copy of the voxels, so the node may change meanwhile. Its grid is in the patient as the slice views
            show it: parent transforms count with their rotation and translation, not with their scaling and shear,
            which would only bend the voxels.
        to_node: 4x4 from RAS of the volume's grid to RAS of the node's own frame, below its parent transforms.
    """

    volume: Volume
    to_node: Matrix


def read_volume_node(node: Any) -> SceneVolume:
    """The image of a vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode, at once.

    Raises:
        InputError: as ``read_in_steps``.
    """
    return run_steps_to_end(read_in_steps(node))


def read_in_steps(node: Any) -> StepGenerator[SceneVolume]:
    """The image of a vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode, some slices a step.

    A sheared lattice is resampled to a perpendicular one, as the readers of files do, and the volume says so. Of a
    sequence it is the frame that is shown, and the volume says that too.

    Raises:
        InputError: there is no node, it holds no image, something else than one value or an 8-bit color per voxel,
            is under a non-linear transform, or was changed while it was read.
    """
    check_volume_node(node)
    version = voxels_version(node)
    array = yield from _voxels(node)
    if voxels_version(node) != version:
        raise InputError("The volume '{name}' was changed while it was read; try again.", name=node.GetName())
    placement = _placement(node)
    grid = _grid(node, array.shape[:3], placement)
    messages = sequence_messages(node)
    if grid.is_sheared:
        array, grid = yield from run_in_thread(lambda: straighten(array, grid))
        messages = (
            *messages,
            message(
                "'{name}' has a sheared voxel lattice and was resampled to a perpendicular one.", name=node.GetName()
            ),
        )
    volume = Volume(array, grid, modality_of(node), node.GetName() or "volume", messages)
    return SceneVolume(volume, np.linalg.inv(placement))


def check_volume_node(node: Any) -> None:
    """Check that ``node`` can be segmented, before anything is read.

    Raises:
        InputError: as ``read_in_steps``.
    """
    if node is None:
        raise InputError("No volume was given; load a CT or MR volume and select it.")
    require_node(node)
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(
            "'{name}' is a {kind}, not a volume; select a CT or MR volume.",
            name=node.GetName(),
            kind=node.GetNodeTagName(),
        )
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(
            "'{name}' is a label map, not an image; select the volume it was drawn on.", name=node.GetName()
        )
    _components(node)
    require_linear(node)


def has_namesake(node: Any, name: str) -> bool:
    """Whether the scene of a volume node has another volume of the name it was read by."""
    scene, kind = node.GetScene(), "vtkMRMLScalarVolumeNode"
    nodes = (scene.GetNthNodeByClass(number, kind) for number in range(scene.GetNumberOfNodesByClass(kind)))
    return any(other is not node and other.GetName() == name for other in nodes)


def voxels_version(node: Any) -> tuple[Any, ...]:
    """What differs as soon as a voxel of a volume node does."""
    image = node.GetImageData()
    # The image itself is part of it, for another one may come to stand at the same address.
    return (image, 0 if image is None else image.GetMTime())


def slice_count(node: Any, plane: Plane) -> int | None:
    """How many slices ``plane`` cuts a volume node into; None where that is known only once it is read.

    Raises:
        InputError: as ``read_in_steps``.
    """
    check_volume_node(node)
    i, j, k = node.GetImageData().GetDimensions()
    grid = _grid(node, (k, j, i), _placement(node))
    return None if grid.is_sheared else SliceStack.along(grid, plane).count


def sequence_messages(node: Any) -> tuple[Message, ...]:
    """One sentence when ``node`` shows a frame of a sequence, else nothing."""
    scene = node.GetScene()
    for number in range(scene.GetNumberOfNodesByClass(_BROWSER_CLASS) if scene else 0):
        browser = scene.GetNthNodeByClass(number, _BROWSER_CLASS)
        sequence = browser.GetSequenceNode(node)
        if sequence is not None:
            frame, count = browser.GetSelectedItemNumber() + 1, browser.GetNumberOfItems()
            return (
                message(
                    "'{name}' is the sequence '{sequence}'; only frame {frame} of {count}, the one that was shown, was "
                    "segmented.",
                    name=node.GetName(),
                    sequence=sequence.GetName(),
                    frame=frame,
                    count=count,
                ),
            )
    return ()


def modality_of(node: Any) -> str:
    """The DICOM modality of a volume node in upper case, ``""`` when the scene does not know it.

    From the subject hierarchy, where Slicer's DICOM import keeps it, from the node's own attribute of the same name
    (``DICOM.Modality``), or CT when its voxels are said to be in Hounsfield units.
    """
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    # Slicer's own way to ask for the hierarchy would add one to a scene without.
    hierarchy = node.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if node.GetScene() else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    modality = (hierarchy.GetItemAttribute(item, name) if item else "") or node.GetAttribute(name) or ""
    if modality:
        return str(modality).strip().upper()
    units = node.GetVoxelValueUnits()
    return "CT" if units is not None and units.GetCodeValue() == _HOUNSFIELD else ""


def _components(node: Any) -> int:
    """How many values each voxel of ``node`` has: 1, or 3 or 4 of an 8-bit color."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise InputError(
            "The volume '{name}' holds no image; load it again or select another volume.", name=node.GetName()
        )
    components, dtype = int(scalars.GetNumberOfComponents()), vtk_to_numpy(scalars).dtype
    if components == 1 or (components in (3, 4) and dtype == np.uint8):
        return components
    raise InputError(
        "The volume '{name}' holds {components} values of type {dtype} per voxel, not one value or an 8-bit "
        "colour; convert it with the Vector to Scalar Volume module.",
        name=node.GetName(),
        components=components,
        dtype=str(dtype),
    )


def _voxels(node: Any) -> StepGenerator[NDArray[Any]]:
    """A copy of the voxels, ``[k, j, i]`` or ``[k, j, i, 3]``."""
    from vtk.util.numpy_support import vtk_to_numpy

    components = _components(node)
    image = node.GetImageData()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*reversed(image.GetDimensions()), components)
    array = array[..., 0] if components == 1 else array[..., :3]
    copied = np.empty(array.shape, array.dtype)
    slab = max(1, _BYTES_A_STEP // max(1, array[:1].nbytes))
    for first in range(0, len(array), slab):
        copied[first : first + slab] = array[first : first + slab]
        yield WORKING
    return copied


def _placement(node: Any) -> Matrix:
    """What of a node's parent transforms counts for the grid of its volume."""
    return np.eye(4) if node.GetParentTransformNode() is None else rigid_part(node_to_world(node))


def _grid(node: Any, shape: tuple[int, ...], placement: Matrix) -> VoxelGrid:
    from vtk import vtkMatrix4x4

    ijk_to_ras = vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_ras)
    try:
        return VoxelGrid(shape, placement @ array_of(ijk_to_ras))  # type: ignore[arg-type]
    except ValueError:
        raise InputError(
            "The voxels of '{name}' have no size or place; repair its spacing in the Volumes module.",
            name=node.GetName(),
        ) from None
