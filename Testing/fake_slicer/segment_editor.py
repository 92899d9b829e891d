"""Slicer's Segment Editor as effects, and users with a mouse, see it: real logic, real interactors, real undo."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

from .editor_surface import EditorSurface
from .effect_host import EffectFactory, ScriptedEffect, import_effect
from .mrml_widgets import SceneWidget

_MOUSE_AND_KEYS = (
    "LeftButtonPressEvent",
    "LeftButtonReleaseEvent",
    "LeftButtonDoubleClickEvent",
    "RightButtonPressEvent",
    "RightButtonReleaseEvent",
    "MiddleButtonPressEvent",
    "MiddleButtonReleaseEvent",
    "MouseMoveEvent",
    "MouseWheelForwardEvent",
    "MouseWheelBackwardEvent",
    "KeyPressEvent",
    "KeyReleaseEvent",
    "EnterEvent",
    "LeaveEvent",
)


class SegmentEditorWidget(SceneWidget):
    """qMRMLSegmentEditorWidget: hands nodes, events and the active effect on."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node: Any = None
        self._effects: list[ScriptedEffect] = []
        self._active: ScriptedEffect | None = None
        self._observed: list[tuple[Any, int]] = []
        self._views: list[tuple[Any, int]] = []
        self._displayed: list[Any] = []
        self._shown: tuple[Any, int] | None = None
        self._source: Any = None
        self._geometry = ""
        self._surface = EditorSurface(self)
        self._taken = False

    def bench_logic(self) -> Any:
        return self._logic

    def bench_surface(self) -> EditorSurface:
        return self._surface

    def setMRMLSegmentEditorNode(self, node: Any) -> None:  # noqa: N802
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._follow_display_of(None)
        self._observed, self._node = [], node
        self._logic.SetMRMLScene(self.mrmlScene())
        self._logic.SetSegmentEditorNode(node)
        for effect in self._effects:
            self._prepare(effect)
        if node is not None:
            self._observe(node, vtk.vtkCommand.ModifiedEvent, self._node_changed)
            self._observe(node, node.EffectParameterModified, self._parameter_changed)
            scene = self.mrmlScene()
            # The effect stays active until the scene is closed and the node with it reset.
            self._observe(scene, slicer.vtkMRMLScene.StartCloseEvent, lambda *_: self.setSegmentationNode(None))
            self._observe(scene, slicer.vtkMRMLScene.EndCloseEvent, lambda *_: self.updateWidgetFromMRML())
            self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:  # noqa: N802
        return self._node

    def segmentationNode(self) -> Any:  # noqa: N802
        return self._node.GetSegmentationNode() if self._node is not None else None

    def sourceVolumeNode(self) -> Any:  # noqa: N802
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def currentSegmentID(self) -> str:  # noqa: N802
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802
        self._node.SetAndObserveSegmentationNode(node)
        ids = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        if self.currentSegmentID() not in ids:
            self._node.SetSelectedSegmentID(ids[0] if ids else None)
        # A new segmentation takes the geometry of the volume that it is made over.
        volume_node = self.sourceVolumeNode()
        if node is not None and volume_node is not None and not ids:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)

    def setSourceVolumeNode(self, node: Any) -> None:  # noqa: N802
        self._node.SetAndObserveSourceVolumeNode(node)

    def setCurrentSegmentID(self, segment_id: str) -> None:  # noqa: N802
        self._node.SetSelectedSegmentID(segment_id)

    def saveStateForUndo(self) -> None:  # noqa: N802
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def updateEffectList(self) -> None:  # noqa: N802
        """Have a clone of each effect that is registered."""
        present = {effect.name for effect in self._effects}
        for registered in EffectFactory.instance().registeredEffects():
            if registered.name not in present:
                effect = registered.bench_call("clone")
                effect.bench_belong_to(self)
                effect.bench_call("setupOptionsFrame")
                effect.optionsFrame().setVisible(False)
                self._surface.options.addWidget(effect.optionsFrame())
                self._prepare(effect)
                self._effects.append(effect)

    def availableEffectNames(self) -> tuple[str, ...]:  # noqa: N802
        return tuple(effect.name for effect in self._effects)

    def effectByName(self, name: str) -> Any:  # noqa: N802
        return next((effect for effect in self._effects if effect.name == name), None)

    def activeEffect(self) -> Any:  # noqa: N802
        return self._active

    def setActiveEffect(self, effect: Any) -> None:  # noqa: N802
        self._node.SetActiveEffectName(effect.name if effect is not None else "")
        self.updateWidgetFromMRML()

    def setActiveEffectByName(self, name: str) -> None:  # noqa: N802
        self.setActiveEffect(self.effectByName(name))

    def updateWidgetFromMRML(self) -> None:  # noqa: N802
        """Follow the node: which effect is active, which volume is edited over."""
        chosen = self.effectByName(self._node.GetActiveEffectName() or "")
        node = self.segmentationNode()
        self._follow_display_of(node)
        has_segments = node is not None and node.GetSegmentation().GetNumberOfSegments() > 0
        if chosen is not None and chosen.requireSegments and not has_segments:
            chosen = None
        if chosen is not self._active:
            if self._active is not None:
                self._active.deactivate()
            if chosen is not None:
                self.setupViewObservations()
                chosen.activate()
                for widget in _slice_widgets():
                    widget.sliceView().setDefaultViewCursor(chosen.createCursor(widget))
            self._surface.show(chosen)
            # Only now, so that an effect that changes the node on its way would be chosen again.
            self._active = chosen
        if self.sourceVolumeNode() is not self._source:
            self._source = self.sourceVolumeNode()
            for effect in self._effects:
                effect.bench_call("sourceVolumeNodeChanged")
        geometry = node.GetSegmentation().GetConversionParameter("Reference image geometry") if node is not None else ""
        if geometry != self._geometry:
            self._geometry = geometry
            for effect in self._effects:
                effect.bench_call("referenceGeometryChanged")

    def setupViewObservations(self) -> None:  # noqa: N802
        """Hear what happens in the slice views."""
        self.removeViewObservations()
        self._displayed = self._displaying_views()
        for widget in self._displayed:
            interactor = widget.sliceView().interactor()
            for name in _MOUSE_AND_KEYS:
                self._views.append((interactor, interactor.AddObserver(name, self._hear(widget), 1.0)))
            node = widget.mrmlSliceNode()
            self._views.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._hear_node(widget), 1.0)))

    def bench_layout_changed(self, _layout: int) -> None:
        if self._views:
            self.setupViewObservations()
            for effect in self._effects:
                effect.bench_call("layoutChanged")

    def _displaying_views(self) -> list[Any]:
        """The slice views that show the segmentation; no other is heard."""
        return [w for w in _slice_widgets() if self._logic.IsSegmentationDisplayableInView(w.mrmlSliceNode())]

    def _follow_display_of(self, node: Any) -> None:
        if self._shown is not None and self._shown[0] is not node:
            self._shown[0].RemoveObserver(self._shown[1])
            self._shown = None
        if self._shown is None and node is not None:
            event = slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent
            self._shown = (node, node.AddObserver(event, self._display_modified))

    def _display_modified(self, _node: Any, _event: str) -> None:
        if self._views and self._displayed != self._displaying_views():
            self.bench_layout_changed(-1)

    def removeViewObservations(self) -> None:  # noqa: N802
        for observed, tag in self._views:
            observed.RemoveObserver(tag)
        self._views = []

    def _hear(self, widget: Any) -> Any:
        def hear(interactor: Any, event: str) -> None:
            if self._active is not None and not self.mrmlScene().IsClosing():
                number = vtk.vtkCommand.GetEventIdFromString(event)
                taken = self._active.bench_call("processInteractionEvents", interactor, number, widget)
                if not isinstance(taken, bool):
                    raise TypeError(f"Slicer takes True or False for an event, not {taken!r}.")
                self._taken = taken

        return hear

    def _hear_node(self, widget: Any) -> Any:
        def hear(node: Any, _event: str) -> None:
            if self._active is not None and not self.mrmlScene().IsClosing():
                self._active.bench_call("processViewNodeEvents", node, vtk.vtkCommand.ModifiedEvent, widget)

        return hear

    def _prepare(self, effect: ScriptedEffect) -> None:
        effect.setParameterSetNode(self._node)
        if self._node is not None:
            effect.bench_call("setMRMLDefaults")

    def _observe(self, observed: Any, event: Any, callback: Any) -> None:
        self._observed.append((observed, observed.AddObserver(event, callback)))

    def _node_changed(self, _node: Any, _event: str) -> None:
        if not self.mrmlScene().IsClosing():
            self.updateWidgetFromMRML()

    def _parameter_changed(self, _node: Any, _event: str) -> None:
        for effect in self._effects:
            effect.updateGUIFromMRML()


