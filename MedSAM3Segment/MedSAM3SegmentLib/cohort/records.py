"""What is known of a case once it is done, as a file that is written after all others of it.

A case is done where its record is there, asks for the same, and each file that it names is there with its size. So a
run that ended at any moment leaves cases that are done and cases that are not, and nothing between.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.io.atomic_write import atomic_write

from .case import Case

#: Folders of a cohort's output.
SEGMENTATIONS, REPORTS, THUMBNAILS, RECORDS = "segmentations", "reports", "thumbnails", "records"


@dataclass(frozen=True)
class ConceptRow:
    """What was found of one concept in one case.

    Attributes:
        score: best of all slices.
        threshold: that a score had to reach.
        volume_ml: None where pixels have no size.
        voxels, objects: how many.
        slices: first and last with something on it, along the stack; None where nothing was found.
        mean_intensity: of its voxels, in the file's unit; None for color and where nothing was found.
        is_cut_off: whether it goes on beyond what was looked at.
        messages: sentences.
    """

    concept: str
    found: bool
    score: float
    threshold: float
    volume_ml: float | None = None
    voxels: int = 0
    objects: int = 0
    slices: tuple[int, int] | None = None
    mean_intensity: float | None = None
    is_cut_off: bool = False
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseRecord:
    """What is known of one case.

    Attributes:
        case: its id.
        asked: hash of what was asked, of what, and by which model.
        concepts: none where it failed.
        failure: the sentence of a case that failed; else "".
        modality: of the image.
        model: its name, with "(DEMO)" after it where it is one.
        messages: of the whole case.
        files: bytes of each file of it, by the path below the output folder.
        seconds: from its reading to its writing.
    """

    case: str
    asked: str
    concepts: tuple[ConceptRow, ...] = ()
    failure: str = ""
    modality: str = ""
    model: str = ""
    messages: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def asked_hash(case: Case, asked: Mapping[str, Any]) -> str:
    """SHA-256 of what is asked of a case: its files, as the disk tells them, and plain JSON values."""
    files = sorted(case.files) or [case.path]
    told = []
    for file in files:
        try:
            state = file.stat()
            told.append([state.st_size, state.st_mtime_ns])
        except OSError:
            told.append([])
    content = {"asked": asked, "files": told, "series": case.series, "modality": case.modality}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_path(output: Path, case: str) -> Path:
    return output / RECORDS / f"{case}.json"


def write_record(output: Path, record: CaseRecord) -> None:
    """Write a record, whole.

    Raises:
        InputError: the disk failed.
    """
    with atomic_write(record_path(output, record.case)) as draft:
        draft.write_text(json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_record(output: Path, case: str) -> CaseRecord | None:
    """The record of a case; None where there is none that can be read."""
    try:
        plain = json.loads(record_path(output, case).read_bytes())
        rows = [
            ConceptRow(**{**row, "slices": row["slices"] and tuple(row["slices"]), "messages": tuple(row["messages"])})
            for row in plain.pop("concepts")
        ]
        return CaseRecord(**{**plain, "concepts": tuple(rows), "messages": tuple(plain["messages"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def other_records(output: Path, cases: Collection[str]) -> list[CaseRecord]:
    """The records of an output folder that are of other cases than these, as of an earlier run with more inputs."""
    names = sorted(path.stem for path in (output / RECORDS).glob("*.json") if not path.name.startswith("."))
    found = (read_record(output, name) for name in names if name not in cases)
    return [record for record in found if record is not None]


def is_done(output: Path, record: CaseRecord | None, asked: str) -> bool:
    """Whether a case needs not be done again."""
    if record is None or record.failure or record.asked != asked:
        return False
    try:
        return all((output / name).stat().st_size == size for name, size in record.files.items())
    except OSError:
        return False
