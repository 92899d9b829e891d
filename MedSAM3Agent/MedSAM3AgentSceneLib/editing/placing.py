"""Where a segmentation lies in the patient, and the volume that belongs to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from MedSAM3SceneLib.mrml.segment_masks import grid_to_segmentation
from MedSAM3SceneLib.mrml.transforms import array_of, node_to_node, node_to_world, rigid_part
from MedSAM3SceneLib.mrml.volumes import SceneVolume, check_volume_node
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.volume import Volume

from .edit_geometry import Block, same_lattice


class Placing:
    """The frames of a segmentation node as it is now.

    Args:
        volume_node: the volume that belongs to it, or None.

    Attributes:
        to_patient: 4x4 from the segmentation's frame to the patient as slice views show it, without scaling and shear
            of parent transforms, which would only bend the voxels.
        volume_block: the voxels of the volume in the segmentation's frame, or None.

    Raises:
        InputError: a parent transform of either node is non-linear.
    """

    def __init__(self, segmentation_node: Any, volume_node: Any | None) -> None:
        self._node, self._volume_node = segmentation_node, volume_node
        to_world = node_to_world(segmentation_node)
        self.to_patient: Matrix = rigid_part(to_world)
        self._is_bent = not np.allclose(to_world, self.to_patient, atol=1e-6)
        self.volume_block = None if volume_node is None else _volume_block(segmentation_node, volume_node)

    def read_volume(self, placed: SceneVolume) -> tuple[Volume, Matrix]:
        """A volume that was read, and the way from its indices to the segmentation's frame."""
        return placed.volume, grid_to_segmentation(self._node, self._volume_node, placed)

    def notes_on_slices(self, reference: Block) -> list[Message]:
        """What there is to know of how slices are counted."""
        volume = self.volume_block
        if volume is None or same_lattice(volume.lattice, reference.lattice):
            return []
        return [
            message(
                "Slices are counted on the geometry of the segmentation, which is not that of '{volume}'.",
                volume=self._volume_node.GetName(),
            )
        ]

    def notes_on_lengths(self, command: Any) -> list[Message]:
        """What there is to know of how lengths are measured."""
        if not self._is_bent or not hasattr(command, "mm"):
            return []
        return [message("The transform of the segmentation scales or shears; lengths are those without it.")]


def find_volume(segmentation_node: Any, volume_node: Any | None, editor: Any | None) -> Any | None:
    """The volume that was given, or the source volume of a Segment Editor, or the one that the segmentation is of.

    Raises:
        InputError: the one that was given cannot be used.
    """
    if volume_node is not None:
        check_volume_node(volume_node)
        return volume_node
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    for node in (
        editor.GetSourceVolumeNode() if editor is not None else None,
        segmentation_node.GetNodeReference(role),
    ):
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData() is not None:
            return node
    return None


def _volume_block(segmentation_node: Any, volume_node: Any) -> Block:
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    i, j, k = volume_node.GetImageData().GetDimensions()
    lattice = node_to_node(volume_node, segmentation_node) @ array_of(matrix)
    return Block(lattice, np.zeros(3, np.int64), (k, j, i))
