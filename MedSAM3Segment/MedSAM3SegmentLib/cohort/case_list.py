"""Lists of cases in a table: one row for each image, with a heading row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.dicom.kinds import modality_of

from .case import Case, check_id

LIST_SUFFIXES = (".csv", ".tsv")

#: What a list may say of a case; ``image`` it must.
_COLUMNS = ("image", "case", "series", "modality")


def read_case_list(path: Path) -> list[Case]:
    """The cases of a ``.csv`` or ``.tsv`` file, UTF-8 or UTF-16, with commas, semicolons or tabs between its columns.

    Columns are ``image`` (relative to the list), and, where wanted, ``case`` (what to call it), ``series`` and
    ``modality`` as ``read_volume`` takes them; others are passed over. An image that is not there is a case all the
    same, which fails with its sentence.

    Raises:
        InputError: the list cannot be read or has no such column, or a row says something that is not understood.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode(json.detect_encoding(raw))
    except OSError as error:
        raise InputError("{path} cannot be opened ({why}).", path=path, why=str(error.strerror)) from None
    except UnicodeDecodeError:
        raise InputError("{path} is not text in UTF-8 or UTF-16; save it again as CSV in UTF-8.", path=path) from None
    heading, _, _ = text.lstrip("\ufeff").partition("\n")
    separator = max("\t;,", key=heading.count)
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=separator))
    columns = {str(name).strip().lower(): name for name in (rows[0] if rows else {}) if name is not None}
    if "image" not in columns:
        raise InputError(
            "{path} has no column 'image' with rows below it; give a table whose first row has {columns}.",
            path=path,
            columns=", ".join(_COLUMNS),
        )
    cases = []
    for number, row in enumerate(rows, start=2):
        values = {key: (row.get(columns[key]) or "").strip() for key in _COLUMNS if key in columns}
        if not any(values.values()):
            continue
        if not values["image"]:
            raise InputError(
                "{path} has no image in row {number}; give one, or take the row out.", path=path, number=number
            )
        if values.get("case"):
            check_id(values["case"])
        image = path.parent / values["image"]
        cases.append(
            Case(
                path=image,
                root=path.parent,
                id=values.get("case", ""),
                series=values.get("series") or None,
                modality=modality_of(values["modality"]) if values.get("modality") else None,
                kind=values.get("modality", ""),
                label=image.name.split(".")[0],
            )
        )
    return cases
