"""From a volume node to a volume of the engine, and the way back to the node's place in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import Matrix, VoxelGrid
from MedSAM3SegmentLib.straightening import straighten
from MedSAM3SegmentLib.volume import Volume

from .frames import array_of, node_to_world, rigid_part

#: UCUM code of Hounsfield units, as Slicer's DICOM reader puts it on a volume node.
_HOUNSFIELD = "[hnsf'U]"


@dataclass(frozen=True, eq=False)
class PlacedVolume:
    """A volume for the engine and where its frame lies in the scene.

    Attributes:
        volume: a copy of the voxels, so the node may change meanwhile. Its grid is in the patient as the slice views
            show it: parent transforms count with their rotation and translation, not with their scaling and shear,
            which would only bend the voxels.
        to_node: 4x4 from RAS of the volume's grid to RAS of the node's own frame, below its parent transforms.
    """

    volume: Volume
    to_node: Matrix


def read_volume_node(node: Any) -> PlacedVolume:
    """The image of a vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode.

    A sheared lattice is resampled to a perpendicular one, as the readers of files do, and the volume says so.

    Raises:
        InputError: there is no node, it holds no image, something else than one value or an 8-bit colour per voxel,
            or it is under a non-linear transform.
    """
    if node is None:
        raise InputError("No volume was given; load a CT or MR volume and select it.")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"'{node.GetName()}' is a {node.GetNodeTagName()}, not a volume; select a CT or MR volume.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{node.GetName()}' is a label map, not an image; select the volume it was drawn on.")
    array = _voxels(node)
    placement = np.eye(4) if node.GetParentTransformNode() is None else rigid_part(node_to_world(node))
    grid, messages = _grid(node, array.shape[:3], placement), ()
    if grid.is_sheared:
        array, grid = straighten(array, grid)
        messages = (f"'{node.GetName()}' has a sheared voxel lattice and was resampled to a perpendicular one.",)
    volume = Volume(array, grid, modality_of(node), node.GetName() or "volume", messages)
    return PlacedVolume(volume, np.linalg.inv(placement))


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


def _voxels(node: Any) -> NDArray[Any]:
    """A copy of the voxels, ``[k, j, i]`` or ``[k, j, i, 3]``."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise InputError(f"The volume '{node.GetName()}' holds no image; load it again or select another volume.")
    components = scalars.GetNumberOfComponents()
    array = vtk_to_numpy(scalars).reshape(*reversed(image.GetDimensions()), components)
    if components == 1:
        return array[..., 0].copy()
    if components in (3, 4) and array.dtype == np.uint8:
        return array[..., :3].copy()
    raise InputError(
        f"The volume '{node.GetName()}' holds {components} values of type {array.dtype} per voxel, not one value or an "
        "8-bit colour; convert it with the Vector to Scalar Volume module."
    )


def _grid(node: Any, shape: tuple[int, ...], placement: Matrix) -> VoxelGrid:
    from vtk import vtkMatrix4x4

    ijk_to_ras = vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_ras)
    try:
        return VoxelGrid(shape, placement @ array_of(ijk_to_ras))  # type: ignore[arg-type]
    except ValueError:
        raise InputError(
            f"The voxels of '{node.GetName()}' have no size or place; repair its spacing in the Volumes module."
        ) from None
