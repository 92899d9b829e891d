"""The line for typed commands in the panel, where the agent's module is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from MedSAM3WidgetsLib.agent_parts import new_command_line

from .request_form import RequestForm


class CommandSection:
    """Shows the line, or nothing.

    Args:
        ui: the panel's widgets.
        form: knows the segmentation that is chosen.
        changed: called after segments were changed.
    """

    def __init__(self, ui: Any, form: RequestForm, changed: Callable[[], None]) -> None:
        self._form = form
        # The panel's own buttons undo what it does, too.
        self.line = new_command_line(self._segmentation, changed=changed, has_undo=False)
        ui.commandPlace.visible = self.line is not None
        if self.line is not None:
            ui.commandPlace.layout().addWidget(self.line.widget)

    def set_enabled(self, enabled: bool) -> None:
        """Let commands be typed, or not."""
        if self.line is not None:
            self.line.set_enabled(enabled)

    def scene_closes(self) -> None:
        """End what is on its way."""
        if self.line is not None:
            self.line.stop(_("The scene was closed; nothing was changed."))

    def close(self) -> None:
        """The panel goes away."""
        if self.line is not None:
            self.line.close()

    def _segmentation(self) -> Any | None:
        parameters = self._form.parameters
        return parameters.segmentation if parameters is not None else None
