"""``--example``: the segment that is meant, or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.cli.options.example import ExampleFiles, choose_segment, read_examples
from MedSAM3SegmentLib.cli.options.prompt import NAMELESS
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.labelmap_nifti import write_label_map
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.volume import Volume
from support.external_data import DATA, SHARED
from support.results import axial_grid

CASE = SHARED / "cases" / "example-of-another-name"
GRID = axial_grid((3, 4, 5), (2.0, 2.0, 3.0))


def segments(*names: str) -> list[Segment]:
    return [Segment(name, np.ones((1, 1, 1), bool), (1.0, 0.0, 0.0)) for name in names]


@pytest.mark.parametrize(
    ("names", "concept", "meant"),
    [
        (("liver", "spine"), "liver", "liver"),
        (("Liver", "spine"), "liver", "Liver"),
        (("liver", "spine"), "livers", "liver"),
        (("liver", "spine"), "Segment the liver.", "liver"),
        (("liver", "spine"), "1. “Liver”", "liver"),
        (("Kidney_L", "Kidney_R"), "left kidney", "Kidney_L"),
        (("left kidney", "right kidney"), "kidney, r", "right kidney"),
        (("renal parenchyma", "spine"), "kidney", "renal parenchyma"),
        (("quux", "spine"), "Quuxes", None),
        (("my thing", "spine"), "My_Thing", "my thing"),
        (("kidney", "left kidney"), "kidneys", "kidney"),
        (("Label 1",), "liver", "Label 1"),
        (("Segment_1",), "liver", "Segment_1"),
        (("Label 1", "Label 2"), "Label 2", "Label 2"),
        (("spine",), NAMELESS, "spine"),
        (("liver",), "it", "liver"),
        (("anything",), "liver", "anything"),
        (("spine",), "spleen", None),
        (("liver", "spine"), "spleen", None),
        (("left kidney", "right kidney"), "kidney", None),
        (("liver", "spine"), NAMELESS, None),
        (("Label 1", "Label 2"), "liver", None),
    ],
)
def test_the_segment_that_is_meant_or_none(names, concept, meant):
    if meant is not None:
        (chosen,) = choose_segment(Path("truth.seg.nrrd"), concept, segments(*names))
        assert chosen.name == meant
        return
    with pytest.raises(InputError) as caught:
        choose_segment(Path("truth.seg.nrrd"), concept, segments(*names))
    said = str(caught.value)
    assert said.startswith("truth.seg.nrrd ")
    assert said.endswith(".")
    assert all(f"'{name}'" in said for name in names)


def test_two_spellings_of_one_concept_are_not_guessed_between():
    with pytest.raises(InputError, match="shows 'livers' in 'liver', 'hepatic parenchyma'; give one"):
        choose_segment(Path("a.seg.nrrd"), "livers", segments("liver", "hepatic parenchyma"))


def test_labels_without_names_are_told_how_to_get_one(tmp_path):
    labels = np.zeros(GRID.shape, np.uint8)
    labels[0], labels[1] = 1, 2
    volume = Volume(np.zeros(GRID.shape, np.int16), GRID)
    path = tmp_path / "truth.nii.gz"
    write_label_map(path, labels, GRID, {}, {})
    names = tmp_path / "truth.labels.json"
    names.unlink(missing_ok=True)
    with pytest.raises(
        InputError, match=r"give one as --concept: 'Label 1', 'Label 2', or name them in a truth.labels.json"
    ):
        read_examples([ExampleFiles(None, path)], "liver", volume)
    (example,) = read_examples([ExampleFiles(None, path)], "Label 2", volume)
    assert np.array_equal(example.mask, labels == 2)
    names.write_text(json.dumps({"labels": {"1": "spleen", "2": "liver"}}))
    (example,) = read_examples([ExampleFiles(None, path)], "livers", volume)
    assert np.array_equal(example.mask, labels == 2)
    names.unlink()
    write_label_map(path, (labels == 1).astype(np.uint8), GRID, {}, {})
    names.unlink(missing_ok=True)
    (example,) = read_examples([ExampleFiles(None, path)], "liver", volume)
    assert np.array_equal(example.mask, labels == 1)


@pytest.mark.skipif(not CASE.is_dir(), reason=f"needs the real images in {DATA}, which are not here")
def test_the_case():
    volume = read_volume(CASE / "ct.nii.gz")
    files = [ExampleFiles(CASE / "ct.nii.gz", CASE / "truth.seg.nrrd")]
    (example,) = read_examples(files, "livers", volume)
    assert example.mask.sum() * volume.grid.voxel_volume_mm3 / 1000 == pytest.approx(202, abs=1)
    with pytest.raises(InputError, match="does not show 'spleen'; there is 'liver', 'spine'"):
        read_examples(files, "spleen", volume)
