"""Undo and redo of whatever was done last to segmentations of the scene, for those who write and those who do not."""

from __future__ import annotations

from .segment_writer import SegmentWriter


class SceneUndo:
    """The one history of the scene, as long as somebody holds it."""

    def undo(self) -> bool:
        """Take back what was done last in the scene, by this one or another; False when there is nothing."""
        writer = SegmentWriter.shared_if_held()
        return writer is not None and writer.undo()

    def redo(self) -> bool:
        """Do again what was undone; False when there is nothing."""
        writer = SegmentWriter.shared_if_held()
        return writer is not None and writer.redo()

    @property
    def can_undo(self) -> bool:
        writer = SegmentWriter.shared_if_held()
        return writer is not None and writer.can_undo

    @property
    def can_redo(self) -> bool:
        writer = SegmentWriter.shared_if_held()
        return writer is not None and writer.can_redo
