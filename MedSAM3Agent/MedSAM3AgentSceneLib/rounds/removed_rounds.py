"""What belongs to a round goes with it, however its node is removed: its picture and its display."""

from __future__ import annotations

import weakref
from typing import Any

import vtk

from .round_record import RECORD_ROLE, is_round


class RemovedRounds:
    """Looks after a scene for as long as it lives: Slicer removes a node, and leaves behind what only that node used.

    Args:
        scene: a vtkMRMLScene.
    """

    def __init__(self, scene: Any) -> None:
        tag = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _remove_what_belongs_to)
        # When Python ends, the scene may be gone already.
        weakref.finalize(self, scene.RemoveObserver, tag).atexit = False


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_what_belongs_to(scene: Any, _event: Any, node: Any) -> None:
    if node is None or scene.IsClosing() or not node.IsA("vtkMRMLSegmentationNode") or not is_round(node):
        return
    belonging = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    belonging.append(node.GetNodeReference(RECORD_ROLE))
    for other in belonging:
        if other is not None and other.GetScene() is scene:
            scene.RemoveNode(other)
