"""The effect while it is active: what is selected, what is drawn and shown, and what is on its way.

It begins when the effect is chosen and ends when it is left; nothing of it stays in views or on nodes. An action
belongs to the selection it was begun with and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedSAM3SceneLib.engine.local_engine import Engine
from MedSAM3SceneLib.runs.edit_actions import ActionOptions, EditAction, nothing_to_look_for
from MedSAM3SceneLib.segments.phrases import phrase_of, write_phrase
from MedSAM3SceneLib.segments.prompts import positions_of
from MedSAM3SceneLib.segments.selected_prompts import SelectedPrompts
from MedSAM3SegmentLib.errors import MedSAM3Error
from MedSAM3SegmentLib.prompts.prompts import BoxReading
from MedSAM3WidgetsLib.layout_views import likely_widget, shown_widgets, slice_widgets

from .actions import EffectActions
from .options_widget import OptionsWidget
from .prompt_actors import PromptActors
from .prompt_glyphs import prompt_lines
from .prompt_interaction import PRESSES, PromptInteraction
from .shortcuts import KeyCommand, command_of
from .slice_view_geometry import SliceViewGeometry, lies_on, slice_as_shown, slice_reach

_SEGMENTATION_EVENTS = ("SegmentModified", "SegmentAdded", "SegmentRemoved")


class EffectSession(VTKObservationMixin):
    """An active effect.

    Args:
        scripted_effect: the effect's host.
        options: the effect's options.
        engine: called for who takes requests.
    """

    def __init__(self, scripted_effect: Any, options: OptionsWidget, engine: Callable[[], Engine]) -> None:
        VTKObservationMixin.__init__(self)
        self._host = scripted_effect
        self._options = options
        self._jobs = EffectActions(scripted_effect, options, engine)
        self._editor = scripted_effect.parameterSetNode()
        self._marks = SelectedPrompts(self._editor)
        self._drawing = PromptInteraction(self._marks, lambda: options.positive, self._reach, self._answer_at_once)
        self._actors: list[PromptActors] = []
        self._worked_in: Any | None = None
        self._selection: tuple[str, ...] | None = None
        self._phrase: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether an action is on its way."""
        return self._jobs.is_running

    def jump_to_next_slice(self) -> None:
        """Let all slice views show the slice whose correction would help most."""
        self._jobs.jump_to_next_slice()

    def begin(self) -> None:
        """The effect was chosen."""
        if self._editor is not None:
            self.addObserver(self._editor, vtk.vtkCommand.ModifiedEvent, self._on_editor_modified)
            scene = self._editor.GetScene()
            self.addObserver(scene, scene.StartCloseEvent, self._on_scene_close)
        self._worked_in = likely_widget(self._views())
        self.follow_selection()

    def end(self, why: str) -> None:
        """The effect was left.

        Args:
            why: one sentence, for an action that is on its way.
        """
        self._jobs.close(why)
        self._options.stop_command(why)
        self._drawing.cancel()
        self.removeObservers()
        for actors in self._actors:
            actors.remove()
        self._actors.clear()

    def act(self, action: EditAction) -> None:
        """Begin an action on the selected segment."""
        if self._unready():
            # Keys are heard also while the buttons cannot be clicked.
            self._options.show_messages([self._unready()])
            return
        if not self._host.confirmCurrentSegmentVisible():
            return
        self.show_prompts_in_layout()  # the view may be gone by now
        view = self._worked_in
        self._begin(action, None if view is None else slice_as_shown(view.mrmlSliceNode()))

    def cancel(self) -> None:
        """Ask the action that is on its way to end."""
        self._jobs.cancel()

    def set_phrase(self, phrase: str) -> None:
        """Keep what was typed for the selected segment."""
        segment = self._marks.segment
        if segment is not None and phrase.strip() != phrase_of(segment):
            write_phrase(segment, phrase)

    def remove_prompt(self, index: int) -> None:
        """Remove a mark of the selected segment."""
        self._marks.remove(index)

    def remove_all_prompts(self) -> None:
        """Remove all marks of the selected segment."""
        self._marks.remove_all()

    def jump_to_prompt(self, index: int) -> None:
        """Let all slice views show the middle of a mark."""
        prompts = self._read_marks()
        if 0 <= index < len(prompts):
            x, y, z = np.mean(positions_of(prompts[index]), axis=0)
            slicer.vtkMRMLSliceNode.JumpAllSlices(self._editor.GetScene(), float(x), float(y), float(z))

    def process_event(self, interactor: Any, event: int, view: Any) -> bool:
        """Hear an event of a slice view; True when nobody else shall hear it."""
        if event in (*PRESSES, vtk.vtkCommand.KeyPressEvent):
            self._worked_in = view
            self._options.show_view(view.mrmlSliceNode().GetLayoutName())
        shift, control = bool(interactor.GetShiftKey()), bool(interactor.GetControlKey())
        alt = bool(interactor.GetAltKey())
        xy = tuple(float(n) for n in interactor.GetEventPosition())
        try:
            if event == vtk.vtkCommand.KeyPressEvent:
                return self._process_key(command_of(interactor.GetKeySym(), shift, control, alt), xy, view)
            if event in PRESSES and (shift or control or alt):
                return False
            if event in PRESSES and self._unready():
                self._options.show_messages([self._unready()])
                return False
            heard = self._drawing.process(event, xy, view, view.mrmlSliceNode())
        except MedSAM3Error as error:
            self._drawing.cancel()
            self._options.show_messages([str(error)])
            return True
        if heard:
            self.show_prompts_in(view)
        return heard

    def follow_selection(self) -> None:
        """Look at what is selected now: segment, segmentation, volume."""
        editor = self._editor
        if editor is None:
            return
        nodes = (editor.GetSegmentationNode(), editor.GetSourceVolumeNode())
        selection = (*(node.GetID() if node else "" for node in nodes), editor.GetSelectedSegmentID() or "")
        if selection == self._selection:
            return
        if self.is_running:
            self._jobs.stop(_("Another segment or volume was selected; nothing was written."))
        elif self._selection is not None:
            self._jobs.forget()  # what was said of another segment
        self._selection, self._phrase = selection, None
        self._drawing.cancel()
        self.removeObservers(self._on_segmentation_modified)
        segmentation_node, volume_node = nodes
        if segmentation_node is not None:
            for name in _SEGMENTATION_EVENTS:
                event = getattr(slicer.vtkSegmentation, name)
                self.addObserver(segmentation_node, event, self._on_segmentation_modified)
        for node in filter(None, (segmentation_node, volume_node)):
            moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self.addObserver(node, moved, self._on_segmentation_modified)
        self._options.show_ready(self._unready())
        self._options.show_prompts(())  # what was chosen in the list was another segment's
        self._show_selected()

    def show_prompts_in_layout(self) -> None:
        """Show the marks in all slice views that are there now and show the segmentation."""
        present = self._views()
        # No dictionary: in Slicer the hash of a widget changes when the widget is destroyed.
        for actors in [actors for actors in self._actors if actors.view not in present]:
            self._actors.remove(actors)
            actors.remove()
        for view in present:
            self.show_prompts_in(view)
        if self._worked_in not in shown_widgets(present):
            self._worked_in = likely_widget(present)
        name = self._worked_in.mrmlSliceNode().GetLayoutName() if self._worked_in is not None else ""
        self._options.show_view(name)

    def show_prompts_in(self, view: Any) -> None:
        """Show the marks in one slice view."""
        places = SliceViewGeometry(view.mrmlSliceNode())
        lines: dict[bool, list[Any]] = {True: [], False: []}
        prompts = list(self._read_marks())
        if self._drawing.rubber_band is not None and self._drawing.rubber_band[0] == view:
            prompts.append(self._drawing.rubber_band[1])
        for prompt in prompts:
            lines[prompt.positive] += prompt_lines(prompt, places, self._reach(places))
        actors = next((actors for actors in self._actors if actors.view == view), None)
        if actors is None:
            actors = PromptActors(self._host, view)
            self._actors.append(actors)
        actors.show(lines[True], lines[False])

    def _process_key(self, command: KeyCommand | None, xy: Any, view: Any) -> bool:
        match command:
            case None:
                return False
            case KeyCommand.SWITCH_POLARITY:
                self._host.setParameter("Positive", 0 if self._options.positive else 1)
                self._host.updateGUIFromMRML()
            case KeyCommand.REMOVE_MARK:
                self._drawing.remove_at(xy, view)
            case KeyCommand.THIS_SLICE:
                self.act(EditAction.THIS_SLICE)
            case KeyCommand.PROPAGATE:
                self.act(EditAction.PROPAGATE)
        return True

    def _begin(self, action: EditAction, slice_node: Any | None) -> None:
        self.set_phrase(self._options.phrase)
        self._jobs.start(self._words(action), slice_node)

    def _words(self, action: EditAction) -> ActionOptions:
        name = self._marks.segment.GetName() if self._marks.segment is not None else ""
        reading = BoxReading(self._options.reading)
        learning = self._options.learning
        return ActionOptions(action, self._options.phrase, name, reading, learning.learns, learning.name)

    def _answer_at_once(self, view: Any) -> None:
        """``This slice`` for marks that changed in a view, if that is wanted; after an action that is on its way."""
        shown = slice_as_shown(view.mrmlSliceNode())

        def begin() -> None:
            if self._is_asked(shown):
                self._begin(EditAction.THIS_SLICE, shown)

        if self._is_asked(shown) and self._host.confirmCurrentSegmentVisible():
            self._jobs.begin_when_free(begin)

    def _is_asked(self, slice_node: Any) -> bool:
        """Whether the marks on a slice are to be answered at once, and can be; what prevents it is shown."""
        places = SliceViewGeometry(slice_node)
        prompts = [prompt for prompt in self._read_marks() if lies_on(prompt, places, self._reach(places))]
        if not prompts or not self._options.answers_at_once:
            return False
        reason = self._unready() or nothing_to_look_for(self._words(EditAction.THIS_SLICE), prompts)
        if reason:
            self._options.show_messages([reason])
        return not reason

    def _unready(self) -> str:
        """Why nothing can be done, or nothing."""
        if self._editor is None or self._marks.segment is None:
            return str(_("Add a segment or select one first."))
        if self._editor.GetSourceVolumeNode() is None:
            return str(_("Select a source volume first."))
        return ""

    def _views(self) -> list[Any]:
        """The slice views that show the segmentation; of others Slicer tells an effect nothing, so marks there would
        stay where they were while the view moves on."""
        return [view for view in slice_widgets() if self._host.segmentationDisplayableInView(view.mrmlSliceNode())]

    def _reach(self, places: SliceViewGeometry) -> float:
        return slice_reach(places, self._editor.GetSourceVolumeNode())

    def _read_marks(self) -> tuple[Any, ...]:
        try:
            return self._marks.read()
        except MedSAM3Error as error:
            self._options.show_messages([str(error)])
            return ()

    def _show_selected(self) -> None:
        segment = self._marks.segment
        phrase = phrase_of(segment) if segment is not None else ""
        if phrase != self._phrase:
            # Otherwise any change of the segment would take away what is being typed.
            self._phrase = phrase
            self._options.show_phrase(phrase)
        self._options.show_prompts(self._read_marks())
        self.show_prompts_in_layout()

    def _on_editor_modified(self, _caller: Any, _event: Any) -> None:
        self.follow_selection()

    def _on_segmentation_modified(self, _caller: Any, _event: Any) -> None:
        self._options.show_ready(self._unready())
        self._show_selected()

    def _on_scene_close(self, _caller: Any, _event: Any) -> None:
        self._jobs.close(_("The scene was closed; nothing was written."))
