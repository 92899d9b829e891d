"""nnU-Net raw folders: regions, labels that are ignored, folds, both versions of the format, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.nnunet_cases import nnunet_cases
from support.evaluation_files import evaluate, read_cases, read_summary, write_picture, write_volume


def labels() -> np.ndarray[Any, Any]:
    array = np.zeros((5, 20, 20), np.uint8)
    array[1:4, 2:10, 2:10] = 1
    array[1:4, 4:8, 4:8] = 2
    array[1:4, 12:16, 12:16] = 3
    return array


DESCRIPTION = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "whole_tumor": [1, 2], "core": 2, "ignore": 3},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases of two channels with a region in another and a label that is ignored."""
    root = tmp_path / "Dataset001_Brain"
    for name in ("b_01", "b_02"):
        for channel in (0, 1):
            write_volume(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", labels() * 20)
        write_volume(root / "labelsTr" / f"{name}.nii.gz", labels())
    (root / "dataset.json").write_text(json.dumps(DESCRIPTION))
    (root / "splits_final.json").write_text(json.dumps([{"train": ["b_01"], "val": ["b_02"]}]))
    return root


def test_regions_and_ignored_voxels(folder: Path) -> None:
    case_set = nnunet_cases(folder, None, 1)
    assert dict(case_set.concepts) == {"whole_tumor": "whole tumor", "core": "core"}
    case = case_set.cases[0]
    assert case.image == folder / "imagesTr" / "b_01_0001.nii.gz"
    found = case.read_references(None)
    assert [int(found[name].mask.sum()) for name in ("whole_tumor", "core")] == [192, 48]
    scored = found["core"].scored
    assert scored is not None
    assert int((~scored).sum()) == 48


def test_predictions_of_nnunet_by_its_own_labels(folder: Path, tmp_path: Path) -> None:
    # What is found where the reference says ignore counts on neither side.
    found = labels()
    found[found == 3] = 2
    found[1:4, 4:8, 4:6][...] = 1
    for name in ("b_01", "b_02"):
        write_volume(tmp_path / "mine" / f"{name}.nii.gz", found)
    words = ("--nnunet", folder, "--predictions", tmp_path / "mine", "--output", tmp_path / "out")
    assert evaluate(*words) == 0
    rows = read_cases(tmp_path / "out")
    assert float(rows["b_01", "whole_tumor"]["dice"]) == 1.0
    assert float(rows["b_01", "core"]["dice"]) == pytest.approx(2 * 24 / (24 + 48))
    assert any("ignore" in note for note in read_summary(tmp_path / "out")["notes"])
    assert evaluate(*words[:-1], tmp_path / "fold", "--split", "fold0") == 0
    assert {case for case, _ in read_cases(tmp_path / "fold")} == {"b_02"}


def test_pictures_and_the_first_version_of_the_format(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:6, 2:6] = 1
    write_picture(tmp_path / "labelsTr" / "x.png", mask)
    write_picture(tmp_path / "imagesTr" / "x_0000.png", mask * 90)
    description = {"labels": {"0": "background", "1": "polyp"}, "modality": {"0": "RGB"}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    (case,) = nnunet_cases(tmp_path, "train").cases
    assert int(case.read_references(None)["polyp"].mask.sum()) == 16


@pytest.mark.parametrize(
    ("change", "split", "says"),
    [
        ({"labels": {}}, None, "labels"),
        ({"labels": {"background": 0}}, None, "background alone"),
        ({"labels": {"background": 0, "liver": "one"}}, None, "'liver'"),
        ({"file_ending": ".nrrd"}, None, "labelsTr"),
        ({}, "test", "labelsTs"),
        ({}, "fold3", "fold3"),
        ({}, "validation", "validation"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, change: dict[str, Any], split: str | None, says: str) -> None:
    (folder / "dataset.json").write_text(json.dumps({**DESCRIPTION, **change}))
    with pytest.raises(InputError, match=says) as caught:
        nnunet_cases(folder, split)
    assert str(caught.value).endswith(".")


def test_a_value_that_the_description_does_not_name(folder: Path) -> None:
    write_volume(folder / "labelsTr" / "b_01.nii.gz", labels() * 3)
    with pytest.raises(InputError, match=r"b_01.*Label 6"):
        nnunet_cases(folder, None).cases[0].read_references(None)


def test_no_nnunet_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json does not exist"):
        nnunet_cases(tmp_path, None)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json cannot be read"):
        nnunet_cases(tmp_path, None)
