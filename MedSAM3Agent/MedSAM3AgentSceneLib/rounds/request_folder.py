"""The folder of a request in Slicer's subject hierarchy: under the study of its volume, or beside the volume."""

from __future__ import annotations

from typing import Any

import slicer

from .round_record import SESSION

#: Characters of a folder's name.
_LONGEST_NAME = 60


def folder_of(scene: Any, session: str) -> int:
    """The item of a session's folder, 0 where there is none."""
    hierarchy = hierarchy_of(scene)
    for item in _items_below(hierarchy, hierarchy.GetSceneItemID()):
        if hierarchy.GetItemAttribute(item, SESSION) == session and hierarchy.GetItemDataNode(item) is None:
            return item
    return 0


def add_folder(volume_node: Any, session: str, name: str) -> int:
    """A new folder for a session."""
    hierarchy = hierarchy_of(volume_node.GetScene())
    shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
    folder = int(hierarchy.CreateFolderItem(place_beside(volume_node), shown))
    hierarchy.SetItemAttribute(folder, SESSION, session)
    return folder


def place_beside(volume_node: Any) -> int:
    """The item that results of a volume belong under: its study, or what the volume itself lies in."""
    hierarchy = hierarchy_of(volume_node.GetScene())
    item = hierarchy.GetItemByDataNode(volume_node)
    if not item:
        return int(hierarchy.GetSceneItemID())
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return int(hierarchy.GetItemAncestorAtLevel(item, level) or hierarchy.GetItemParent(item))


def put_into(item: int, node: Any) -> None:
    """Place a node of the scene below an item."""
    hierarchy_of(node.GetScene()).CreateItem(item, node)


def take_out(scene: Any, node: Any) -> None:
    """Remove the item of a node that has left the scene, where Slicer has not done so.

    Not before it left: Slicer complains of every change of a segmentation that has no item.
    """
    hierarchy = hierarchy_of(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)


def hierarchy_of(scene: Any) -> Any:
    """The subject hierarchy of a scene."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _items_below(hierarchy: Any, item: int) -> list[int]:
    import vtk

    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids, True)
    return [int(ids.GetId(number)) for number in range(ids.GetNumberOfIds())]
