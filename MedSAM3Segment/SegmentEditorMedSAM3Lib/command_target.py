"""What a command typed below the effect is said of: the selected segment, with the undo of the Segment Editor."""

from __future__ import annotations

from typing import Any

from MedSAM3WidgetsLib.agent_parts import new_command_target


def command_target(scripted_effect: Any, widget: Any) -> Any:
    """The MedSAM3AgentWidgetsLib.command_line.CommandTarget of an effect as it is now.

    Args:
        scripted_effect: the effect's host.
        widget: one below the Segment Editor.
    """
    editor = scripted_effect.parameterSetNode()
    node = editor.GetSegmentationNode() if editor is not None else None
    if node is None:
        return new_command_target(None)
    window = _segment_editor_of(widget)
    return new_command_target(
        node,
        [editor.GetSelectedSegmentID()] if editor.GetSelectedSegmentID() else None,
        editor.GetSourceVolumeNode(),
        scripted_effect.saveStateForUndo,
        window.undo if window is not None else None,
        window.redo if window is not None else None,
    )


def _segment_editor_of(widget: Any) -> Any | None:
    """The qMRMLSegmentEditorWidget that a widget is in, or None."""
    parent = widget.parentWidget()
    while parent is not None and parent.className() != "qMRMLSegmentEditorWidget":
        parent = parent.parentWidget()
    return parent
