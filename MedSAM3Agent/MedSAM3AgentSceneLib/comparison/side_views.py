"""Two slice views of their own, beside each other and linked, in a layout that is there only while they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk

#: Names of the views, which Slicer knows them by, and the labels that it shows on them.
_VIEWS = (("MedSAM3First", "1"), ("MedSAM3Second", "2"))

#: Number of the layout. Slicer's own are below 100, and users' begin at 500 as its documentation has it.
LAYOUT = 41253

#: Views of one group are linked with each other only.
_VIEW_GROUP = 41

_VIEW = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}"><property name="orientation" action="default">Axial'
    '</property><property name="viewlabel" action="default">{label}</property><property name="viewcolor"'
    ' action="default">{color}</property><property name="viewgroup" action="default">{group}</property></view></item>'
)
_COLORS = ("#9DA7B1", "#6F7B86")


class SideViews:
    """The two views.

    Attributes:
        nodes: their vtkMRMLSliceNodes, left and right, while they are shown.
    """

    def __init__(self) -> None:
        self.nodes: tuple[Any, ...] = ()
        self._layout_before: int | None = None
        self._actors: list[tuple[Any, Any]] = []

    def open(self, scene: Any) -> None:
        """Let Slicer make the views, in place of the layout that is shown; it takes a few tenths of a second for it."""
        layout = _layout_node(scene)
        if layout is not None:
            self._layout_before = layout.GetViewArrangement()
            if not layout.IsLayoutDescription(LAYOUT):
                layout.AddLayoutDescription(LAYOUT, _description())
            layout.SetViewArrangement(LAYOUT)
        self.nodes = tuple(_slice_node(scene, name) for name, _ in _VIEWS)

    def show(self, number: int, volume_node: Any) -> None:
        """Show a volume in the left view (0) or the right one (1), along its planes."""
        node = self.nodes[number]
        node.SetViewGroup(_VIEW_GROUP)
        node.SetOrientation("Axial")
        node.RotateToVolumePlane(volume_node)
        composite = _composite_of(node)
        if composite is not None:
            composite.SetLinkedControl(False)
            composite.SetBackgroundVolumeID(volume_node.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)

    def fit(self, number: int) -> None:
        """Let the volume fill a view."""
        logic = _logic_of(self.nodes[number])
        if logic is not None:
            logic.FitSliceToBackground()

    def link(self) -> None:
        """Let each view follow the other."""
        for composite in filter(None, map(_composite_of, self.nodes)):
            composite.SetHotLinkedControl(True)
            composite.SetLinkedControl(True)

    def jump_to(self, place: np.ndarray) -> None:
        """Let both views show a place, world RAS millimeters."""
        for node in self.nodes:
            node.JumpSliceByOffsetting(*(float(millimeters) for millimeters in place))

    def show_legend(self, entries: Sequence[tuple[str, tuple[float, float, float]]]) -> None:
        """Write what colors mean into the lower right corner of both views, where there is a window."""
        manager = slicer.app.layoutManager() if hasattr(slicer.app, "layoutManager") else None
        for node in self.nodes if manager is not None else ():
            widget = manager.sliceWidget(node.GetLayoutName())
            if widget is None:
                continue
            view = widget.sliceView()
            renderer = view.renderWindow().GetRenderers().GetItemAsObject(0)
            for row, (words, color) in enumerate(reversed(list(entries))):
                actor = vtk.vtkTextActor()
                actor.SetInput(words)
                actor.GetTextProperty().SetColor(*color)
                actor.GetTextProperty().SetFontSize(16)
                actor.GetTextProperty().SetBold(True)
                actor.GetTextProperty().SetShadow(True)
                actor.GetTextProperty().SetJustificationToRight()
                place = actor.GetPositionCoordinate()
                place.SetCoordinateSystemToNormalizedViewport()
                place.SetValue(0.97, 0.03 + 0.06 * row)
                renderer.AddViewProp(actor)
                self._actors.append((renderer, actor))
            view.scheduleRender()

    def hide(self) -> None:
        """Show the layout that was shown before, unless another was chosen meanwhile, and take the views away."""
        for renderer, actor in self._actors:
            renderer.RemoveViewProp(actor)
        self._actors.clear()
        nodes, self.nodes = self.nodes, ()
        for node in nodes:
            scene, composite = node.GetScene(), _composite_of(node)
            layout = _layout_node(scene) if scene is not None else None
            if layout is not None and layout.GetViewArrangement() == LAYOUT and self._layout_before is not None:
                layout.SetViewArrangement(self._layout_before)
            # Behind its view, which would be given another one.
            for each in filter(None, (node, composite)):
                if each.GetScene() is not None:
                    each.GetScene().RemoveNode(each)
        self._layout_before = None


def _description() -> str:
    views = "".join(
        _VIEW.format(name=name, label=label, color=color, group=_VIEW_GROUP)
        for (name, label), color in zip(_VIEWS, _COLORS, strict=True)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


def _layout_node(scene: Any) -> Any | None:
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _slice_node(scene: Any, name: str) -> Any:
    """The slice node of a view, which Slicer's layout has made; made here where there is no layout."""
    node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
    if node is None:
        node = slicer.vtkMRMLSliceNode()
        node.SetSingletonTag(name)
        node.SetName(name)
        node.SetLayoutName(name)
        node = scene.AddNode(node)
    if node.GetNumberOfSliceOrientationPresets() == 0:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    return node


def _composite_of(node: Any) -> Any | None:
    scene, kind = node.GetScene(), "vtkMRMLSliceCompositeNode"
    nodes = (scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))) if scene else ()
    return next((one for one in nodes if one.GetLayoutName() == node.GetLayoutName()), None)


def _logic_of(node: Any) -> Any | None:
    logics = slicer.app.applicationLogic().GetSliceLogics()
    every = [logics.GetItemAsObject(n) for n in range(logics.GetNumberOfItems())] if logics is not None else []
    return next((one for one in every if one.GetSliceNode() is node), None)
