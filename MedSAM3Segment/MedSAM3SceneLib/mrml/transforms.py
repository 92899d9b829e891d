"""Coordinate frames of the scene: what a parent transform does to a node, as plain 4x4 matrices.

Matrices are float64 numpy arrays that act on ``(x, y, z, 1)`` columns of RAS millimeters. The frame that a node's own
data is in is called the node's frame; the world is the frame of the slice views.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import Matrix


def array_of(matrix: vtk.vtkMatrix4x4) -> Matrix:
    """The numpy array of a VTK matrix."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_of(array: Matrix) -> vtk.vtkMatrix4x4:
    """The VTK matrix of a numpy array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(element) for element in np.asarray(array).ravel()])
    return matrix


def require_linear(node: Any) -> None:
    """Check that what lies between ``node`` and the world is a matrix.

    Raises:
        InputError: a parent transform of ``node`` is non-linear.
    """
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise InputError(
            "'{name}' is under the non-linear transform '{transform}'; harden or remove that transform in the "
            "Transforms module and try again.",
            name=node.GetName(),
            transform=parent.GetName(),
        )


def node_to_world(node: Any) -> Matrix:
    """From the frame of ``node`` to the world.

    Raises:
        InputError: a parent transform of ``node`` is non-linear.
    """
    return node_to_node(node, None)


def node_to_node(source: Any, target: Any) -> Matrix:
    """From the frame of the node ``source`` to the frame of the node ``target`` (None for the world).

    Raises:
        InputError: a parent transform of either is non-linear.
    """
    for node in filter(None, (source, target)):
        require_linear(node)
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        source.GetParentTransformNode(), target.GetParentTransformNode() if target else None, matrix
    )
    return array_of(matrix)


def rigid_part(matrix: Matrix) -> Matrix:
    """``matrix`` without scaling and shear: the closest rotation (or reflection), and the same translation."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rigid = matrix.copy()
    rigid[:3, :3] = left @ right
    return rigid
