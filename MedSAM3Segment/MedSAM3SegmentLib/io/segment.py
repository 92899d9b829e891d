"""A named structure as Slicer keeps one, and the tags under which its terminology and provenance stand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
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


class MadeBy(StrEnum):
    """Who drew a segment, in the words of DICOM's Segment Algorithm Type."""

    PROGRAM = "AUTOMATIC"
    BOTH = "SEMIAUTOMATIC"
    PERSON = "MANUAL"


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
        made_by: told in DICOM objects alone.
    """

    name: str
    mask: BoolMask
    color: Color
    terminology: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    label: int = 0
    made_by: MadeBy = MadeBy.PROGRAM


def provenance_text(provenance: Provenance) -> str:
    """Provenance as one line of JSON that a Slicer tag can hold."""
    return json.dumps(provenance, ensure_ascii=False).replace("|", "\\u007c")


def provenance_of(segment: Segment, otherwise: Provenance) -> Provenance:
    """What a segment says of itself, or what is said of all."""
    try:
        said = json.loads(segment.tags.get(PROVENANCE_TAG, ""))
    except ValueError:
        return otherwise
    return said if isinstance(said, dict) else otherwise
