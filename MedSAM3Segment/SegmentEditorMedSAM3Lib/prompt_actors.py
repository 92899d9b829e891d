"""Marks drawn into slice views, and taken out again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import vtk

from .prompt_glyphs import NEGATIVE_COLOR, POSITIVE_COLOR, Line

_WIDTH = 2

#: Marks have a dark edge, or they would vanish on a segment of their own color.
_EDGE_WIDTH = 5
_EDGE_COLOR = (0.0, 0.0, 0.0)


class PromptActors:
    """The marks of one slice view: two actors for each polarity, the lines and their dark edge.

    Args:
        scripted_effect: the effect's host, which adds actors to views.
        view_widget: the slice view.

    Attributes:
        view: as given.
    """

    def __init__(self, scripted_effect: Any, view_widget: Any) -> None:
        self._host = scripted_effect
        self.view = view_widget
        self._lines = {positive: vtk.vtkPolyData() for positive in (True, False)}
        edges = [self._actor(positive, _EDGE_COLOR, _EDGE_WIDTH) for positive in (True, False)]
        colors = {True: POSITIVE_COLOR, False: NEGATIVE_COLOR}
        self._actors = edges + [self._actor(positive, color, _WIDTH) for positive, color in colors.items()]
        for actor in self._actors:
            scripted_effect.addActor2D(view_widget, actor)

    def show(self, positive: Iterable[Line], negative: Iterable[Line]) -> None:
        """Show these lines and no others."""
        for polarity, lines in ((True, positive), (False, negative)):
            points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
            for line in lines:
                cells.InsertNextCell(2)
                for x, y in line:
                    cells.InsertCellPoint(points.InsertNextPoint(x, y, 0.0))
            self._lines[polarity].SetPoints(points)
            self._lines[polarity].SetLines(cells)
            self._lines[polarity].Modified()
        self._host.scheduleRender(self.view)

    def remove(self) -> None:
        """Take the actors out of the view."""
        # A view that is destroyed is false, and has taken them along.
        for actor in self._actors if self.view else ():
            self._host.removeActor2D(self.view, actor)
        self._actors = []

    def _actor(self, positive: bool, color: tuple[float, float, float], width: int) -> Any:
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._lines[positive])
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetColor(color)
        actor.GetProperty().SetLineWidth(width)
        # Marks are looked at, never picked by Slicer's own tools.
        actor.PickableOff()
        return actor
