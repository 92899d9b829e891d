"""The undo history that Slicer's own Segment Editor keeps of the segmentation it has open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer


def editor_state_saver(segmentation_node: Any) -> Callable[[], None]:
    """Lets the Undo button of Slicer's Segment Editor take an action back too, when it has this segmentation open."""

    def save_state() -> None:
        panel = getattr(slicer.modules, "SegmentEditorWidget", None)
        editor = panel.editor if panel is not None else None
        if editor is not None and segmentation_node is not None and editor.segmentationNode() == segmentation_node:
            editor.saveStateForUndo()

    return save_state
