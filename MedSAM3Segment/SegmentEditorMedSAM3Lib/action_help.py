"""What the effect's actions do, in the words of their tool tips."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedSAM3SceneLib.runs.edit_actions import EditAction


def action_help(action: EditAction) -> str:
    """The tool tip of an action's button."""
    return {
        EditAction.THIS_SLICE: _("Segment the slice that was last worked in, with what is drawn on it. Key: Enter"),
        EditAction.PROPAGATE: _(
            "Follow the segment from the slices that were drawn or corrected through all others. Those come back as"
            " they are, to the voxel. Key: Shift+Enter"
        ),
        EditAction.WHOLE_VOLUME: _("Segment the whole volume; what the segment holds is replaced."),
    }[action]
