"""The slice views of Slicer's window, in an order that a user expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

#: The views that most layouts have, the one that is most likely meant first.
_USUAL = ("Red", "Green", "Yellow")


def slice_widgets() -> list[Any]:
    """All slice views that there are, also those that the layout does not show; none where there is no window."""
    layout = slicer.app.layoutManager()
    if layout is None:
        return []
    # Slicer gives the names in another order each time it is started.
    return [layout.sliceWidget(name) for name in sorted(layout.sliceViewNames(), key=_place)]


def shown_widgets(widgets: Sequence[Any]) -> list[Any]:
    """Those of ``widgets`` that the layout shows, or all of them where it shows none."""
    return [widget for widget in widgets if widget.visible] or list(widgets)


def likely_widget(widgets: Sequence[Any]) -> Any | None:
    """The one of ``widgets`` that a user most likely means: under the pointer, or the first that is shown."""
    pointed = _pointed_slice_node()
    for widget in widgets:
        if pointed is not None and widget.mrmlSliceNode() is pointed:
            return widget
    return next(iter(shown_widgets(widgets)), None)


def shown_slice_nodes() -> list[Any]:
    """The slice nodes of the scene but for those whose view the layout does not show, or all where it shows none."""
    scene = slicer.mrmlScene
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    nodes = [scene.GetNthNodeByClass(number, "vtkMRMLSliceNode") for number in range(count)]
    nodes.sort(key=lambda node: _place(node.GetLayoutName()))
    hidden = [widget.mrmlSliceNode() for widget in slice_widgets() if not widget.visible]
    return [node for node in nodes if node not in hidden] or nodes


def _place(name: str) -> tuple[int, str]:
    return _USUAL.index(name) if name in _USUAL else len(_USUAL), name


def _pointed_slice_node() -> Any | None:
    """The slice node of the view that the mouse pointer is in; Slicer keeps it with the crosshair."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    return crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) if crosshair is not None else None
