"""Segmentations that an action of the agent added, as one step of the scene's undo history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from MedSAM3SceneLib.mrml.segmentation_nodes import remove_segmentation, visibilities_kept

from .request_folder import folder_of, hierarchy_of, put_into, take_out
from .round_record import SESSION


@dataclass(frozen=True, eq=False)
class AddedSegmentation:
    """A segmentation node with what belongs to it.

    Attributes:
        node: the vtkMRMLSegmentationNode.
        record: its text node, or None.
        item: where it lies in the subject hierarchy, or 0 for the folder of the session.
    """

    node: Any
    record: Any | None
    item: int = 0


@dataclass(eq=False)
class AddedNodes:
    """The step: undo removes the nodes, redo brings the very same back, with whatever was edited in them since.

    Attributes:
        scene: they are in.
        session: whose folder they lie in, or empty.
        folder_name: of that, where the action made the folder; else empty.
        place: the item that the folder lies in.
        added: in their order.
        hidden: display nodes that the action hid.
        is_undone: whether they are out of the scene by undo.
    """

    scene: Any
    session: str = ""
    folder_name: str = ""
    place: int = 0
    added: list[AddedSegmentation] = field(default_factory=list)
    hidden: list[Any] = field(default_factory=list)
    is_undone: bool = False
    _displays: list[list[Any]] = field(default_factory=list)

    @property
    def can_undo(self) -> bool:
        return not self.is_undone and any(one.node.GetScene() is self.scene for one in self.added)

    @property
    def can_redo(self) -> bool:
        return self.is_undone and bool(self.added)

    def undo(self) -> None:
        """Take the nodes out of the scene, and show again what they had hidden."""
        # What a person removed does not come back with redo.
        self.added = [one for one in self.added if one.node.GetScene() is self.scene]
        self._displays = []
        for one in self.added:
            count = one.node.GetNumberOfDisplayNodes()
            self._displays.append([one.node.GetNthDisplayNode(number) for number in range(count)])
            remove_segmentation(one.node)
            take_out(self.scene, one.node)
            if one.record is not None:
                if one.record.GetScene() is self.scene:
                    self.scene.RemoveNode(one.record)
                take_out(self.scene, one.record)
        if self.folder_name and (folder := folder_of(self.scene, self.session)):
            hierarchy_of(self.scene).RemoveItem(folder, False, False)
        self._set_hidden(False)
        self.is_undone = True

    def redo(self) -> None:
        """Put them back."""
        if self.folder_name:
            self._make_folder()
        with visibilities_kept(self.scene):
            for one, displays in zip(self.added, self._displays, strict=True):
                if one.record is not None:
                    self.scene.AddNode(one.record)
                self.scene.AddNode(one.node)
                # Slicer's subject hierarchy hears of each and logs those whose segmentation it does not have yet.
                for number, display in enumerate(displays):
                    self.scene.AddNode(display)
                    one.node.SetAndObserveNthDisplayNodeID(number, display.GetID())
                item = one.item or folder_of(self.scene, self.session)
                put_into(item, one.node)
                if one.record is not None:
                    put_into(item, one.record)
        self._set_hidden(True)
        self.is_undone = False

    def _make_folder(self) -> None:
        hierarchy = hierarchy_of(self.scene)
        if folder_of(self.scene, self.session):
            return
        place = self.place if hierarchy.GetItemParent(self.place) or self.place == hierarchy.GetSceneItemID() else 0
        folder = hierarchy.CreateFolderItem(place or hierarchy.GetSceneItemID(), self.folder_name)
        hierarchy.SetItemAttribute(folder, SESSION, self.session)

    def _set_hidden(self, is_hidden: bool) -> None:
        for display in self.hidden:
            if display.GetScene() is self.scene:
                display.SetVisibility(not is_hidden)
