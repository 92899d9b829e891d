"""What a slice view's controller does to segmentations, as qMRMLSliceControllerWidget and its segment selector do.

Each controller shows one segmentation, with a checkbox for each of its segments. It takes the first one of the scene
where it has none, and where it takes one that is filled already, checkboxes of the last one decide about the first
segment that differs: Slicer's own bug, which hides segments that others found.
"""

from __future__ import annotations

from typing import Any

import slicer


class SliceController:
    """The segmentation controls of one slice view."""

    def __init__(self) -> None:
        self._node: Any = None
        self._tags: list[int] = []
        self._listed: list[str] = []
        self._checked: list[str] = []

    def adopt_segmentation(self, scene: Any) -> None:
        """Show the first segmentation where none is shown; one that is hidden from editors cannot be chosen."""
        if self._node is not None and self._node.GetScene() is None:
            self.release()
        if self._node is None:
            first = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            if first is not None and not first.GetHideFromEditors():
                self._show(first)

    def release(self) -> None:
        """Show no segmentation; what was checked is remembered, as Slicer does."""
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node, self._tags = None, []

    def _show(self, node: Any) -> None:
        self._node = node
        events = slicer.vtkSegmentation
        for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
            self._tags.append(node.AddObserver(event, self._list_segments))
        for event in (slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, events.SegmentAdded, events.SegmentRemoved):
            self._tags.append(node.AddObserver(event, self._check_visible))
        self._list_segments()
        self._check_visible()

    def _list_segments(self, *_: Any) -> None:
        self._listed = list(self._node.GetSegmentation().GetSegmentIDs())
        if self._listed:
            self._check(self._checked)

    def _check_visible(self, *_: Any) -> None:
        display = self._node.GetDisplayNode()
        if display is not None:
            ids = self._node.GetSegmentation().GetSegmentIDs()
            self._check([one for one in ids if display.GetSegmentVisibility(one)])

    def _check(self, wanted: list[str]) -> None:
        present = set(self._node.GetSegmentation().GetSegmentIDs())
        wanted = [one for one in wanted if one in present]
        has_changed, self._checked = self._checked != wanted, wanted
        if has_changed:
            self._checked = [one for one in self._listed if one in wanted]
            self._apply(list(self._checked))

    def _apply(self, checked: list[str]) -> None:
        """Let the first segment whose visibility is not that of its checkbox have that."""
        display = self._node.GetDisplayNode()
        for one in self._node.GetSegmentation().GetSegmentIDs() if display is not None else ():
            if one in self._listed and bool(display.GetSegmentVisibility(one)) != (one in checked):
                display.SetSegmentVisibility(one, one in checked)
                return
