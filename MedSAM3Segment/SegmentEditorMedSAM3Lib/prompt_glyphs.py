"""How marks look in a slice view: what shows an object and what excludes it differ in color and in shape.

Positive points are crosses in a circle, negative ones x-es in a square; positive boxes have whole edges, negative ones
broken edges and an x in the middle. Shapes are lines in pixels of the view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from MedSAM3SceneLib.segments.prompts import Prompt, positions_of
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS

from .slice_view_geometry import SliceViewGeometry

#: Red, green, blue. They differ in lightness as well, for eyes that do not tell red from green.
POSITIVE_COLOR = (0.55, 1.0, 0.35)
NEGATIVE_COLOR = (1.0, 0.25, 0.2)

_RADIUS = 7.0
_HANDLE = 3.0
_DASH = 6.0

#: A line from one pixel to another.
Line = tuple[tuple[float, float], tuple[float, float]]


def prompt_lines(prompt: Prompt, places: SliceViewGeometry, reach: float) -> list[Line]:
    """The lines that show ``prompt``; none where it is not on the slice.

    Args:
        prompt: at its place in the world.
        places: of the view.
        reach: millimeters to either side of the view's plane that belong to its slice.
    """
    corners = np.array(positions_of(prompt))
    heights = places.heights_of(corners)
    pixels = places.pixels_of(corners)
    if not isinstance(prompt, BoxPromptRAS):
        if abs(heights[0]) > reach:
            return []
        return _plus_in_circle(pixels[0]) if prompt.positive else _x_in_square(pixels[0])
    if (np.abs(heights) <= reach).all():
        return box_lines(pixels, prompt.positive)
    cut = _cut(pixels, heights)
    return [] if cut is None else _edge(*cut, whole=prompt.positive)


def box_lines(corners: NDArray[np.float64], positive: bool) -> list[Line]:
    """The lines of a box with corners ``[n, 2]`` in pixels."""
    lines = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        lines += _edge(start, end, whole=positive)
        lines += _square(start, _HANDLE)
    return lines if positive else lines + _x(corners.mean(axis=0), _RADIUS)


def _edge(start: NDArray[np.float64], end: NDArray[np.float64], whole: bool) -> list[Line]:
    if whole:
        return [_line(start, end)]
    pieces = max(1, int(np.linalg.norm(end - start) / _DASH)) | 1
    stops = np.linspace(start, end, pieces + 1)
    return [_line(stops[n], stops[n + 1]) for n in range(0, pieces, 2)]


def _cut(pixels: NDArray[np.float64], heights: NDArray[np.float64]) -> list[NDArray[np.float64]] | None:
    """Where the edges of a flat box go through the slice: two pixels, or None."""
    crossings = []
    for first in range(len(pixels)):
        second = (first + 1) % len(pixels)
        if heights[first] * heights[second] < 0:
            part = heights[first] / (heights[first] - heights[second])
            crossings.append(pixels[first] + part * (pixels[second] - pixels[first]))
    return crossings[:2] if len(crossings) >= 2 else None


def _plus_in_circle(centre: NDArray[np.float64]) -> list[Line]:
    angles = np.linspace(0, 2 * np.pi, 17)
    ring = centre + _RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    arms = [_line(centre - arm, centre + arm) for arm in ((_RADIUS, 0.0), (0.0, _RADIUS))]
    return [_line(ring[n], ring[n + 1]) for n in range(16)] + arms


def _x_in_square(centre: NDArray[np.float64]) -> list[Line]:
    return _square(centre, _RADIUS) + _x(centre, _RADIUS)


def _x(centre: NDArray[np.float64], half: float) -> list[Line]:
    return [_line(centre - arm, centre + arm) for arm in ((half, half), (half, -half))]


def _square(centre: NDArray[np.float64], half: float) -> list[Line]:
    corners = centre + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    return [_line(corners[n], corners[(n + 1) % 4]) for n in range(4)]


def _line(start: NDArray[np.float64], end: NDArray[np.float64]) -> Line:
    return (float(start[0]), float(start[1])), (float(end[0]), float(end[1]))
