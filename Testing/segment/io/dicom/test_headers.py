"""Odd but honest headers: what is guessed is said, what cannot be known is refused, and every voxel has its place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import (
    AXIAL,
    data_set,
    item,
    misplaced,
    picture,
    places,
    save,
    series_files,
    set_pixels,
    slice_file,
)
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


# Jitter


def test_directions_that_differ_by_rounding_are_one_series(tmp_path: Path) -> None:
    for n, position in enumerate(places(8)):
        a = 0.0005 + 2e-7 * (-1) ** n
        slice_file(tmp_path / f"{n}.dcm", position, (1, a, 0, -a, 1, 0))
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 8
    assert misplaced(volume) < 1
    assert volume.messages == ()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 4e-4), st.floats(0, 0.05))
def test_jitter_of_headers_moves_no_voxel_by_more(tmp_path_factory: Any, seed: int, turn: float, shift: float) -> None:
    folder = tmp_path_factory.mktemp("jitter")
    random = np.random.default_rng(seed)
    for n, position in enumerate(places(6)):
        a = random.uniform(-turn, turn)
        moved = np.asarray(position) + random.uniform(-shift, shift, 3) * [1, 1, 0.4]
        slice_file(folder / f"{n}.dcm", moved, (1, a, 0, -a, 1, 0))
    volume = read_volume(folder)
    assert volume.array.shape[0] == 6
    assert misplaced(volume) < 1.5


def test_slices_beside_the_line_are_still_refused(tmp_path: Path) -> None:
    positions = [*places(5), (-24.0, -20.0, 10.0)]
    for n, position in enumerate(positions):
        slice_file(tmp_path / f"{n}.dcm", position)
    refused(tmp_path, "do not lie on one line")


# Sizes of pixels


def test_missing_pixel_spacing_is_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(5), PixelSpacing=None)
    volume = read_volume(tmp_path)
    assert volume.grid.spacing == pytest.approx((1, 1, 4))
    assert ["not millimetres" in text for text in volume.messages] == [True]


def test_pixel_spacing_without_a_value_is_missing(tmp_path: Path) -> None:
    series_files(tmp_path, places(5), PixelSpacing="")
    assert ["not millimetres" in text for text in read_volume(tmp_path).messages] == [True]


def test_the_size_at_the_detector_is_used_and_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(5), PixelSpacing=None, ImagerPixelSpacing=[2.0, 1.5])
    volume = read_volume(tmp_path)
    assert misplaced(volume) < 1
    assert ["Imager Pixel Spacing" in text for text in volume.messages] == [True]


@pytest.mark.parametrize("spacing", [[0, 0], [2.0, 0], [-2, 1.5], [2.0], ["1e400", 1], [2, 1, 1]])
def test_a_spacing_that_is_no_size_is_refused(tmp_path: Path, spacing: list[float]) -> None:
    paths = series_files(tmp_path, places(5))
    for path in paths:
        content = path.read_bytes()
        text = "\\".join(map(str, spacing))
        text += " " * (len(text) % 2)
        old = b"(\x00\x30\x00DS" + (8).to_bytes(2, "little") + b"2.0\\1.5 "
        assert old in content
        new = b"(\x00\x30\x00DS" + len(text).to_bytes(2, "little") + text.encode()
        path.write_bytes(content.replace(old, new))
    refused(tmp_path, "Pixel Spacing")


@pytest.mark.parametrize("other", [[2.0, 1.6], None])
def test_mixed_pixel_spacing_is_refused(tmp_path: Path, other: list[float] | None) -> None:
    for n, position in enumerate(places(6)):
        slice_file(tmp_path / f"{n}.dcm", position, **({"PixelSpacing": other} if n == 2 else {}))
    refused(tmp_path, "Pixel Spacing")


def test_pixel_spacing_that_differs_by_rounding_is_one(tmp_path: Path) -> None:
    for n, position in enumerate(places(6)):
        slice_file(tmp_path / f"{n}.dcm", position, PixelSpacing=[2.0, 1.5 + 1e-5 * n])
    assert misplaced(read_volume(tmp_path)) < 1


# Places


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_one_slice_without_a_place_is_a_guess(tmp_path: Path, missing: str) -> None:
    path = slice_file(tmp_path / "lost.dcm", (0, 0, 0), **{missing: None})
    volume = read_volume(path)
    assert volume.array.shape[0] == 1
    assert ["left and right are a guess" in text for text in volume.messages] == [True]
    series_files(tmp_path / "series", places(4), **{missing: None})
    refused(tmp_path / "series", "do not say where they lie")


def test_several_frames_with_the_place_of_the_first(tmp_path: Path) -> None:
    positions = places(5)
    data = data_set("1.2.840.10008.5.1.4.1.1.2", "CT", PixelSpacing=[2.0, 1.5], SpacingBetweenSlices=4)
    data.ImagePositionPatient, data.ImageOrientationPatient = list(positions[0]), list(AXIAL)
    set_pixels(data, np.rint(np.stack([picture(position) for position in positions])))
    volume = read_volume(save(data, tmp_path / "frames.dcm"))
    assert misplaced(volume) < 1
    assert ["first frame" in text for text in volume.messages] == [True]


def test_a_slice_has_the_thickness_that_its_header_has(tmp_path: Path) -> None:
    assert read_volume(slice_file(tmp_path / "one.dcm", (0, 0, 0))).grid.spacing == pytest.approx((1.5, 2, 4))


# Values


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_monochrome1_keeps_measured_values_and_says_so(tmp_path: Path, modality: str) -> None:
    def change(data: Dataset) -> None:
        data.PhotometricInterpretation = "MONOCHROME1"

    series_files(tmp_path, places(5), modality=modality, change=change)
    volume = read_volume(tmp_path)
    assert misplaced(volume) < 1
    assert ["MONOCHROME1" in text for text in volume.messages] == [True]


def test_a_monochrome1_radiograph_is_shown_as_it_is_meant(tmp_path: Path) -> None:
    data = data_set("1.2.840.10008.5.1.4.1.1.1.1", "DX", ImagerPixelSpacing=[0.2, 0.2])
    stored = np.arange(48).reshape(6, 8)
    set_pixels(data, stored, bits=12)
    data.PhotometricInterpretation = "MONOCHROME1"
    volume = read_volume(save(data, tmp_path / "chest.dcm"))
    np.testing.assert_array_equal(volume.array[0], 4095 - stored)
    assert ["Imager Pixel Spacing" in text for text in volume.messages] == [True]


# Words


@pytest.mark.parametrize(
    ("charset", "description"),
    [
        ("ISO_IR 100", "Schädel März"),
        ("ISO_IR 192", "頭部 ЖЫ"),
        (["", "ISO 2022 IR 87"], "頭部CT"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ"),
        ("GB18030", "头部"),
    ],
)
def test_descriptions_in_any_character_set_are_listed(tmp_path: Path, charset: Any, description: str) -> None:
    tags = {"SpecificCharacterSet": charset, "PatientName": "Doe^Jane"}
    series_files(tmp_path / "a", places(4), SeriesDescription=description, **tags)
    series_files(
        tmp_path / "b", places(4), SeriesDescription="other", SeriesInstanceUID="1.2.4", SeriesNumber=8, **tags
    )
    text = refused(tmp_path, description, "other", "7: CT", "8: CT")
    assert "Doe" not in text
    assert misplaced(read_volume(tmp_path, series=description)) < 1


@pytest.mark.parametrize("charset", ["ISO_IR 999", "rubbish", None])
def test_texts_in_a_wrong_character_set_are_no_crash(tmp_path: Path, charset: str | None) -> None:
    tags: dict[str, str] = {} if charset is None else {"SpecificCharacterSet": charset}
    for uid in ("1.2.3", "1.2.4"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paths = series_files(
                tmp_path / uid, places(4), SeriesInstanceUID=uid, SeriesDescription="Kopf %s{x}", **tags
            )
        for path in paths:
            path.write_bytes(path.read_bytes().replace(b"Kopf", b"K\xf6\n\x1b"))
    text = refused(tmp_path, "2 image series")
    assert "\x1b" not in text


def test_what_was_typed_does_not_travel_with_results(tmp_path: Path) -> None:
    series_files(tmp_path / "a", places(12), SeriesDescription="Jane arterial", ProtocolName="Jane")
    slice_file(tmp_path / "b.dcm", (0, 0, 0), SeriesInstanceUID="1.2.4", SeriesDescription="Jane scout")
    volume = read_volume(tmp_path)
    assert "left out" in volume.messages[0]
    assert "Jane" not in str((volume.name, *volume.messages))
    assert "Doe" not in str((volume.name, *volume.messages))


# Mosaics


def csa_header(count: int, normal: tuple[float, float, float]) -> bytes:
    """A CSA2 header of the two tags that a mosaic needs, as Siemens lays them out (NiBabel's documentation)."""
    import struct

    def tag(name: str, representation: str, values: list[str]) -> bytes:
        content = struct.pack("<64si4s3i", name.encode(), len(values), representation.encode(), 0, len(values), 77)
        for value in values:
            text = value.encode() + b"\0"
            content += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
        return content

    tags = tag("NumberOfImagesInMosaic", "US", [str(count)])
    tags += tag("SliceNormalVector", "FD", [f"{x:.8f}" for x in normal])
    return b"SV10\4\3\2\1" + struct.pack("<2I", 2, 77) + tags


def mosaic(
    path: Path, count: int, sign: int = 1, orientation: Any = AXIAL, csa: bytes | None = b"", **tags: Any
) -> Path:
    across = int(np.ceil(np.sqrt(count)))
    normal = np.cross(orientation[:3], orientation[3:]) * sign
    positions = places(count, 4 * normal)
    tiled = np.zeros((6 * across, 8 * across))
    for n, position in enumerate(positions):
        r, c = divmod(n, across)
        tiled[r * 6 : r * 6 + 6, c * 8 : c * 8 + 8] = picture(position, orientation)
    data = data_set("1.2.840.10008.5.1.4.1.1.4", "MR", Manufacturer="SIEMENS", SpacingBetweenSlices=4)
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    data.PixelSpacing = [2.0, 1.5]
    corner = np.asarray(positions[0]) - (across - 1) / 2 * (
        8 * 1.5 * np.asarray(orientation[:3]) + 6 * 2.0 * np.asarray(orientation[3:])
    )
    data.ImagePositionPatient = [f"{x:.8g}" for x in corner]
    data.ImageOrientationPatient = list(orientation)
    set_pixels(data, np.rint(tiled))
    if csa is not None:
        data.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
        data.add_new(0x00291010, "OB", csa or csa_header(count, tuple(normal.tolist())))
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    return save(data, path)


@pytest.mark.parametrize("count", [1, 2, 5, 9, 16])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("orientation", [AXIAL, (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)])
def test_a_mosaic_is_taken_apart(tmp_path: Path, count: int, sign: int, orientation: Any) -> None:
    volume = read_volume(mosaic(tmp_path / "mosaic.dcm", count, sign, orientation))
    assert volume.array.shape == (count, 6, 8)
    assert misplaced(volume) < 1
    assert volume.name == f"DICOM MR of {count} slice{'s' if count > 1 else ''}"


def test_mosaics_over_time_are_told_apart(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        mosaic(tmp_path / f"{n}.dcm", 4, InstanceNumber=n, AcquisitionTime=f"12000{n}.5")
    refused(tmp_path, "same position", "3 volumes")
    assert misplaced(read_volume(tmp_path, series="7.2")) < 1


@pytest.mark.parametrize("csa", [None, b"SV10 rubbish", csa_header(0, (0, 0, 1)), csa_header(4, (1, 0, 0))])
def test_a_mosaic_that_cannot_be_taken_apart_is_refused(tmp_path: Path, csa: bytes | None) -> None:
    path = mosaic(tmp_path / "mosaic.dcm", 4, csa=csa)
    refused(path, "mosaic", "dcm2niix")


def test_a_mosaic_beside_a_volume_is_left_out_and_said(tmp_path: Path) -> None:
    series_files(tmp_path, places(12))
    mosaic(tmp_path / "mosaic.dcm", 4, csa=None, SeriesInstanceUID="1.2.4")
    volume = read_volume(tmp_path)
    assert misplaced(volume) < 1
    assert "MR, 1 file" in volume.messages[0]


# Kinds


@pytest.mark.parametrize(
    ("sop_class", "modality", "words"),
    [
        ("66.4", "SEG", ("segmentation",)),
        ("481.3", "RTSTRUCT", ("radiotherapy structure set",)),
        ("481.2", "RTDOSE", ("radiotherapy dose",)),
        ("481.5", "RTPLAN", ("radiotherapy plan",)),
        ("88.33", "SR", ("structured report",)),
        ("11.1", "PR", ("presentation state",)),
        ("104.1", "DOC", ("encapsulated document",)),
        ("9.1.1", "ECG", ("waveform",)),
        ("77.1.6", "SM", ("whole-slide microscopy",)),
        ("6.2", "US", ("3D ultrasound",)),
        ("77.1.1.1", "ES", ("video",)),
    ],
)
@pytest.mark.parametrize("with_pixels", [False, True])
def test_what_is_no_volume_is_named(
    tmp_path: Path, sop_class: str, modality: str, words: tuple[str, ...], with_pixels: bool
) -> None:
    data = data_set(f"1.2.840.10008.5.1.4.1.1.{sop_class}", modality)
    if with_pixels:
        set_pixels(data, np.zeros((6, 8)))
    path = save(data, tmp_path / "other" / "object.dcm")
    refused(path, *words)
    refused(path.parent, *words)
    series_files(tmp_path, places(12))
    assert misplaced(read_volume(tmp_path)) < 1


def test_a_private_ultrasound_volume_is_named(tmp_path: Path) -> None:
    data = data_set("1.2.840.10008.5.1.4.1.1.6.1", "US")
    data.add_new(0x7FE10010, "LO", "KRETZ_US")
    data.add_new(0x7FE11001, "OB", b"KRETZFILE 1.0   ")
    refused(save(data, tmp_path / "volume.dcm"), "3D ultrasound")
    set_pixels(data, np.zeros((6, 8)), bits=8)
    refused(save(data, tmp_path / "both.dcm"), "3D ultrasound")


@pytest.mark.parametrize(("modality", "sop_class"), [("XA", "12.1"), ("RF", "12.2")])
def test_angiography_is_a_film_and_named(tmp_path: Path, modality: str, sop_class: str) -> None:
    frames = np.arange(3 * 48).reshape(3, 6, 8)
    data = data_set(f"1.2.840.10008.5.1.4.1.1.{sop_class}", modality, ImagerPixelSpacing=[0.3, 0.3])
    set_pixels(data, frames)
    volume = read_volume(save(data, tmp_path / "run.dcm"))
    np.testing.assert_array_equal(volume.array, frames)
    assert volume.is_sequence
    assert any("angiography" in text and "projection" in text for text in volume.messages)
    for n in range(2):
        single = data_set(f"1.2.840.10008.5.1.4.1.1.{sop_class}", modality)
        set_pixels(single, frames[n])
        save(single, tmp_path / "single" / f"{n}.dcm")
    refused(tmp_path / "single", "do not say where they lie", "X-ray" if modality == "XA" else "fluoroscopy")


def test_an_ultrasound_region_tells_the_size_of_a_pixel(tmp_path: Path) -> None:
    data = data_set("1.2.840.10008.5.1.4.1.1.6.1", "US")
    set_pixels(data, np.zeros((6, 8)), bits=8)
    data.SequenceOfUltrasoundRegions = item(
        PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.015, PhysicalDeltaY=0.02
    )
    volume = read_volume(save(data, tmp_path / "us.dcm"))
    assert volume.grid.spacing[:2] == pytest.approx((0.15, 0.2))
    assert not any("millimetres" in text for text in volume.messages)


def test_a_nuclear_tomogram_lies_where_its_detector_says(tmp_path: Path) -> None:
    positions = places(5)
    data = data_set("1.2.840.10008.5.1.4.1.1.20", "NM", PixelSpacing=[2.0, 1.5], SpacingBetweenSlices=4)
    data.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    data.DetectorInformationSequence = item(
        ImagePositionPatient=list(positions[0]), ImageOrientationPatient=list(AXIAL)
    )
    set_pixels(data, np.rint(np.stack([picture(position) for position in positions])))
    assert misplaced(read_volume(save(data, tmp_path / "spect.dcm"))) < 1
