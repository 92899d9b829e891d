"""Segments that a person marked as completed, which nothing is written into without a yes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import vtk

#: The tag that Slicer keeps a segment's status in, and its value for the status "Completed"
#: (vtkSlicerSegmentationsModuleLogic::GetSegmentStatus).
STATUS_TAG = "Segmentation.Status"
COMPLETED = "completed"


def is_completed(segment: Any) -> bool:
    """Whether ``segment`` (a vtkSegment) is marked as completed."""
    status = vtk.reference("")
    return bool(segment.GetTag(STATUS_TAG, status)) and str(status) == COMPLETED


def completed_segments(segmentation: Any, segment_ids: Iterable[str] | None = None) -> dict[str, str]:
    """The names, by ID, of segments of a vtkSegmentation that are marked as completed.

    Args:
        segment_ids: those that count; any that are gone by now are left out. None for all.
    """
    ids = segmentation.GetSegmentIDs() if segment_ids is None else segment_ids
    present = {str(one): segmentation.GetSegment(one) for one in dict.fromkeys(ids)}
    return {one: str(segment.GetName()) for one, segment in present.items() if segment and is_completed(segment)}
