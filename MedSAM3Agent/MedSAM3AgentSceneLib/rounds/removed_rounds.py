"""What belongs to a round goes with it, however its node is removed: its picture and its display."""

from __future__ import annotations

import weakref
from typing import Any

import vtk

from .request_folder import take_out
from .round_record import RECORD_ROLE, is_round


class RemovedRounds:
    """Looks after a scene for as long as it lives: Slicer removes a node, and leaves behind what only that node used.

    Args:
        scene: a vtkMRMLScene.
    """

    def __init__(self, scene: Any) -> None:
        leaving: dict[str, list[Any]] = {}

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def leaves(_scene: Any, _event: Any, node: Any) -> None:
            if node is None or scene.IsClosing() or not node.IsA("vtkMRMLSegmentationNode") or not is_round(node):
                return
            belonging = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
            belonging.append(node.GetNodeReference(RECORD_ROLE))
            leaving[str(node.GetID())] = [other for other in belonging if other is not None]

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def has_left(_scene: Any, _event: Any, node: Any) -> None:
            for other in leaving.pop(str(node.GetID()), ()) if node is not None else ():
                # Once the node is gone: Slicer complains where a segmentation without an item changes.
                if other.GetScene() is scene:
                    scene.RemoveNode(other)
                take_out(scene, other)

        tags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, leaves),
            scene.AddObserver(scene.NodeRemovedEvent, has_left),
        ]
        for tag in tags:
            # When Python ends, the scene may be gone already.
            weakref.finalize(self, scene.RemoveObserver, tag).atexit = False
