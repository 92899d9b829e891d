"""Reading DICOM: slices of a series in their places, gaps and tilt, and which series is meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from MedSAM3SegmentLib.io.read_volume import read_volume
from support.images import refused, sample, smooth, write_dicom, write_series

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


def test_a_series_in_any_file_order_and_depth(tmp_path: Path) -> None:
    stack = write_series(tmp_path / "Doe Jane" / "study" / "series", np.arange(10, 30, 2.0))
    (tmp_path / "Doe Jane" / "readme.txt").write_text("from the archive")
    volume = read_volume(tmp_path / "Doe Jane")
    np.testing.assert_array_equal(volume.array, stack)
    np.testing.assert_allclose(
        volume.grid.ijk_to_ras, [[-0.25, 0, 0, 30], [0, -0.5, 0, 40], [0, 0, 2, 10], [0, 0, 0, 1]], atol=1e-6
    )
    assert (volume.modality, volume.messages) == ("CT", ())
    assert volume.name == "DICOM CT of 10 slices"


def test_one_dicom_file_is_one_slice(tmp_path: Path) -> None:
    stack = write_series(tmp_path, [1.0, 2.0, 3.0])
    volume = read_volume(tmp_path / "000.dcm")
    np.testing.assert_array_equal(volume.array, stack[:1])
    np.testing.assert_allclose(volume.grid.origin, [30, 40, 1])
    assert volume.name == "DICOM CT of 1 slice"


def test_a_missing_slice_is_filled_in_and_said(tmp_path: Path) -> None:
    stack = write_series(tmp_path, [0.0, 2.0, 4.0, 8.0, 10.0])
    volume = read_volume(tmp_path)
    assert volume.array.shape == (6, 8, 6)
    assert volume.grid.spacing[2] == pytest.approx(2.0)
    np.testing.assert_array_equal(volume.array[[0, 1, 2, 4, 5]], stack)
    np.testing.assert_allclose(volume.array[3], (stack[2] + stack[3]) / 2, atol=0.5)
    assert ["2.00 to 4.00 mm apart" in message for message in volume.messages] == [True]


def test_unevenly_spaced_slices_keep_their_places(tmp_path: Path) -> None:
    write_series(tmp_path, [0.0, 2.0, 4.5, 6.0, 8.1, 10.0])
    volume = read_volume(tmp_path)
    heights = volume.grid.to_ras(np.array([[2.0, 3.0, k] for k in range(volume.array.shape[0])]))[:, 2]
    base = float(smooth((6, 8, 1))[2, 3, 0])
    np.testing.assert_allclose(volume.array[:, 3, 2], base + 20 * heights, atol=1.0)


def test_a_tilted_gantry_is_straightened(tmp_path: Path) -> None:
    stack = write_series(tmp_path, np.arange(0, 20, 2.0), lean=0.3)
    volume = read_volume(tmp_path)
    assert not volume.grid.is_sheared
    assert any("gantry" in message for message in volume.messages)
    i, j, k = 2, 3, 5
    place = np.array([[30 - 0.25 * i, 40 - 0.3 * 2 * k - 0.5 * j, 2.0 * k]])
    assert sample(volume, place)[0] == pytest.approx(stack[k, j, i], abs=1.0)


def test_slices_that_are_no_stack_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "echoes" / "1", [0.0, 2.0, 4.0])
    write_series(tmp_path / "echoes" / "2", [0.0, 2.0, 4.0])
    refused(tmp_path / "echoes", "same position")
    write_series(tmp_path / "bent", [0.0, 2.0, 4.0])
    write_dicom(tmp_path / "bent" / "off.dcm", np.zeros((8, 6)), (-25.0, -40.0, 6.0))
    write_dicom(tmp_path / "bent" / "on.dcm", np.zeros((8, 6)), (-30.0, -40.0, 8.0))
    refused(tmp_path / "bent", "do not lie on one line")
    write_series(tmp_path / "far", [0.0, 2.0, 4.0, 80.0])
    refused(tmp_path / "far", "gap of 76.0 mm")
    write_series(tmp_path / "lost", [0.0, 2.0], ImagePositionPatient=None)
    refused(tmp_path / "lost", "do not say where they lie")


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    stack = write_series(tmp_path, [0.0, 2.0, 4.0])
    shutil.copy(tmp_path / "000.dcm", tmp_path / "copy.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path).array, stack)


def test_which_series_is_meant(tmp_path: Path) -> None:
    stack = write_series(tmp_path / "a", np.arange(0, 40, 2.0), SeriesDescription="Jane arterial")
    write_dicom(
        tmp_path / "scout.dcm",
        np.zeros((9, 9)),
        SeriesInstanceUID="1.2.4",
        SeriesDescription="Jane scout",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    write_dicom(tmp_path / "page.dcm", np.zeros((9, 9)), SeriesInstanceUID="1.2.5", Modality="OT")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, stack)
    assert volume.modality == "CT"
    assert len(volume.messages) == 1
    assert "CT, 1 file" in volume.messages[0]
    assert "OT, 1 file" in volume.messages[0]
    assert "Jane" not in str((volume.name, *volume.messages))

    write_series(tmp_path / "b", np.arange(0, 36, 2.0), SeriesInstanceUID="1.2.6", SeriesDescription="venous")
    text = refused(tmp_path, "3 image series", "arterial", "20 files", "venous", "18 files")
    assert "Doe" not in text


def test_a_folder_of_reports_is_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "report.dcm", np.zeros((8, 6)), PixelData=None, Rows=None, Columns=None, Modality="SR")
    refused(tmp_path, "no DICOM image")


def test_slices_with_their_own_scale_keep_their_values(tmp_path: Path) -> None:
    for n in range(3):
        write_dicom(tmp_path / f"{n}.dcm", np.full((8, 6), 10), (0, 0, 2.0 * n), RescaleSlope=1 + n / 4, Modality="PT")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [-990.0, -987.5, -985.0]
    assert volume.modality == "PT"
