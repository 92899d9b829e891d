"""Where a segment came from, kept on the segment itself, in the scene and in the ``.seg.nrrd`` saved from it."""

from __future__ import annotations

import json
from typing import Any

import vtk

from MedSAM3SegmentLib.result import ConceptResult, SegmentResult
from MedSAM3SegmentLib.segmentation_files import PROVENANCE_TAG, provenance_text


def segment_provenance(result: SegmentResult, concept: ConceptResult) -> dict[str, Any]:
    """Plain JSON values: what was asked for this one segment, and all of the run's own provenance.

    Keys besides those of ``result.Provenance.as_dict``: ``concept`` (as typed), ``prompt`` (as the model was asked),
    ``window`` (name, low, high) and ``slices`` (first and last slice that was looked at).
    """
    looked_at = [item.slice_index for item in concept.evidence]
    return {
        "concept": concept.concept,
        "prompt": concept.prompt,
        "window": {"name": concept.window.name, "low": concept.window.low, "high": concept.window.high},
        "slices": [min(looked_at), max(looked_at)] if looked_at else None,
        **result.provenance.as_dict(),
    }


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
