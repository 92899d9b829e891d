"""Drawing in slice views: a click makes a point, a drag a box, and a drag on what is there moves it.

The corners of a box are places in the world on the plane of the view, so a box that is drawn in an oblique view is an
oblique box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray

from MedSAM3SceneLib.segments.prompts import Prompt, positions_of, with_positions
from MedSAM3SceneLib.segments.selected_prompts import SelectedPrompts
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS, PositionRAS

from .prompt_glyphs import prompt_lines
from .slice_view_geometry import PixelXY, SliceViewGeometry, lies_on

#: Where the left button goes down. Two quick clicks come as one press and one double click, for which Slicer would let
#: the view fill the window.
PRESSES = (vtk.vtkCommand.LeftButtonPressEvent, vtk.vtkCommand.LeftButtonDoubleClickEvent)

#: Of a box that is drawn in a view.
_CORNERS = 4

#: Pixels that a hand moves in a click.
CLICK_SIZE = 4.0

#: Pixels around a point or a corner that it can be taken by.
GRIP_SIZE = 9.0

#: Pixels beside an edge that it can be taken by.
EDGE_SIZE = 4.0


@dataclass(frozen=True)
class Grip:
    """A point, or a corner or an edge of a box, that can be taken hold of.

    Attributes:
        prompt: number of the mark.
        corner: number of the corner, or of that where the edge begins.
        is_edge: whether it is the edge.
    """

    prompt: int
    corner: int
    is_edge: bool = False


@dataclass(frozen=True, eq=False)
class _Gesture:
    """The mouse button is down.

    Attributes:
        view: the view it went down in.
        start: where.
        grip: what it took hold of, or None for a new mark.
        prompts: that were there.
    """

    view: Any
    start: PixelXY
    grip: Grip | None
    prompts: tuple[Prompt, ...]


class PromptInteraction:
    """Turns mouse events of slice views into marks.

    Args:
        prompts: where they are kept.
        is_positive: asked for the polarity of new marks.
        reach: asked for the millimeters to either side of a view's plane that belong to its slice.
        changed: called with the view when a mark was drawn, moved or removed in it, once the mouse is let go.

    Attributes:
        rubber_band: the box that is being drawn, with the view it is drawn in; None while none is.
    """

    def __init__(
        self,
        prompts: SelectedPrompts,
        is_positive: Callable[[], bool],
        reach: Callable[[SliceViewGeometry], float],
        changed: Callable[[Any], None],
    ) -> None:
        self._marks = prompts
        self._is_positive = is_positive
        self._reach = reach
        self._changed = changed
        self._gesture: _Gesture | None = None
        self.rubber_band: tuple[Any, BoxPromptRAS] | None = None

    def process(self, event: int, xy: PixelXY, view: Any, slice_node: Any) -> bool:
        """Hear a mouse event; True when it is this one's alone.

        Args:
            event: VTK's event number.
            xy: where in the view, pixels.
            view: the slice view.
            slice_node: its vtkMRMLSliceNode.

        Raises:
            InputError: the segmentation is under a non-linear transform.
        """
        places = SliceViewGeometry(slice_node)
        if event in PRESSES:
            self._gesture = _Gesture(view, xy, self.grip_at(xy, places), self._marks.read())
            return True
        if self._gesture is None or self._gesture.view != view:
            return False
        if event == vtk.vtkCommand.MouseMoveEvent:
            self._move(xy, places)
            return True
        if event == vtk.vtkCommand.LeftButtonReleaseEvent:
            gesture = self._gesture
            self.cancel()
            self._release(gesture, xy, places)
            if self._marks.read() != gesture.prompts:
                self._changed(view)
            return True
        return False

    def cancel(self) -> None:
        """Forget what is being drawn."""
        self._gesture = None
        self.rubber_band = None

    def remove_at(self, xy: PixelXY, view: Any) -> None:
        """Remove the mark under a pixel of a view, or the last of those that the view shows."""
        places = SliceViewGeometry(view.mrmlSliceNode())
        grip, reach = self.grip_at(xy, places), self._reach(places)
        shown = [number for number, prompt in enumerate(self._marks.read()) if prompt_lines(prompt, places, reach)]
        if grip is not None or shown:
            self._marks.remove(shown[-1] if grip is None else grip.prompt)
            self._changed(view)

    def grip_at(self, xy: PixelXY, places: SliceViewGeometry) -> Grip | None:
        """The point or corner under a pixel, the nearest of several, or else an edge."""
        reach = self._reach(places)
        near: list[tuple[bool, float, Grip]] = []
        for number, prompt in enumerate(self._marks.read()):
            if not lies_on(prompt, places, reach):
                continue
            pixels = places.pixels_of(np.array(positions_of(prompt)))
            for corner, distance in enumerate(np.linalg.norm(pixels - xy, axis=1)):
                if distance <= GRIP_SIZE:
                    near.append((False, float(distance), Grip(number, corner)))
            for corner in range(len(pixels) if len(pixels) == _CORNERS else 0):
                distance = _beside(np.array(xy), pixels[corner], pixels[(corner + 1) % _CORNERS])
                if distance <= EDGE_SIZE:
                    near.append((True, distance, Grip(number, corner, is_edge=True)))
        return min(near, key=lambda found: found[:2])[2] if near else None

    def _move(self, xy: PixelXY, places: SliceViewGeometry) -> None:
        gesture = self._gesture
        if gesture is None:
            return
        if gesture.grip is None:
            box = self._box(gesture.start, xy, places)
            self.rubber_band = None if box is None else (gesture.view, box)
            return
        prompts = self._marks.read()
        if gesture.grip.prompt < len(prompts):
            moved = _moved(prompts[gesture.grip.prompt], gesture.grip, places.world_of(xy))
            if moved is not None:
                self._marks.replace(gesture.grip.prompt, moved)

    def _release(self, gesture: _Gesture, xy: PixelXY, places: SliceViewGeometry) -> None:
        if gesture.grip is not None:
            return
        if max(abs(xy[0] - gesture.start[0]), abs(xy[1] - gesture.start[1])) < CLICK_SIZE:
            self._marks.add(PointPromptRAS(places.world_of(gesture.start), self._is_positive()))
            return
        box = self._box(gesture.start, xy, places)
        if box is not None:
            self._marks.add(box)

    def _box(self, start: PixelXY, end: PixelXY, places: SliceViewGeometry) -> BoxPromptRAS | None:
        """The box between two pixels; None while it is but a line."""
        if min(abs(end[0] - start[0]), abs(end[1] - start[1])) < CLICK_SIZE:
            return None
        pixels = (start, (end[0], start[1]), end, (start[0], end[1]))
        return BoxPromptRAS(tuple(places.world_of(pixel) for pixel in pixels), self._is_positive())


def _moved(prompt: Prompt, grip: Grip, place: PositionRAS) -> Prompt | None:
    """``prompt`` with what was taken hold of at ``place``; a box stays rectangular and what is opposite where it is."""
    if isinstance(prompt, PointPromptRAS):
        return with_positions(prompt, (place,))
    corners = np.array(prompt.corners)
    if len(corners) != _CORNERS:
        return None
    corner = grip.corner
    after, opposite, before = ((corner + step) % _CORNERS for step in (1, 2, 3))
    along, across = _unit(corners[after] - corners[corner]), _unit(corners[before] - corners[corner])
    away = np.array(place) - corners[opposite]
    if not grip.is_edge:
        corners[before] = corners[opposite] + (away @ along) * along
    corners[after] = corners[opposite] + (away @ across) * across
    corners[corner] = corners[before] + corners[after] - corners[opposite]
    if min(np.linalg.norm(corners[corner] - corners[other]) for other in (after, before)) < 1e-3:
        return None
    return with_positions(prompt, tuple((float(x), float(y), float(z)) for x, y, z in corners))


def _beside(place: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """How far a place is beside the line from ``start`` to ``end``."""
    way = end - start
    part = np.clip((place - start) @ way / max(way @ way, 1e-9), 0.0, 1.0)
    return float(np.linalg.norm(start + part * way - place))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))
