"""The output folder of a cohort and its images, written as ``medsam3 cohort`` does; for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from MedSAM3SegmentLib.cohort.case import Case
from MedSAM3SegmentLib.cohort.doubt import doubts_of
from MedSAM3SegmentLib.cohort.find_cases import find_cases
from MedSAM3SegmentLib.cohort.records import (
    RECORDS,
    SEGMENTATIONS,
    CaseRecord,
    ConceptRow,
    asked_hash,
    write_record,
)
from MedSAM3SegmentLib.cohort.table import TABLE, write_table
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid

from .images import image_on_grid

#: Cases with a result; there is one more, which failed.
CASES = 3

GRID = tilted_grid((6, 10, 12), (1.0, 1.5, 4.0), (4.0, -3.0, 5.0))

_SCORES = (0.9, 0.35, 0.6)


def write_cohort(folder: Path) -> tuple[Path, Path]:
    """The output folder, and the folder of images; each case has a liver and a spleen."""
    output, images = folder / "out", folder / "in"
    for path in (output / SEGMENTATIONS, output / RECORDS, images):
        path.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for number in range(CASES + 1):
        array = rng.integers(-900, 900, GRID.shape).astype(np.int16)
        SimpleITK.WriteImage(image_on_grid(array, GRID), str(images / f"study{number}.nii.gz"))
    records = [_record(output, case, number) for number, case in enumerate(find_cases([images]).cases)]
    write_table(output / TABLE, records, doubts_of(records))
    return output, images


def _record(output: Path, case: Case, number: int) -> CaseRecord:
    asked = asked_hash(case, {"concepts": ["liver", "spleen"]})
    if number == CASES:
        record = CaseRecord(case.id, asked, failure="The image cannot be read; export it again.")
        write_record(output, record)
        return record
    masks = {"liver": np.zeros(GRID.shape, bool), "spleen": np.zeros(GRID.shape, bool)}
    masks["liver"][1:4, 1 : 5 + number, 2:8] = True
    masks["spleen"][2:5, 7:9, 4:10] = True
    path = output / SEGMENTATIONS / f"{case.id}.seg.nrrd"
    segments = [
        Segment(name, mask, (0.8, 0.4, 0.2), tags={PROVENANCE_TAG: f'{{"concept": "{name}"}}'})
        for name, mask in masks.items()
    ]
    write_segmentation(path, segments, GRID, {"model": "stand-in"})
    rows = [ConceptRow("liver", True, _SCORES[number], 0.3, voxels=int(masks["liver"].sum()), volume_ml=1.0)]
    record = CaseRecord(
        case.id, asked, tuple(rows), "", "CT", "stand-in", files={f"{SEGMENTATIONS}/{path.name}": path.stat().st_size}
    )
    write_record(output, record)
    return record
