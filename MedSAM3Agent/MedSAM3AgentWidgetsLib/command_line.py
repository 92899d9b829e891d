"""A line to type commands in: completion, undo, progress, and what was understood or why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MedSAM3AgentSceneLib.editing.command_run import CommandRun, CommandTask
from MedSAM3AgentSceneLib.editing.run_command import keep_history
from MedSAM3AgentSceneLib.translation.translate import translated
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import RunState
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.progress import Progress
from MedSAM3WidgetsLib.background_task import BackgroundTask
from MedSAM3WidgetsLib.run_timer import RunTimer


@dataclass(frozen=True, eq=False)
class CommandTarget:
    """What a typed command is said of.

    Attributes:
        segmentation_node: the vtkMRMLSegmentationNode, or None where there is none.
        segments: IDs or names of those that are meant where the text names none; None for the selected or only one.
        volume_node: for commands by intensity, or None.
        save_state, undo, redo: of an undo history of its own, as that of a Segment Editor; None for the scene's.
    """

    segmentation_node: Any | None
    segments: Sequence[str] | str | None = None
    volume_node: Any | None = None
    save_state: Callable[[], None] | None = None
    undo: Callable[[], None] | None = None
    redo: Callable[[], None] | None = None


class CommandLine:
    """The widgets.

    Args:
        place: a layout that the line is added to, or a widget that it fills; None where the caller does so.
        get_target: called for what a command is said of: a ``CommandTarget``, a segmentation node, or None.
        changed: called after segments were changed, undone or done again.
        has_undo: whether there are buttons for it; a panel may have its own for the same history.

    Attributes:
        widget: what holds all of them.
        edit: the QLineEdit.
    """

    def __init__(
        self,
        place: Any | None,
        get_target: Callable[[], Any],
        changed: Callable[[], None] | None = None,
        has_undo: bool = True,
    ) -> None:
        self._get_target = get_target
        self._changed = changed or (lambda: None)
        self._is_enabled = True
        self._timer: RunTimer | None = None
        self._complete: Callable[..., Sequence[str]] | None = None
        self._loading = BackgroundTask()
        # What a signal calls lives as long as the widget; so it is taken back in the end.
        self._connections: list[tuple[Any, str, Callable[..., Any]]] = []
        self._make_widgets(has_undo)
        if place is not None:
            layout = place if hasattr(place, "addWidget") else place.layout() or qt.QVBoxLayout(place)
            layout.addWidget(self.widget)
        self._update()

    @property
    def is_busy(self) -> bool:
        """Whether a command is on its way."""
        return self._timer is not None and not self._timer.ended

    def set_enabled(self, enabled: bool) -> None:
        """Let commands be typed, or not; one that is on its way goes on."""
        self._is_enabled = bool(enabled)
        self._update()

    def run(self) -> None:
        """Do what is typed; what prevents it is shown."""
        text = str(self.edit.text).strip()
        if self.is_busy or not text or not self._is_enabled:
            return
        target = self._target()
        if target.segmentation_node is None:
            self._say(_("There is no segmentation to change; select one or segment something first."))
            return
        task = CommandTask(
            target.segmentation_node, text, target.segments, target.volume_node, self._confirm, target.save_state
        )
        try:
            command = CommandRun(task, keep_history(), RunListener(progress=self._show_progress, ended=self._ended))
        except MedSAM3Error as error:
            self._say(translated(str(error)))
            return
        self._say("")
        self.bar.setRange(0, 0)
        self._timer = RunTimer(command)
        self._update()

    def cancel(self) -> None:
        """Ask the command that is on its way to end."""
        if self._timer is not None:
            self._timer.cancel()

    def stop(self, why: str) -> None:
        """End the command that is on its way at once, if there is one; nothing is written.

        Args:
            why: one sentence for the user.
        """
        if self.is_busy:
            self._timer.abandon(why)

    def close(self) -> None:
        """The line goes away."""
        self.stop(_("The line was closed; nothing was changed."))
        self._loading.stop()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)
        self._connections.clear()

    def undo(self) -> None:
        """Take back what was done last."""
        own = self._target().undo
        if own is not None:
            own()
        elif not keep_history().undo():
            self._say(_("There is nothing to undo."))
            return
        self._say(_("Undone."))
        self._changed()

    def redo(self) -> None:
        """Do again what was undone last."""
        own = self._target().redo
        if own is not None:
            own()
        elif not keep_history().redo():
            self._say(_("There is nothing to redo."))
            return
        self._say(_("Done again."))
        self._changed()

    def _make_widgets(self, has_undo: bool) -> None:
        self.widget = qt.QWidget()
        self.widget.objectName = "MedSAM3CommandLine"
        self.edit = qt.QLineEdit()
        self.edit.objectName = "MedSAM3CommandEdit"
        self.edit.setPlaceholderText(_("such as: keep the largest; shrink 2 mm"))
        self.edit.setToolTip(
            _(
                "Type what shall become of a segment and press Return. Several commands are one undo; another segment"
                " is named in the text, as in: shrink the liver 2 mm."
            )
        )
        self._offered = qt.QStringListModel(self.edit)
        completer = qt.QCompleter(self.edit)
        # The whole line is offered, not its last word.
        completer.completionMode = qt.QCompleter.UnfilteredPopupCompletion
        completer.caseSensitivity = qt.Qt.CaseInsensitive
        completer.setModel(self._offered)
        self.edit.setCompleter(completer)
        self.undoButton = qt.QPushButton(_("Undo"))
        self.undoButton.objectName = "MedSAM3CommandUndoButton"
        self.redoButton = qt.QPushButton(_("Redo"))
        self.redoButton.objectName = "MedSAM3CommandRedoButton"
        self.undoButton.setToolTip(_("Take back what was done to segments last."))
        self.redoButton.setToolTip(_("Do again what was taken back last."))
        self.bar = qt.QProgressBar()
        self.bar.objectName = "MedSAM3CommandProgress"
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.cancelButton.objectName = "MedSAM3CommandCancelButton"
        self.label = qt.QLabel()
        self.label.objectName = "MedSAM3CommandLabel"
        self.label.setWordWrap(True)
        # Names of segments are anybody's, and are no markup.
        self.label.setTextFormat(qt.Qt.PlainText)
        row = qt.QHBoxLayout()
        for widget in (qt.QLabel(_("Command:")), self.edit):
            row.addWidget(widget)
        # In a row of their own, because a panel may be no wider than two buttons.
        buttons = qt.QHBoxLayout()
        for button in (self.undoButton, self.redoButton):
            buttons.addWidget(button)
        below = qt.QHBoxLayout()
        for widget in (self.bar, self.cancelButton):
            below.addWidget(widget)
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addLayout(buttons)
        column.addLayout(below)
        column.addWidget(self.label)
        for button in (self.undoButton, self.redoButton):
            button.visible = has_undo
        for widget, signal, slot in (
            (self.edit, "returnPressed()", self.run),
            (self.edit, "textEdited(QString)", self._offer),
            (self.undoButton, "clicked()", self.undo),
            (self.redoButton, "clicked()", self.redo),
            (self.cancelButton, "clicked()", self.cancel),
        ):
            widget.connect(signal, slot)
            self._connections.append((widget, signal, slot))
        self._say("")

    def _target(self) -> CommandTarget:
        given = self._get_target()
        return given if isinstance(given, CommandTarget) else CommandTarget(given)

    def _offer(self, text: str) -> None:
        """Offer what the text may become."""
        if self._complete is None:
            # The grammar takes longer to load than a key may take.
            if not self._loading.is_busy:
                self._loading.start(_load_completion, self._loaded, lambda error: log_failure("completion.", error))
            return
        is_at_end = self.edit.cursorPosition == len(str(self.edit.text))
        self._offered.setStringList(list(self._complete(str(text), self._names())) if is_at_end else [])

    def _loaded(self, complete: Callable[..., Sequence[str]]) -> None:
        self._complete = complete
        self._offer(str(self.edit.text))

    def _names(self) -> list[str]:
        node = self._target().segmentation_node
        if node is None:
            return []
        segmentation = node.GetSegmentation()
        return [str(segmentation.GetSegment(one).GetName()) for one in segmentation.GetSegmentIDs()]

    def _confirm(self, names: Sequence[str]) -> bool:
        question = _("Marked as completed: {names}. Change it?").format(names=", ".join(names))
        return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3")))

    def _show_progress(self, progress: Progress) -> None:
        self.bar.setRange(0, 0)
        words = _("Command {number} of {count}...").format(number=progress.done + 1, count=progress.total)
        self._say(words if progress.total > 1 else _("Working..."))

    def _ended(self, run: CommandRun) -> None:
        self._timer = None
        if run.state is RunState.DONE:
            outcome = run.outcome
            said = [*outcome.understood, *outcome.messages]
            self._say("\n".join(map(translated, said)))
            self.edit.selectAll()
        else:
            self._say(self._words_of(run.error))
        self._update()
        if run.state is RunState.DONE:
            self._changed()

    def _words_of(self, error: Exception) -> str:
        if isinstance(error, MedSAM3Error):
            return translated(str(error))
        log_failure("a typed command failed.", error)
        return str(_("The command failed, and nothing was changed: {error}").format(error=error))

    def _say(self, words: str) -> None:
        self.label.text = words
        self.label.visible = bool(words)

    def _update(self) -> None:
        is_free = self._is_enabled and not self.is_busy
        for widget in (self.edit, self.undoButton, self.redoButton):
            widget.enabled = is_free
        self.bar.visible = self.cancelButton.visible = self.is_busy


def _load_completion() -> Callable[..., Sequence[str]]:
    from MedSAM3AgentLib.editing.completion import complete_command

    return complete_command
