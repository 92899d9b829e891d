"""The volume that was read last, so that one click after the other on it need not copy and fingerprint it again."""

from __future__ import annotations

from typing import Any

from MedSAM3SceneLib.coroutines import StepGenerator

from .transforms import matrix_of, node_to_world
from .volumes import (
    SceneVolume,
    check_volume_node,
    modality_of,
    read_in_steps,
    sequence_messages,
    voxels_version,
)


class VolumeCache:
    """Reads volume nodes and keeps the last one while nothing of it changes."""

    def __init__(self) -> None:
        self._placed: SceneVolume | None = None
        self._stamp: tuple[Any, ...] = ()

    def read(self, node: Any) -> StepGenerator[SceneVolume]:
        """As ``volumes.read_in_steps``, at once where the node is as it was.

        Raises:
            InputError: as ``volumes.read_in_steps``.
        """
        check_volume_node(node)
        stamp = _stamp_of(node)
        if self._placed is None or stamp != self._stamp:
            self.forget()
            self._placed = yield from read_in_steps(node)
            self._stamp = stamp
        return self._placed

    def forget(self) -> None:
        """Give the memory back."""
        self._placed, self._stamp = None, ()


def _stamp_of(node: Any) -> tuple[Any, ...]:
    """What changes whenever the voxels of ``node``, their place, or what is said of them does."""
    from vtk import vtkMatrix4x4

    ijk_to_node = vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijk_to_node)
    matrices = [
        tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
        for matrix in (ijk_to_node, matrix_of(node_to_world(node)))
    ]
    return (*voxels_version(node), *matrices, node.GetName(), modality_of(node), sequence_messages(node))
