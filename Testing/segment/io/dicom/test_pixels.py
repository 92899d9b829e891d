"""Stored pixels of every kind: bits, signs, bytes, compression, colors, slopes; and damage to them."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.dicom_files import AXIAL, data_set, misplaced, picture, places, save, series_files, set_pixels
from support.images import refused

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")

_CT = "1.2.840.10008.5.1.4.1.1.2"


def placed(**tags: Any) -> Dataset:
    data = data_set(_CT, "CT", PixelSpacing=[2.0, 1.5], SliceThickness=4)
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], list(AXIAL)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    return data


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16, 32])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (2, 5), (-1, 0), (0.5, -3.25)])
def test_values_are_those_that_were_stored(
    tmp_path: Path, signed: bool, bits: int, slope: float, intercept: float
) -> None:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    stored = np.random.default_rng(bits).integers(low, high, (6, 8), endpoint=True)
    stored[0, :2] = low, high
    data = placed(RescaleSlope=slope, RescaleIntercept=intercept)
    set_pixels(data, stored, bits, signed)
    volume = read_volume(save(data, tmp_path / "slice.dcm"))
    exact = stored.astype(float) * slope + intercept
    np.testing.assert_allclose(volume.array[0].astype(float), exact, rtol=1e-7)
    if slope == int(slope):
        np.testing.assert_array_equal(volume.array[0].astype(float), exact)


@pytest.mark.parametrize("signed", [False, True])
def test_overlays_in_bits_of_their_own_are_no_values(tmp_path: Path, signed: bool) -> None:
    meant = np.random.default_rng(0).integers(-2048 if signed else 0, 2048, (6, 8))
    data = placed()
    set_pixels(data, meant, 12, signed)
    data.PixelData = ((meant & 0x0FFF) | 0x5000).astype("<u2").tobytes()
    np.testing.assert_array_equal(read_volume(save(data, tmp_path / "a.dcm")).array[0], meant)
    data.PixelData = (((meant & 0x0FFF) << 4) | 0x3).astype("<u2").tobytes()
    data.HighBit = 15
    np.testing.assert_array_equal(read_volume(save(data, tmp_path / "b.dcm")).array[0], meant)


def test_floating_point_pixels(tmp_path: Path) -> None:
    for n, (keyword, form, bits) in enumerate((("FloatPixelData", "<f4", 32), ("DoubleFloatPixelData", "<f8", 64))):
        data = data_set("1.2.840.10008.5.1.4.1.1.30", "MR", PixelSpacing=[2.0, 1.5])
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], list(AXIAL)
        set_pixels(data, np.zeros((6, 8)))
        del data.PixelData
        data.BitsAllocated = bits
        setattr(data, keyword, picture((0, 0, 0)).astype(form).tobytes())
        volume = read_volume(save(data, tmp_path / f"{n}.dcm"))
        np.testing.assert_allclose(volume.array[0], picture((0, 0, 0)))


def compressed(data: Dataset, syntax: str, stored: np.ndarray, *, fragments: int = 1) -> Dataset:
    """The data set with its pixels ``[frame, row, column]`` compressed, or with three components."""
    if syntax in (RLELossless, JPEGLSLossless):
        plugin = "pydicom" if syntax == RLELossless else "pyjpegls"
        data.compress(syntax, stored.squeeze(), encoding_plugin=plugin, generate_instance_uid=False)
        return data
    pictures = []
    for frame in stored:
        file = io.BytesIO()
        if syntax == JPEGBaseline8Bit:
            Image.fromarray(frame.astype(np.uint8)).save(file, "JPEG", quality=100, subsampling=0)
        else:
            form = np.uint8 if data.BitsAllocated == 8 else np.uint16
            lossy = {"irreversible": True, "quality_layers": [1]} if syntax == JPEG2000 else {}
            Image.fromarray(frame.astype(form)).save(file, "JPEG2000", no_jp2=True, **lossy)
        pictures.append(file.getvalue())
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate(pictures, fragments_per_frame=fragments)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return data


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 16])
def test_lossless_compression_changes_nothing(tmp_path: Path, syntax: str, bits: int) -> None:
    least = int(min(picture(position).min() for position in places(4)))
    for n, position in enumerate(places(4)):
        data = placed(RescaleSlope=1, RescaleIntercept=0 if bits == 16 else least)
        data.ImagePositionPatient = list(position)
        stored = np.rint(picture(position) - data.RescaleIntercept).astype(np.uint16 if bits == 16 else np.uint8)
        set_pixels(data, stored, bits)
        save(compressed(data, syntax, stored[None]), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array.shape[0] == 4
    assert misplaced(volume) < 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frames_are_read_one_by_one(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (5, 6, 8), dtype=np.uint16)
    data = data_set("1.2.840.10008.5.1.4.1.1.12.1", "XA", PixelSpacing=[1, 1])
    set_pixels(data, stored)
    volume = read_volume(save(compressed(data, syntax, stored), tmp_path / "run.dcm"))
    np.testing.assert_array_equal(volume.array, stored)


def test_a_frame_may_come_in_fragments(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (3, 32, 32), dtype=np.uint16)
    data = data_set("1.2.840.10008.5.1.4.1.1.12.1", "XA", PixelSpacing=[1, 1])
    set_pixels(data, stored)
    volume = read_volume(save(compressed(data, JPEG2000Lossless, stored, fragments=3), tmp_path / "run.dcm"))
    np.testing.assert_array_equal(volume.array, stored)


def test_lossy_jpeg_is_near(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(32) * 3, np.arange(32) * 2).astype(np.uint8)
    data = data_set("1.2.840.10008.5.1.4.1.1.6.1", "US", PixelSpacing=[1, 1])
    set_pixels(data, smooth, 8)
    volume = read_volume(save(compressed(data, JPEGBaseline8Bit, smooth[None]), tmp_path / "us.dcm"))
    assert np.abs(volume.array[0].astype(int) - smooth).max() <= 3


def colors() -> np.ndarray:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 220, 30, 60
    pixels[8:, :8] = 20, 200, 90
    pixels[8:, 8:] = 10, 40, 230
    return pixels


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colors_are_those_that_were_stored(tmp_path: Path, photometric: str, planar: int) -> None:
    from pydicom.pixels import convert_color_space

    data = data_set("1.2.840.10008.5.1.4.1.1.77.1.4", "XC", PixelSpacing=[1, 1])
    stored = colors() if photometric == "RGB" else convert_color_space(colors(), "RGB", "YBR_FULL")
    set_pixels(data, stored, 8)
    if planar:
        data.PixelData = np.ascontiguousarray(np.moveaxis(stored, -1, 0)).tobytes()
    data.PhotometricInterpretation, data.PlanarConfiguration = photometric, planar
    volume = read_volume(save(data, tmp_path / "photo.dcm"))
    assert np.abs(volume.array[0].astype(int) - colors()).max() <= (0 if photometric == "RGB" else 3)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_a_color_jpeg_has_its_colors(tmp_path: Path, photometric: str) -> None:
    data = data_set("1.2.840.10008.5.1.4.1.1.77.1.4", "XC", PixelSpacing=[1, 1])
    set_pixels(data, colors(), 8)
    if photometric == "RGB":
        file = io.BytesIO()
        Image.fromarray(colors()).save(file, "JPEG", quality=100, subsampling=0, keep_rgb=True)
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.PixelData = encapsulate([file.getvalue()])
        data["PixelData"].is_undefined_length = True
    else:
        compressed(data, JPEGBaseline8Bit, colors()[None])
    data.PhotometricInterpretation = photometric
    volume = read_volume(save(data, tmp_path / "photo.dcm"))
    assert np.abs(volume.array[0].astype(int) - colors()).max() <= 6


def test_a_palette_gives_its_colors(tmp_path: Path) -> None:
    data = data_set("1.2.840.10008.5.1.4.1.1.6.1", "US", PixelSpacing=[1, 1])
    stored = np.arange(48).reshape(6, 8)
    set_pixels(data, stored, 8)
    data.PhotometricInterpretation = "PALETTE COLOR"
    tables = np.random.default_rng(0).integers(0, 256, (3, 256))
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(data, f"{name}PaletteColorLookupTableData", (table * 257).astype("<u2").tobytes())
    volume = read_volume(save(data, tmp_path / "us.dcm"))
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(tables[:, stored], 0, -1))


def test_a_modality_lut_gives_the_values(tmp_path: Path) -> None:
    from support.dicom_files import item

    stored = np.arange(48).reshape(6, 8)
    table = np.random.default_rng(0).integers(0, 4000, 64)
    data = placed()
    set_pixels(data, stored, 8)
    data.ModalityLUTSequence = item(
        LUTDescriptor=[64, 0, 16], ModalityLUTType="HU", LUTData=table.astype("<u2").tobytes()
    )
    np.testing.assert_array_equal(read_volume(save(data, tmp_path / "a.dcm")).array[0], table[stored])


# Damage


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_header_that_declares_another_size_is_refused(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(0).integers(0, 4000, (1, 6, 8), dtype=np.uint16)
    for tags in ({"Rows": 60}, {"Rows": 60000, "Columns": 60000}, {"NumberOfFrames": 3}):
        data = placed()
        set_pixels(data, stored[0])
        compressed(data, syntax, stored)
        for keyword, value in tags.items():
            setattr(data, keyword, value)
        refused(save(data, tmp_path / "odd.dcm"))


def test_unknown_compression_is_refused_with_what_to_do(tmp_path: Path) -> None:
    stored = np.zeros((1, 6, 8), np.uint16)
    data = placed()
    set_pixels(data, stored[0])
    compressed(data, JPEG2000Lossless, stored)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    refused(save(data, tmp_path / "htj2k.dcm"), "decompress")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.floats(0.3, 1),
)
def test_damaged_compression_is_refused_or_read_but_never_crashes(
    tmp_path_factory: Any, syntax: str, changes: list[tuple[float, int]], kept: float
) -> None:
    stored = (
        np.random.default_rng(0)
        .integers(0, 255, (1, 16, 16))
        .astype(np.uint8 if syntax == JPEGBaseline8Bit else np.uint16)
    )
    data = placed()
    set_pixels(data, stored[0], 8 if syntax == JPEGBaseline8Bit else 16)
    compressed(data, syntax, stored)
    path = save(data, tmp_path_factory.mktemp("damage") / "a.dcm")
    content = bytearray(path.read_bytes())
    start = content.index(b"\xe0\x7f\x10\x00") + 12
    for where, value in changes:
        content[start + int(where * (len(content) - start - 1))] = value
    path.write_bytes(content[: start + int(kept * (len(content) - start))])
    with suppress(InputError):
        assert read_volume(path).array.shape == (1, 16, 16)


def test_color_and_grey_slices_are_not_mixed(tmp_path: Path) -> None:
    series_files(tmp_path, places(4))
    data = placed()
    data.ImagePositionPatient = list(places(5)[4])
    set_pixels(data, np.zeros((6, 8, 3)), 8)
    save(data, tmp_path / "color.dcm")
    with pytest.raises(InputError, match="colour"):
        read_volume(tmp_path)
