"""The slice views as a person sees them and works in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from .colors import Color, colored_pixels


def shown_views() -> dict[str, Any]:
    """The slice widgets of the layout by name, Red first; all of them where no window is on the screen."""
    layout = slicer.app.layoutManager()
    every = {name: layout.sliceWidget(name) for name in sorted(layout.sliceViewNames(), key=lambda name: name != "Red")}
    shown = {name: widget for name, widget in every.items() if widget is not None and widget.visible}
    return shown or every


def picture_of(widget: Any) -> NDArray[np.uint8]:
    """What a slice view drew last, ``[row, column, RGB]``, top row first; nothing is drawn for this."""
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(widget.sliceView().renderWindow())
    grabber.SetShouldRerender(False)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1))


def colored(widget: Any, colors: Sequence[Color]) -> int:
    """How many pixels of a slice view show any of ``colors``."""
    picture = picture_of(widget)
    return sum(colored_pixels(picture, color) for color in colors)


def show_place(ras: Sequence[float]) -> None:
    """Let all slice views show a place in the world."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(float(millimetres) for millimetres in ras))


def turn(widget: Any, degrees: float, ras: Sequence[float]) -> None:
    """Turn a view about its horizontal axis, through a place in the world."""
    node = widget.mrmlSliceNode()
    turned = vtk.vtkTransform()
    turned.SetMatrix(node.GetSliceToRAS())
    turned.RotateX(degrees)
    node.GetSliceToRAS().DeepCopy(turned.GetMatrix())
    node.UpdateMatrices()
    show_place(ras)


def pixel_of(widget: Any, ras: Sequence[float]) -> tuple[int, int]:
    """The pixel of a view, from its lower left, over a place in the world."""
    to_pixel = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(widget.mrmlSliceNode().GetXYToRAS(), to_pixel)
    x, y, _, _ = to_pixel.MultiplyPoint([*(float(millimetres) for millimetres in ras), 1.0])
    return round(x), round(y)


def mouse(widget: Any, event: str, xy: tuple[int, int]) -> None:
    """Let a view hear of an event of the mouse at a pixel from its lower left."""
    interactor = widget.sliceView().interactor()
    interactor.SetEventInformation(*xy, 0, 0, "\0", 0, None)
    interactor.InvokeEvent(event)


def drag(widget: Any, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Draw with the left button from one pixel to another."""
    mouse(widget, "MouseMoveEvent", start)
    mouse(widget, "LeftButtonPressEvent", start)
    for part in (0.25, 0.5, 0.75, 1.0):
        xy = tuple(round(a + part * (b - a)) for a, b in zip(start, end, strict=True))
        mouse(widget, "MouseMoveEvent", (xy[0], xy[1]))
    mouse(widget, "LeftButtonReleaseEvent", end)


def press_key(widget: Any, key: str, xy: tuple[int, int]) -> None:
    """Let a view hear of a key, by VTK's name, that is pressed while the mouse is over a pixel."""
    interactor = widget.sliceView().interactor()
    interactor.SetEventInformation(*xy, 0, 0, key if len(key) == 1 else "\0", 0, key)
    interactor.InvokeEvent("KeyPressEvent")
    interactor.InvokeEvent("KeyReleaseEvent")
