"""The small inputs that people have met: each does what the README beside them says."""

from __future__ import annotations

import pytest

from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import misplaced
from support.external_data import SHARED, needs_shared
from support.images import refused

CASES = SHARED / "cases"

pytestmark = [pytest.mark.usefixtures("nothing_on_the_terminal"), needs_shared]


@pytest.mark.parametrize(
    "case",
    [
        "enhanced-even/enh_ok.dcm",
        "enhanced-one-frame-per-file/series",
        "dicom-same-instance-uid/series",
        "dicom-without-preamble/series",
        "dicom-orientation-jitter/series",
    ],
)
def test_every_voxel_lies_where_its_value_says(case: str) -> None:
    volume = read_volume(CASES / case)
    assert volume.array.shape == (8, 32, 32)
    assert volume.grid.spacing == pytest.approx((2, 2, 4))
    assert misplaced(volume) < 1
    assert volume.messages == ()


def test_one_of_two_frame_types_is_read_and_said() -> None:
    volume = read_volume(CASES / "enhanced-two-frame-types/enh_two_types.dcm")
    assert volume.array.shape == (8, 32, 32)
    assert misplaced(volume) < 1
    assert len(volume.messages) == 1
    assert "magnitude" in volume.messages[0]
    assert "field map" in volume.messages[0]


def test_a_missing_frame_is_filled_and_said() -> None:
    volume = read_volume(CASES / "enhanced-missing-frame/enh_gap.dcm")
    assert volume.array.shape == (8, 32, 32)
    assert misplaced(volume) < 1
    assert ["4.00 to 8.00 mm apart" in text for text in volume.messages] == [True]


def test_each_frame_has_its_own_slope() -> None:
    volume = read_volume(CASES / "enhanced-slope-per-frame/enh_slopes.dcm")
    assert volume.array.shape == (8, 32, 32)
    assert misplaced(volume) < 1


def test_lengths_without_pixel_spacing_are_said_to_be_no_millimetres() -> None:
    volume = read_volume(CASES / "dicom-no-pixel-spacing/series")
    assert volume.array.shape == (8, 32, 32)
    assert ["not millimetres" in text for text in volume.messages] == [True]


def test_left_and_right_without_orientation_are_said_to_be_a_guess() -> None:
    volume = read_volume(CASES / "dicom-no-position/cbct_noplace.dcm")
    assert volume.array.shape == (8, 32, 32)
    assert volume.grid.spacing == pytest.approx((2, 2, 4))
    assert ["left and right are a guess" in text for text in volume.messages] == [True]


def test_a_mosaic_is_refused_in_words_that_say_mosaic() -> None:
    refused(CASES / "siemens-mosaic/mosaic.dcm", "mosaic", "dcm2niix")


def test_a_series_without_rescale_keeps_its_values() -> None:
    volume = read_volume(CASES / "ct-not-in-hu/series-without-rescale")
    assert volume.array.shape == (8, 32, 32)
    assert misplaced(volume) <= 1024
    assert volume.array.min() >= 0
