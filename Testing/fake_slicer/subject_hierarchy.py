"""The Qt part of Slicer's subject hierarchy, as far as it writes into the error log.

As qSlicerSubjectHierarchyPluginLogic it makes an item for each node that is not hidden when it is added, and as the
segmentations plugin it complains of every change of a segmentation that has none.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk


class SubjectHierarchyPlugin:
    """Watches a scene.

    Attributes:
        log_lines: what Slicer's error log would hold, one line a complaint.
    """

    def __init__(self, scene: Any) -> None:
        self.log_lines: list[str] = []
        self._scene = scene
        self._observed = [
            (scene, scene.AddObserver(scene.NodeAddedEvent, self._node_added)),
            (scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._node_about_to_be_removed)),
        ]

    def release(self) -> None:
        """Watch no more."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, scene: Any, _event: str, node: Any) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not node.IsA("vtkMRMLSegmentationNode") or hierarchy is None:
            return
        if not node.GetHideFromEditors():
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        events = slicer.vtkSegmentation
        for event, slot in (
            (events.SegmentAdded, "onSegmentAdded"),
            (events.SegmentRemoved, "onSegmentRemoved"),
            (events.SegmentModified, "onSegmentModified"),
            (slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, "updateAllSegmentsFromMRML"),
        ):
            self._observed.append((node, node.AddObserver(event, self._complain(slot))))

    def _complain(self, slot: str) -> Any:
        def changed(node: Any, _event: str) -> None:
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
            if hierarchy is not None and not hierarchy.GetItemByDataNode(node) and not self._scene.IsClosing():
                self.log_lines.append(f"{slot}: no subject hierarchy item for segmentation node {node.GetName()}")

        return changed

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_about_to_be_removed(self, scene: Any, _event: str, node: Any) -> None:
        if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        if node.GetScene() is None:
            self.log_lines.append("onNodeAboutToBeRemoved: Failed to access subject hierarchy node")
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            if node.IsA("vtkMRMLSegmentationNode") and node.GetDisplayNode() is not None:
                # Slicer takes the display along.
                scene.RemoveNode(node.GetDisplayNode())
            hierarchy.RemoveItem(item, False, False)
