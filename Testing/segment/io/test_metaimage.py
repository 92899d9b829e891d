"""Reading MetaImage: every voxel at its place as ITK has it, or one sentence."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.read_volume import read_stored, read_volume
from support.external_data import SHARED, needs_shared
from support.grids import grids
from support.images import refused
from support.text_headers import encoded, itk_reads, meta_text

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")

ARRAY = np.arange(60, dtype="<i2").reshape(3, 4, 5)
PLACE = ("TransformMatrix = 0 1 0 1 0 0 0 0 -1", "Offset = 4 5 6", "ElementSpacing = 1 2 3")
LOCAL = b"ElementDataFile = LOCAL\n"


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", ">i4", "<u4", ">i8", "<u8", "<f4", ">f8"])
@pytest.mark.parametrize("encoding", ["raw", "zlib", "text"])
def test_every_voxel_type_and_encoding(tmp_path: Path, dtype: str, encoding: str) -> None:
    path = tmp_path / "a.mha"
    array = (np.arange(60) % 97).reshape(3, 4, 5).astype(dtype)
    packed = encoded(array, encoding)
    lines = {
        "raw": ("BinaryData = True",),
        "zlib": ("CompressedData = True", f"CompressedDataSize = {len(packed)}"),
        "text": ("BinaryData = False",),
    }[encoding]
    path.write_bytes(meta_text(array, *PLACE, *lines) + LOCAL + packed)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.messages == ()
    if encoding == "text" and dtype[0] == ">":
        return  # ITK swaps the bytes of numbers that were text
    expected, grid = itk_reads(path)
    assert volume.array.dtype == expected.dtype
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.grid.same_as(grid, 1e-9)


@pytest.mark.parametrize(
    "lines",
    [
        PLACE,
        ("Rotation = 0 1 0 1 0 0 0 0 -1", "Position = 4 5 6", "ElementSize = 1 2 3"),
        ("Orientation = 0 1 0 1 0 0 0 0 -1", "Origin = 4 5 6", "ElementSize = 9 9 9", "ElementSpacing = 1 2 3"),
        ("ElementSpacing = 1 2 3", "ElementSize = 9 9 9"),
        ("BinaryDataByteOrderMSB = False", "CenterOfRotation = 7 8 9", "AnatomicalOrientation = RAI"),
        (*PLACE, "ElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionOffset = 5"),
        (*PLACE, "Comment = a = b", "Name = x", "ID = 3", "Color = 1 0 0 1", "Modality = MET_MOD_CT"),
        (),
    ],
)
def test_places_are_itks(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(meta_text(ARRAY, *lines) + LOCAL + ARRAY.tobytes())
    stored = read_stored(path)
    expected, grid = itk_reads(path)
    np.testing.assert_array_equal(stored.array, expected)
    assert stored.grid.same_as(grid, 1e-9), (stored.grid.ijk_to_ras, grid.ijk_to_ras)


def test_long_is_as_long_as_itk_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    array = ARRAY.astype("<i4")
    text = meta_text(array, *PLACE).replace(b"MET_INT", b"MET_LONG")
    path.write_bytes(text + LOCAL + array.tobytes())
    np.testing.assert_array_equal(read_stored(path).array, itk_reads(path)[0])


def test_colors_pictures_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    path.write_bytes(meta_text(colors, *PLACE, components=3) + LOCAL + colors.tobytes())
    np.testing.assert_array_equal(read_volume(path).array, colors)
    flat = ARRAY[0]
    path.write_bytes(meta_text(flat, "ElementSpacing = 2 3") + LOCAL + flat.tobytes())
    expected, grid = itk_reads(path)
    np.testing.assert_array_equal(read_stored(path).array, expected)
    assert read_stored(path).grid.same_as(grid, 1e-9)
    for count in (1, 2):
        many = np.stack([ARRAY] * count)
        path.write_bytes(meta_text(many) + LOCAL + many.tobytes())
        if count == 1:
            np.testing.assert_array_equal(read_volume(path).array, ARRAY)
        else:
            refused(path, "2 volumes")


def test_voxels_in_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    (tmp_path / "v.raw").write_bytes(ARRAY.tobytes())
    (tmp_path / "v.zraw").write_bytes(encoded(ARRAY, "zlib"))
    (tmp_path / "headed.raw").write_bytes(b"12345" + ARRAY.tobytes())
    for index, part in enumerate(ARRAY):
        (tmp_path / f"s{index + 7:03d}.raw").write_bytes(part.tobytes())
    for lines in (
        ("ElementDataFile = v.raw",),
        ("CompressedData = True", "ElementDataFile = v.zraw"),
        ("HeaderSize = 5", "ElementDataFile = headed.raw"),
        ("HeaderSize = -1", "ElementDataFile = headed.raw"),
        ("ElementDataFile = LIST\ns007.raw\ns008.raw\ns009.raw",),
        ("ElementDataFile = s%03d.raw 7 9 1",),
    ):
        path.write_bytes(meta_text(ARRAY, *PLACE, *lines))
        np.testing.assert_array_equal(read_volume(path).array, ARRAY)
        np.testing.assert_array_equal(itk_reads(path)[0], ARRAY)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothere.raw", "'nothere.raw', which is not there"),
        ("/etc/passwd", "not in its own folder"),
        ("../secret.raw", "not in its own folder"),
        ("%s%s%s.raw 1 4 1", "no pattern"),
        ("s%0999999d.raw 1 4 1", "no pattern"),
        ("%n", "no pattern"),
        ("LIST", "does not say where its voxels are"),
        ("LIST\n../secret.raw", "not in its own folder"),
    ],
)
def test_names_of_data_files_are_names_and_no_more(tmp_path: Path, name: str, words: str) -> None:
    for suffix in (".mhd", ".mha"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(meta_text(ARRAY, f"ElementDataFile = {name}"))
        refused(path, words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"ElementSpacing = 1 2 3", b"ElementSpacing = 1 0 3", "repair the spacing"),
        (b"ElementSpacing = 1 2 3", b"ElementSpacing = 1 nan 3", "repair the spacing"),
        (b"ElementSpacing = 1 2 3", b"ElementSpacing = 1 1e308 3", "repair the spacing"),
        (b"Offset = 4 5 6", b"Offset = 4 5 1e308", "repair the spacing"),
        (b"0 1 0 1 0 0 0 0 -1", b"1e308 1e308 0 1 0 0 0 0 -1", "damaged header"),
        (b"0 1 0 1 0 0 0 0 -1", b"0 0 0 0 0 0 0 0 0", "damaged header"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4 0", "is empty"),
        (b"DimSize = 5 4 3", b"DimSize = 20000 20000 20000", "truncated"),
        (b"DimSize = 5 4 3", b"DimSize = 5 4", "damaged header"),
        (b"NDims = 3", b"NDims = 99999999", "damaged header"),
        (b"MET_SHORT", b"MET_STRING", "kind that is not supported"),
        (b"ObjectType = Image", b"ObjectType = Mesh", "no image"),
        (b"ElementDataFile", b"ElementDataPile", "damaged header"),
    ],
)
def test_damaged_headers_are_refused_in_words(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    content = meta_text(ARRAY, *PLACE) + LOCAL + ARRAY.tobytes()
    assert old in content
    (tmp_path / "a.mha").write_bytes(content.replace(old, new, 1))
    refused(tmp_path / "a.mha", words)


@settings(max_examples=100, deadline=None)
@given(grids(max_size=5), st.data())
def test_generated_headers_are_read_as_itk_reads_them(tmp_path_factory: Any, grid: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("meta") / "a.mha"
    dtype = data.draw(st.sampled_from(["u1", "<i2", ">u2", "<f4", ">f8"]))
    array = (np.arange(np.prod(grid.shape)) % 251).reshape(grid.shape).astype(dtype)
    lines = [
        f"TransformMatrix = {' '.join(map(repr, grid.directions.T.ravel().tolist()))}",
        f"Offset = {' '.join(map(repr, grid.origin))}",
        f"ElementSpacing = {' '.join(map(repr, grid.spacing))}",
    ]
    path.write_bytes(meta_text(array, *data.draw(st.permutations(lines))) + LOCAL + array.tobytes())
    expected, itk_grid = itk_reads(path)
    stored = read_stored(path)
    np.testing.assert_array_equal(stored.array, expected)
    assert stored.grid.same_as(itk_grid, 1e-6)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_headers_are_read_or_refused_in_words(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("meta") / "a.mha"
    content = bytearray(meta_text(ARRAY, *PLACE) + LOCAL)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where : where + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    path.write_bytes(bytes(content) + ARRAY.tobytes())
    with suppress(InputError):
        assert read_volume(path).array.size > 0


@needs_shared
def test_the_cases_of_others() -> None:
    refused(SHARED / "cases/hostile/s.mha", "no pattern")
