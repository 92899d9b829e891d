"""Objects made of discs, and following them with a tracker whose answers are known; for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import SliceDetections
from MedSAM3SegmentLib.results.tracks import Track
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.tracking.detection_agreement import DetectionAgreement
from MedSAM3SegmentLib.tracking.propagation import propagate
from MedSAM3SegmentLib.tracking.tracked_objects import ConditioningPrompt, TrackedObject

from .results import axial_grid
from .scripted_tracker import ScriptedTracker

Mask = NDArray[np.bool_]

#: Slices, and rows and columns, of the stack that objects are followed through.
DEPTH, EDGE = 40, 64
STACK = SliceStack.along(axial_grid((DEPTH, EDGE, EDGE), (1.0, 1.0, 2.0)))

#: Every voxel may be in an object.
ALL = SearchRegion.of(SegmentRequest(("it",)), STACK)


def disc(radius: float, row: float = 32, column: float = 32) -> Mask:
    """Bool ``[row, column]`` of one slice."""
    rows, columns = np.mgrid[:EDGE, :EDGE]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def ball(first: int, last: int, radius: float = 14) -> dict[int, Mask]:
    """An organ on the slices ``first`` to ``last``, blunt at its ends."""
    middle, half = (first + last) / 2, (last - first) / 2 + 1
    return {z: disc(radius * float(np.sqrt(1 - ((z - middle) / half) ** 2))) for z in range(first, last + 1)}


def target(
    *seeds: ConditioningPrompt, slices: range = range(DEPTH), agreement: DetectionAgreement | None = None
) -> TrackedObject:
    """What is to be followed from where it was shown."""
    return TrackedObject("it", seeds, 1.0, slices, agreement)


def followed(
    script: dict[int, Mask],
    *targets: TrackedObject,
    search_region: SearchRegion = ALL,
    reporter: RunReporter | None = None,
) -> list[Track]:
    """The targets, followed with a tracker that answers with ``script``."""
    return propagate(targets, ScriptedTracker(script), lambda index: index, search_region, reporter or RunReporter())  # type: ignore


def detections(masks: dict[int, Mask], looked_at: Sequence[int] = range(DEPTH)) -> DetectionAgreement:
    """A detector that sees ``masks`` for sure, and surely nothing elsewhere."""
    evidence = [
        SliceDetections(z, 0.9, 0.9, semantic=SoftMask.of(masks[z])) if z in masks else SliceDetections(z, 0.01, 0)
        for z in looked_at
    ]
    return DetectionAgreement(evidence, 0.5, ALL)


def ras(z: int, row: float, column: float) -> tuple[float, float, float]:
    """Where a pixel of a slice lies."""
    return tuple(STACK.grid.to_ras(np.array([column, row, z], float)).tolist())


def box(first: int, last: int, top: int, bottom: int, left: int, right: int) -> BoxPromptRAS:
    """A box from the first to the last slice, row and column."""
    return BoxPromptRAS((ras(first, top, left), ras(last, bottom, right)))
