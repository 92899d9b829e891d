"""Which series and which volume in it is meant; and the modality that is given for a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import misplaced, places, series_files, slice_file
from support.images import refused, write_mha, write_nifti

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two series of one size and a third with the number of the second."""
    for n, (uid, number, description) in enumerate(
        [("1.2.3", 2, "Abdomen arterial"), ("1.2.4", 3, "Abdomen venous"), ("1.2.5", 3, "Lung")]
    ):
        series_files(
            tmp_path / uid,
            places(4 + n),
            SeriesInstanceUID=uid,
            SeriesNumber=number,
            SeriesDescription=description,
        )
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "count"),
    [("2", 4), ("1.2.3", 4), ("1.2.4", 5), ("1.2.5", 6), ("arterial", 4), ("VENOUS", 5), ("lung", 6), ("Abdomen a", 4)],
)
def test_a_series_is_chosen_by_number_uid_or_description(study: Path, wanted: str, count: int) -> None:
    volume = read_volume(study, series=wanted)
    assert volume.array.shape[0] == count
    assert misplaced(volume) < 1
    assert "Abdomen" not in str((volume.name, *volume.messages))


def refused_series(path: Path, wanted: str) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path, series=wanted)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_several_series_are_listed_with_what_chooses_them(study: Path) -> None:
    text = refused(study, "3 image series", "2: CT 'Abdomen arterial' with 4 files", "--series")
    assert "1.2.4: CT 'Abdomen venous'" in text, "two series have the number 3"


@pytest.mark.parametrize(("wanted", "word"), [("3", "may mean"), ("Abdomen", "may mean"), ("9", "no image series '9'")])
def test_a_series_that_is_not_clear_or_not_there_is_refused(study: Path, wanted: str, word: str) -> None:
    text = refused_series(study, wanted)
    assert word in text
    assert "Lung" in text or wanted == "Abdomen"


@pytest.mark.parametrize("wanted", ["", " ", ".", "2.1", "2.", "1.2.3.1", "x" * 5000, "{x}", "%s"])
def test_odd_names_of_series_are_refused(study: Path, wanted: str) -> None:
    refused_series(study, wanted)


def test_series_that_many_are_not_all_listed(tmp_path: Path) -> None:
    for n in range(60):
        slice_file(tmp_path / f"{n}.dcm", (0, 0, 0), SeriesInstanceUID=f"1.2.{n}", SeriesNumber=n)
    text = refused(tmp_path, "60 image series", "and 40 more")
    assert len(text) < 3000


def test_one_file_has_its_series_too(study: Path) -> None:
    path = study / "1.2.3" / "000.dcm"
    assert read_volume(path, series="2").array.shape[0] == 1
    assert "no image series" in refused_series(path, "7")


