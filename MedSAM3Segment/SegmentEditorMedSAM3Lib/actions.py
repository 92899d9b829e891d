"""The effect's actions on their way: one at a time, advanced by a timer, written through the effect's host.

Slices that are known already show in the views while an action runs, in a node of their own: neither the segment nor
the editor's undo knows of them. They are gone as soon as the action has ended, however it did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MedSAM3SceneLib.editing.preview_node import Color
from MedSAM3SceneLib.engine.local_engine import Engine, LocalEngine
from MedSAM3SceneLib.failure_log import log_failure
from MedSAM3SceneLib.mrml.slice_planes import jump_to_slice
from MedSAM3SceneLib.mrml.volume_cache import VolumeCache
from MedSAM3SceneLib.runs.edit_actions import ActionOptions, EditAction
from MedSAM3SceneLib.runs.edit_run import EditRun, EditTask
from MedSAM3SceneLib.runs.listener import PlacedPartial
from MedSAM3SceneLib.runs.run import RunState
from MedSAM3SceneLib.segments.completed import is_completed
from MedSAM3SegmentLib.errors import MedSAM3Error, MissingTrackerError, ModelError, PackageError
from MedSAM3SegmentLib.without_model import ShapeSegmenter
from MedSAM3WidgetsLib.preview_display import PreviewDisplay
from MedSAM3WidgetsLib.run_timer import RunTimer, make_listener

from .options_widget import OptionsWidget

#: How the engine's refusal is told; which models have a tracker is known to the engine alone.
_PANEL = ("MedSAM3Segment", "vtkMRMLScriptedModuleNode")


class HostVoxels:
    """Changes segments through the effect's host, as other effects do (a VoxelTool)."""

    def __init__(self, scripted_effect: Any) -> None:
        self._host = scripted_effect

    def add_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Make the selected segment hold ``labelmap`` too, as the overwrite mode says."""
        if self._host.parameterSetNode().GetSelectedSegmentID() != segment_id:
            raise RuntimeError("another segment is selected by now")
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeAdd
        self._host.modifySelectedSegmentByLabelmap(labelmap, mode)

    def remove_voxels(self, segment_id: str, labelmap: Any) -> None:
        """Take ``labelmap`` away from another segment."""
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeRemove
        node = self._host.parameterSetNode().GetSegmentationNode()
        self._host.modifySegmentByLabelmap(node, segment_id, labelmap, mode, True)


class EffectActions:
    """Starts and ends the effect's actions.

    Args:
        scripted_effect: the effect's host.
        options: shows how they go.
        engine: called for who takes requests.
    """

    def __init__(self, scripted_effect: Any, options: OptionsWidget, engine: Callable[[], Engine]) -> None:
        self._host = scripted_effect
        self._options = options
        self._engine = engine
        self._job: RunTimer | None = None
        self._done: EditRun | None = None
        self._no_engine = ""
        self._waiting: Callable[[], None] | None = None
        self._volume = VolumeCache()
        self._confirmed: set[str] = set()
        self._previews = PreviewDisplay(lambda _concept: self._segment_color())

    @property
    def is_running(self) -> bool:
        return self._job is not None and not self._job.ended

    def begin_when_free(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` now or, while an action is on its way, after it; the newest takes the place of one that waits.

        One that waits is dropped when the action is cancelled or stopped.
        """
        if self.is_running:
            self._waiting = begin
        else:
            begin()

    def start(self, words: ActionOptions, slice_node: Any | None) -> None:
        """Begin an action on the selected segment; what prevents it is shown."""
        if self.is_running:
            self._options.show_messages([_("An action is on its way already; cancel it or wait until it is done.")])
            return
        editor = self._host.parameterSetNode()
        model, device = _chosen_model(editor.GetScene())
        task = EditTask(
            words,
            editor,
            editor.GetSelectedSegmentID() or "",
            editor.GetSourceVolumeNode(),
            slice_node,
            self._host.saveStateForUndo,
            model,
            device,
            self._volume.read,
        )

        def show_partial(piece: PlacedPartial) -> None:
            self._previews.show_partial(task.volume_node, (piece.partial.concept,), piece)

        progress = self._options.progress
        listener = make_listener(progress.show, show_partial, self._end, progress.show_waiting)
        if not self._may_write(editor):
            return
        try:
            run = EditRun(task, self._engine_for(words), HostVoxels(self._host), listener)
        except MedSAM3Error as error:
            self._options.show_messages([str(error)])
            return
        self.forget()
        self._options.show_running(True)
        self._job = RunTimer(run)

    def cancel(self) -> None:
        """Ask the action to end."""
        self._waiting = None
        if self._job is not None and self.is_running:
            self._options.progress.show_cancelling()
            self._previews.remove()
            self._job.cancel()

    def stop(self, why: str) -> None:
        """End the action at once, if one is on its way.

        Args:
            why: one sentence for the user.
        """
        self._waiting = None
        if self._job is not None and self.is_running:
            self._job.abandon(why)

    def close(self, why: str) -> None:
        """End the action that is on its way, and give the volume's memory back.

        Args:
            why: one sentence for the user.
        """
        self.stop(why)
        self._done = None
        self._volume.forget()

    def _engine_for(self, words: ActionOptions) -> Engine:
        """Who takes requests; what was drawn on several slices needs no engine.

        Raises:
            MedSAM3Error: there is no engine, and the action needs one.
        """
        try:
            self._no_engine = ""
            return self._engine()
        except (ModelError, PackageError) as error:
            if words.action is not EditAction.PROPAGATE:
                raise
            self._no_engine = str(error)
            return LocalEngine(ShapeSegmenter())

    def jump_to_next_slice(self) -> None:
        """Let all slice views show the slice whose correction would help most, as the last action found it."""
        run, suggested = self._done, self._done.next_slice if self._done is not None else None
        if run is not None and suggested is not None and run.task.volume_node.GetScene() is not None:
            jump_to_slice(run.task.volume_node, run.placed, suggested[0], suggested[1].slice_index)

    def forget(self) -> None:
        """Show nothing of the last action; another segment was selected or another action begun."""
        self._done = None
        self._options.show_messages([])
        self._options.show_next_slice(None)

    def _may_write(self, editor: Any) -> bool:
        """Whether the selected segment may change; a user is asked once of each that is marked as completed."""
        node, segment_id = editor.GetSegmentationNode(), editor.GetSelectedSegmentID() or ""
        segment = node.GetSegmentation().GetSegment(segment_id) if node is not None else None
        if segment is None or not is_completed(segment):
            self._confirmed.discard(segment_id)
            return True
        if segment_id in self._confirmed:
            return True
        question = _("The segment {name} is marked as completed. Change it?").format(name=segment.GetName())
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedSAM3")):
            self._options.show_messages([_("Nothing was done, and what is completed is as it was.")])
            return False
        self._confirmed.add(segment_id)
        return True

    def _end(self, run: EditRun) -> None:
        self._job = None
        self._previews.remove()
        self._options.show_running(False)
        messages = run.messages if run.state is RunState.DONE else [self._words_of(run.error, run.task.model)]
        self._options.show_messages([*messages, self._no_engine] if self._no_engine else messages)
        if run.state is RunState.DONE and run.next_slice is not None:
            self._done = run
            self._options.show_next_slice(run.next_slice[1].slice_index)
        begin, self._waiting = self._waiting, None
        if begin is not None:
            begin()

    def _words_of(self, error: Exception, model: str) -> str:
        """What went wrong, for a user who has the effect's buttons and no modes."""
        if isinstance(error, MissingTrackerError):
            return self._options.words_without_tracker(model)
        if isinstance(error, MedSAM3Error):
            return str(error)
        log_failure("an action of the Segment Editor effect failed.", error)
        return str(_("The action failed: {error}").format(error=error))

    def _segment_color(self) -> Color:
        """The color of the selected segment, which is the one that is worked on."""
        editor = self._host.parameterSetNode()
        segment = editor.GetSegmentationNode().GetSegmentation().GetSegment(editor.GetSelectedSegmentID())
        return tuple(segment.GetColor())


def _chosen_model(scene: Any) -> tuple[str, str]:
    """Model and device that are chosen in the panel."""
    panel = scene.GetSingletonNode(*_PANEL)
    chosen = [panel.GetParameter(name) if panel is not None else "" for name in ("model", "device")]
    return chosen[0] or "demo", chosen[1] or "auto"