class SegmentEditor:
    """A user at the Segment Editor.

    Attributes:
        widget: the qMRMLSegmentEditorWidget.
        node: the vtkMRMLSegmentEditorNode with selection, masking and overwrite mode.
    """

    def __init__(self, bench: Any, volume_node: Any, segmentation_node: Any) -> None:
        self._bench = bench
        self.widget = SegmentEditorWidget()
        self.widget.setMRMLScene(bench.slicer.mrmlScene)
        node = bench.slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag("SegmentEditor")
        self.node = bench.slicer.mrmlScene.AddNode(node)
        self.widget.setMRMLSegmentEditorNode(self.node)
        self.widget.setSourceVolumeNode(volume_node)
        self.widget.setSegmentationNode(segmentation_node)
        self.widget.setupViewObservations()
        bench.app.layoutManager().connect("layoutChanged(int)", self.widget.bench_layout_changed)
        bench.slicer.modules.SegmentEditorWidget = SimpleNamespace(editor=self.widget)

    @property
    def help(self) -> Any:
        """The text browser with the help of the active effect."""
        return self.widget.bench_surface().help

    def open_effect(self, path: Path | str) -> Any:
        """Register the effect in the file ``path``, choose it, and return its Python object."""
        host = import_effect(Path(path))
        EffectFactory.instance().registerEffect(host)
        self.widget.updateEffectList()
        return self.choose(host.name)

    def choose(self, name: str) -> Any:
        """Choose the effect ``name``; returns its Python object, or None when it cannot be chosen."""
        self.widget.setActiveEffectByName(name)
        active = self.widget.activeEffect()
        return active.self() if active is not None else None

    def leave(self) -> None:
        """Choose no effect."""
        self.widget.setActiveEffect(None)

    def press_button(self, view: str, xy: tuple[int, int], shift: bool = False, control: bool = False) -> bool:
        """Put the left mouse button down at a pixel (from the lower left); True when the effect took the event."""
        return self._send(view, "LeftButtonPressEvent", xy, shift, control)

    def move(self, view: str, xy: tuple[int, int]) -> bool:
        """Move the mouse."""
        return self._send(view, "MouseMoveEvent", xy)

    def release_button(self, view: str, xy: tuple[int, int]) -> bool:
        """Let the left mouse button go."""
        return self._send(view, "LeftButtonReleaseEvent", xy)

    def click(self, view: str, xy: tuple[int, int], shift: bool = False, control: bool = False) -> bool:
        """Press and release at one place; True when the effect took the press."""
        taken = self.press_button(view, xy, shift, control)
        self.release_button(view, xy)
        return taken

    def double_click(self, view: str, first: tuple[int, int], second: tuple[int, int]) -> bool:
        """Click at ``first`` and, at once, at ``second``; True when the effect took the second press."""
        self.click(view, first)
        # VTK tells of the second press as this event alone.
        taken = self._send(view, "LeftButtonDoubleClickEvent", second)
        self.release_button(view, second)
        return taken

    def drag(self, view: str, start: tuple[int, int], end: tuple[int, int], steps: int = 4) -> bool:
        """Press at ``start``, move to ``end``, release."""
        taken = self.press_button(view, start)
        for step in range(1, steps + 1):
            self.move(view, tuple(round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True)))
        self.release_button(view, end)
        return taken

    def press(self, view: str, key: str, xy: tuple[int, int] = (0, 0), shift: bool = False) -> bool:
        """Press a key, by VTK's name, over a pixel; True when the effect took it."""
        return self._send(view, "KeyPressEvent", xy, shift, key=key)

    def undo(self) -> None:
        self.widget.undo()

    def redo(self) -> None:
        self.widget.redo()

    def close(self) -> None:
        """Close the Segment Editor."""
        self._bench.app.layoutManager().disconnect("layoutChanged(int)", self.widget.bench_layout_changed)
        self.widget.removeViewObservations()
        if self.node.GetScene() is not None:
            self.leave()
        for effect in self.widget._effects:
            effect.cleanup()
        self.widget.setMRMLSegmentEditorNode(None)
        self.widget.bench_logic().SetMRMLScene(None)
        del self._bench.slicer.modules.SegmentEditorWidget
        EffectFactory.bench_forget()

    def _send(
        self, view: str, event: str, xy: Any, shift: bool = False, control: bool = False, key: str | None = None
    ) -> bool:
        interactor = self._bench.app.layoutManager().sliceWidget(view).sliceView().interactor()
        character = key if key is not None and len(key) == 1 else "\0"
        interactor.SetEventInformation(int(xy[0]), int(xy[1]), int(control), int(shift), character, 0, key)
        self.widget._taken = False
        interactor.InvokeEvent(event)
        self._bench.app.processEvents()
        return self.widget._taken


def _slice_widgets() -> list[Any]:
    layout = slicer.app.layoutManager()
    return [layout.sliceWidget(name) for name in layout.sliceViewNames()]