def test_the_localizer_may_be_chosen(tmp_path: Path) -> None:
    series_files(tmp_path / "a", places(12))
    slice_file(
        tmp_path / "b.dcm",
        (0, 0, 0),
        SeriesInstanceUID="1.2.9",
        SeriesNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    assert read_volume(tmp_path).array.shape[0] == 12
    assert read_volume(tmp_path, series="1").array.shape[0] == 1


@pytest.mark.parametrize(
    ("tag", "values", "words"),
    [
        ("EchoTime", (4.6, 9.2), "echo time 9.2 ms"),
        ("DiffusionBValue", (0.0, 800.0), "b-value 800 s/mm²"),
        ("TemporalPositionIdentifier", (1, 2), "time point 2"),
        ("AcquisitionNumber", (1, 2), "acquisition 2"),
        ("TriggerTime", (0.0, 350.0), "trigger time 350.0 ms"),
        ("ConvolutionKernel", ("B30f", "B70f"), "convolution kernel B70F"),
        ("AcquisitionTime", ("120000", "120130"), "acquisition time 120130"),
    ],
)
def test_volumes_of_one_series_are_named_and_chosen(
    tmp_path: Path, tag: str, values: tuple[Any, Any], words: str
) -> None:
    for n, value in enumerate(values):
        for path in series_files(tmp_path / str(n), places(5), modality="MR", **{tag: value}):
            assert path.exists()
    text = refused(tmp_path, "same position", "2 volumes", "7.2")
    assert words.casefold() in text.casefold()
    volume = read_volume(tmp_path, series="7.2")
    assert volume.array.shape[0] == 5
    assert misplaced(volume) < 1
    assert words.casefold() in volume.messages[0].casefold()


@pytest.mark.parametrize(
    ("magnitude", "phase"),
    [
        (["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]),
        (["O", "P", "M_FFE", "M"], ["O", "P", "R"]),
    ],
)
def test_the_magnitude_of_a_classic_series_is_read_and_said(
    tmp_path: Path, magnitude: list[str], phase: list[str]
) -> None:
    series_files(tmp_path / "p", places(5), modality="MR", ImageType=phase, RescaleIntercept=77)
    series_files(tmp_path / "m", places(5), modality="MR", ImageType=magnitude)
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 5
    assert misplaced(volume) < 1
    assert "magnitude" in volume.messages[0]


def test_a_time_point_short_of_a_slice_is_still_told_apart(tmp_path: Path) -> None:
    series_files(tmp_path / "a", places(6), TemporalPositionIdentifier=1)
    series_files(tmp_path / "b", places(6)[:5], TemporalPositionIdentifier=2)
    refused(tmp_path, "2 volumes", "time point 1")
    assert read_volume(tmp_path, series="7.2").array.shape[0] == 5


def test_phases_of_one_slice_are_told_apart(tmp_path: Path) -> None:
    for n in range(6):
        slice_file(tmp_path / f"{n}.dcm", (0, 0, 0), TriggerTime=40.0 * n)
    refused(tmp_path, "same position", "6 volumes", "trigger time 200.0 ms")
    assert read_volume(tmp_path, series="7.3").array.shape[0] == 1


def test_time_points_whose_places_jitter_are_not_blended(tmp_path: Path) -> None:
    series_files(tmp_path / "a", places(5), TemporalPositionIdentifier=1)
    moved = [(x, y, z + 0.01) for x, y, z in places(5)]
    series_files(tmp_path / "b", moved, TemporalPositionIdentifier=2)
    refused(tmp_path, "same position")


# Modality


def test_a_modality_is_given_for_files_without_one(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_nifti(tmp_path / "a.nii.gz", array.T, np.diag([2, 2, 2, 1.0]))
    write_mha(tmp_path / "a.mha", array)
    for name in ("a.nii.gz", "a.mha"):
        for given in ("CT", "ct", " Ct "):
            volume = read_volume(tmp_path / name, modality=given)
            assert volume.modality == "CT"
            assert volume.messages == ()
        assert read_volume(tmp_path / name, modality="MRI").modality == "MR"
        assert read_volume(tmp_path / name).modality == ""


def test_a_wrong_modality_is_replaced_and_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(4), modality="MR")
    volume = read_volume(tmp_path, modality="CT")
    assert volume.modality == "CT"
    assert volume.messages == ("The file says that it is MR; it was taken for CT.",)
    assert read_volume(tmp_path, modality="MR").messages == ()


@pytest.mark.parametrize("given", ["", "liver", "CTX", "C T", "SEG", "{x}"])
def test_what_is_no_modality_is_refused(tmp_path: Path, given: str) -> None:
    series_files(tmp_path, places(4))
    with pytest.raises(InputError, match="is no modality"):
        read_volume(tmp_path, modality=given)


def test_a_series_of_another_format_is_refused(tmp_path: Path) -> None:
    path = write_mha(tmp_path / "a.mha", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    with pytest.raises(InputError, match="is not DICOM"):
        read_volume(path, series="2")
