"""``medsam3 segment`` with DICOM objects in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.io.dicom_objects import source as source_module
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from support.cli_runs import Shell, files_in
from support.cohort_files import write_study
from support.tiny_model import TINY_SCORE


@pytest.fixture
def segment_dicom(here: Path, tiny_model_folder: Path) -> Shell:
    """``medsam3 segment study --output out.dcm`` with the tiny model; further words may replace these."""
    write_study(here / "study", 3)

    def run(*words: str) -> int:
        options = ["--model", str(tiny_model_folder), "--threshold", str(TINY_SCORE), "--output", "out.dcm"]
        return main(["segment", "study", *options, *words])

    return run


def test_a_dicom_segmentation_is_written_and_read_as_container(segment_dicom: Shell) -> None:
    assert segment_dicom("--concept", "liver; spleen", "--slices", "2:6") == 0
    segments, grid = read_segmentation("out.dcm")
    assert [segment.name for segment in segments] == ["liver", "spleen"]
    assert grid.shape[0] == 4, "slices without anything are left out"
    assert pydicom.dcmread("out.dcm").SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert segment_dicom("--concept", "tumor", "--inside", "out.dcm", "--output", "inside.seg.nrrd") == 0
    (inside,), whole = read_segmentation("inside.seg.nrrd")
    assert whole.same_as(read_volume("study").grid)
    assert np.flatnonzero(inside.mask.any(axis=(1, 2))).tolist() == [2, 3, 4, 5]


def test_nothing_found_is_a_file_that_says_what_was_looked_for(segment_dicom: Shell) -> None:
    assert segment_dicom("--concept", "liver; spleen", "--threshold", "0.9") == 0
    assert [one.SegmentLabel for one in pydicom.dcmread("out.dcm").SegmentSequence] == ["liver", "spleen"]
    assert read_segmentation("out.dcm")[0] == []


def test_what_is_no_dicom_is_refused_before_the_run(
    segment_dicom: Shell, image: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del segment_dicom
    assert main(["segment", str(image), "--concept", "liver", "--output", "out.dcm"]) == 2
    assert "is not DICOM" in capsys.readouterr().err
    assert "out.dcm" not in files_in(here)


def test_without_the_package_it_is_said_before_the_run(
    segment_dicom: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source_module, "find_spec", lambda _: None)
    assert segment_dicom("--concept", "liver") == 5
    err = capsys.readouterr().err
    assert "medsam3-slicer[dicom]" in err
    assert len(err.strip().splitlines()) == 1


def measurements(path: Path) -> list[tuple[str, dict[str, float]]]:
    """Tracking identifier and measurements of each segment in a report, as highdicom finds them."""
    import highdicom

    report = highdicom.sr.srread(path)
    return [
        (
            str(group.tracking_identifier),
            {found.name.meaning: found.value for found in group.get_measurements()},
        )
        for group in report.content.get_volumetric_roi_measurement_groups()
    ]


def test_measurements_are_a_dicom_report_on_the_segmentation(segment_dicom: Shell) -> None:
    assert segment_dicom("--concept", "liver", "--slices", "2:6", "--report", "report.dcm") == 0
    volume = read_volume("study")
    (segment,), grid = read_segmentation("out.dcm")
    ((name, found),) = measurements(Path("report.dcm"))
    assert name == "liver"
    assert found["Volume"] == pytest.approx(segment.mask.sum() * grid.voxel_volume_mm3 / 1000, rel=1e-5)
    assert found["Attenuation Coefficient"] == pytest.approx(volume.array[2:6].mean(), rel=1e-4)
    report, segmentation = pydicom.dcmread("report.dcm"), pydicom.dcmread("out.dcm")
    assert report.StudyInstanceUID == segmentation.StudyInstanceUID
    assert str(segmentation.SOPInstanceUID) in str(report)


def test_a_dicom_report_needs_a_dicom_segmentation(segment_dicom: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment_dicom("--concept", "liver", "--output", "o.seg.nrrd", "--report", "report.dcm") == 2
    assert "refers to a DICOM segmentation" in capsys.readouterr().err


def test_fractions_and_structure_sets_are_written(segment_dicom: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert segment_dicom("--concept", "liver", "--fractional") == 0
    assert pydicom.dcmread("out.dcm").SegmentationType == "FRACTIONAL"
    (segment,), _ = read_segmentation("out.dcm")
    assert segment.mask.all()
    assert segment_dicom("--concept", "liver", "--output", "o.rtstruct.dcm") == 0
    assert pydicom.dcmread("o.rtstruct.dcm").Modality == "RTSTRUCT"
    capsys.readouterr()
    assert segment_dicom("--concept", "liver", "--output", "o.nii.gz", "--fractional") == 2
    assert "--fractional" in capsys.readouterr().err
