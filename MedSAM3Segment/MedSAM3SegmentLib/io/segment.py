"""A named structure as Slicer keeps one, and the tags under which its terminology and provenance stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from MedSAM3SegmentLib.array_types import BoolMask

#: The tag under which Slicer keeps a segment's terminology.
TERMINOLOGY_TAG = "TerminologyEntry"

#: The tag under which a result's provenance is kept, as JSON.
PROVENANCE_TAG = "MedSAM3.Provenance"

Color = tuple[float, float, float]
Provenance = Mapping[str, Any]

#: Asked with name and label of each segment of a file; those for which it is False are not read.
IsWanted = Callable[[str, int], bool]


@dataclass(frozen=True, eq=False)
class Segment:
    """One named structure.

    Attributes:
        name: what Slicer shows.
        mask: bool ``[k, j, i]``.
        color: red, green, blue, each 0..1.
        terminology: Slicer's terminology entry (seven fields with ``~`` between them), or ``""``.
        tags: further text that Slicer keeps on the segment. Slicer cannot store ``|`` there; it is written as ``¦``.
        label: its value in the file that it was read from, which those of other layers may have too; else 0.
    """

    name: str
    mask: BoolMask
    color: Color
    terminology: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    label: int = 0


def provenance_text(provenance: Provenance) -> str:
    """Provenance as one line of JSON that a Slicer tag can hold."""
    return json.dumps(provenance, ensure_ascii=False).replace("|", "\\u007c")
