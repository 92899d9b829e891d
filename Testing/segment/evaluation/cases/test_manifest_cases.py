"""What nobody looked at counts on neither side: ignored voxels and slices that a manifest does not call labelled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.evaluation.cases.manifest_cases import manifest_cases
from support.evaluation_files import write_volume


@pytest.mark.parametrize(
    ("said", "slices"), [([0, "2:4"], [0, 2, 3]), ("drawn", [1, 2, 4]), ("all", range(5)), (None, range(5))]
)
def test_slices_and_voxels_that_are_not_known_are_not_scored(tmp_path: Path, said: object, slices: list[int]) -> None:
    labels = np.zeros((5, 8, 8), np.uint8)
    labels[1:3, 2:6, 2:6] = 1
    labels[4, :2, :2] = 9
    write_volume(tmp_path / "ct.nii.gz", labels * 20, (1, 1, 4))
    write_volume(tmp_path / "labels.nii.gz", labels, (1, 1, 4))
    case = {"image": "ct.nii.gz", "labels": "labels.nii.gz", "concepts": {"liver": [1]}, "ignore": [9]}
    case["labelled_slices"] = said  # type: ignore[assignment]
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [case]}))
    (read,) = manifest_cases(tmp_path / "cases.json").cases
    reference = read.read_references(None)["liver"]
    expected = np.zeros(labels.shape, bool)
    expected[list(slices)] = True
    expected &= labels != 9
    assert reference.scored is not None
    assert np.array_equal(reference.scored, expected)
    assert np.array_equal(reference.mask, labels == 1)
