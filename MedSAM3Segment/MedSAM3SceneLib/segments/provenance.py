"""Where a segment came from, kept on the segment itself, in the scene and in the ``.seg.nrrd`` saved from it."""

from __future__ import annotations

import json
from typing import Any

import vtk

from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, provenance_text


def write_provenance(segment: Any, provenance: dict[str, Any]) -> None:
    """Keep ``provenance`` on ``segment`` (a vtkSegment)."""
    segment.SetTag(PROVENANCE_TAG, provenance_text(provenance))


def read_provenance(segment: Any) -> dict[str, Any] | None:
    """What was kept on ``segment`` (a vtkSegment); None where nothing was, or nothing readable."""
    text = vtk.reference("")
    if not segment.GetTag(PROVENANCE_TAG, text):
        return None
    try:
        provenance = json.loads(str(text))
    except ValueError:
        return None
    return provenance if isinstance(provenance, dict) else None
