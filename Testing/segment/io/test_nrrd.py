"""Reading NRRD: every voxel at its place as ITK has it, or one sentence; and no trust in what headers say."""

from __future__ import annotations

import gzip
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
from support.text_headers import encoded, itk_reads, nrrd_text

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")

ARRAY = np.arange(60, dtype="<i2").reshape(3, 4, 5)
LPS = ("space: left-posterior-superior", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (4,5,6)")


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", ">i4", "<u4", ">i8", "<u8", "<f4", ">f8"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "hex", "text", "ascii"])
def test_every_voxel_type_and_encoding(tmp_path: Path, dtype: str, encoding: str) -> None:
    path = tmp_path / "a.nrrd"
    array = (np.arange(60) % 97).reshape(3, 4, 5).astype(dtype)
    path.write_bytes(nrrd_text(array, encoding, *LPS) + b"\n" + encoded(array, encoding))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(volume.grid.ijk_to_ras, [[-1, 0, 0, -4], [0, -2, 0, -5], [0, 0, 3, 6], [0, 0, 0, 1]])
    assert volume.messages == ()
    if encoding not in ("bzip2", "hex"):
        expected, grid = itk_reads(path)
        np.testing.assert_array_equal(volume.array, expected)
        assert volume.array.dtype == expected.dtype
        assert volume.grid.same_as(grid, 1e-9)


@pytest.mark.parametrize(
    "lines",
    [
        LPS,
        ("space: RAS", "space directions: (0,1.5,0) (0.5,0,0) (0,0,-3)", "space origin: (1,-2,3)"),
        ("space: left-anterior-superior", "space directions: (1,0,0) (0,2,0) (0,0,3)"),
        ("space: scanner-xyz", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)"),
        ("space: 3D-right-handed", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)"),
        ("space dimension: 3", "space directions: (1,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)"),
        ("spacings: 1 2 3",),
        ("spacings: 1 2 nan",),
        ("spacings: 1 2 3", "axis mins: 5 6 7"),
        ("spacings: 1 2 3", "axis mins: 5 6 7", "centers: node node node"),
        ("spacings: 1 2 3", "axis mins: 5 6 7", "centers: cell cell cell"),
        ("axis mins: 5 6 7", "axis maxs: 15 26 37", "centers: cell cell cell"),
        ("axis mins: 5 6 7", "axis maxs: 15 26 37", "centerings: node node node"),
        ("spacings: -1 2 3",),
        (),
        (*LPS, "kinds: domain space ???", "Comment:=a:=b", "measurement frame: (1,0,0) (0,1,0) (0,0,1)"),
        (*LPS, 'space units: "mm" "mm" "mm"', "content: x", "old min: 1", "thicknesses: NaN NaN 3"),
    ],
)
def test_places_are_itks(tmp_path: Path, lines: tuple[str, ...]) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(nrrd_text(ARRAY, "raw", *lines) + b"\n" + ARRAY.tobytes())
    stored = read_stored(path)
    expected, grid = itk_reads(path)
    np.testing.assert_array_equal(stored.array, expected)
    assert stored.grid.same_as(grid, 1e-9), (stored.grid.ijk_to_ras, grid.ijk_to_ras)
    is_guess = not any(line.lower().startswith(("space: left", "space: ras")) for line in lines)
    assert any("left and right are a guess" in said for said in stored.messages) == is_guess


def test_lengths_in_another_unit_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(nrrd_text(ARRAY, "raw", *LPS, 'space units: "um" "um" "um"') + b"\n" + ARRAY.tobytes())
    assert any("another unit (um)" in said for said in read_volume(path).messages)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["vector", "list", "RGB-color", "3-vector"])
def test_the_values_of_a_voxel_may_lie_along_any_axis(tmp_path: Path, place: int, kind: str) -> None:
    path = tmp_path / "a.nrrd"
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(np.moveaxis(colors, -1, place))
    of_space = ["(1,0,0)", "(0,2,0)", "(0,0,3)"]
    of_space.insert(3 - place, "none")
    kinds = ["domain"] * 3
    kinds.insert(3 - place, kind)
    lines = (LPS[0], f"space directions: {' '.join(of_space)}", f"kinds: {' '.join(kinds)}")
    path.write_bytes(nrrd_text(stored, "raw", *lines) + b"\n" + stored.tobytes())
    read = read_stored(path)
    np.testing.assert_array_equal(read.array, colors)
    expected, grid = itk_reads(path)
    np.testing.assert_array_equal(read.array, expected)
    assert read.grid.same_as(grid, 1e-9)


def test_pictures_and_further_axes(tmp_path: Path) -> None:
    flat = ARRAY[0]
    path = tmp_path / "flat.nrrd"
    path.write_bytes(nrrd_text(flat, "raw", "spacings: 2 3") + b"\n" + flat.tobytes())
    expected, grid = itk_reads(path)
    read = read_stored(path)
    np.testing.assert_array_equal(read.array, expected)
    assert read.grid.same_as(grid, 1e-9)
    for count in (1, 2):
        many = np.stack([ARRAY] * count)
        directions = "space directions: (1,0,0) (0,2,0) (0,0,3) none"
        for lines in ((LPS[0], directions, "kinds: domain domain domain list"), (LPS[0], directions), ()):
            path.write_bytes(nrrd_text(many, "raw", *lines) + b"\n" + many.tobytes())
            if count == 1:
                np.testing.assert_array_equal(read_volume(path).array, ARRAY)
            else:
                refused(path, "2 v")  # values or volumes


@pytest.mark.parametrize("encoding", ["raw", "gzip", "text"])
def test_voxels_in_files_of_their_own(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.nhdr"
    (tmp_path / "sub").mkdir()
    (tmp_path / "v.dat").write_bytes(encoded(ARRAY, encoding))
    (tmp_path / "sub/with space.dat").write_bytes(encoded(ARRAY, encoding))
    for index, part in enumerate(ARRAY):
        (tmp_path / f"slice{index + 7:03d}.dat").write_bytes(encoded(part, encoding))
    listed = "\n".join(f"slice{n:03d}.dat" for n in (7, 8, 9))
    for last in (
        "data file: v.dat",
        "datafile: ./v.dat",
        "data file: sub/with space.dat",
        "data file: slice%03d.dat 7 9 1",
        f"data file: LIST\n{listed}",
        f"data file: LIST 2\n{listed}",
    ):
        path.write_bytes(nrrd_text(ARRAY, encoding, *LPS, last))
        np.testing.assert_array_equal(read_volume(path).array, ARRAY), last
        np.testing.assert_array_equal(itk_reads(path)[0], ARRAY)
    path.write_bytes(nrrd_text(ARRAY, encoding, *LPS, "data file: slice%03d.dat 9 7 -1"))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY[::-1])


@pytest.mark.parametrize(("lines", "before"), [(0, b""), (2, b"one\ntwo\n"), (0, b"12345"), (1, b"one\n12345")])
@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_what_comes_before_the_voxels_is_skipped(tmp_path: Path, lines: int, before: bytes, encoding: str) -> None:
    path = tmp_path / "a.nhdr"
    text, skipped = before.rsplit(b"\n", 1) if lines else (b"", before)
    text += b"\n" * (lines > 0)
    plain = skipped + ARRAY.tobytes()
    (tmp_path / "v").write_bytes(text + (gzip.compress(plain) if encoding == "gzip" else plain))
    skip = (f"line skip: {lines}", f"byte skip: {len(skipped)}", "data file: v")
    path.write_bytes(nrrd_text(ARRAY, encoding, *LPS, *skip))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    if encoding == "raw":
        np.testing.assert_array_equal(itk_reads(path)[0], ARRAY)
        path.write_bytes(nrrd_text(ARRAY, encoding, *LPS, "byte skip: -1", "data file: v"))
        np.testing.assert_array_equal(read_volume(path).array, ARRAY)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothere.raw", "'nothere.raw', which is not there"),
        ("/etc/passwd", "not in its own folder"),
        ("../secret.raw", "not in its own folder"),
        ("sub/../../secret.raw", "not in its own folder"),
        ("C:\\secret.raw", "not in its own folder"),
        ("%s%s%s.raw 1 4 1", "no pattern"),
        ("s%0999999d.raw 1 4 1", "no pattern"),
        ("s%n.raw 1 4 1", "no pattern"),
        ("s%d%d.raw 1 4 1", "no pattern"),
        ("s%d.raw 1 4 0", "no pattern"),
        ("s%d.raw 1 999999999 1", "no pattern"),
        ("s%03d.raw 1 4 1", "'s001.raw', which is not there"),
        ("%s%s%s%n", "which is not there"),
        ("LIST\nnothere.raw\n/etc/passwd", "nothere.raw"),
        ("LIST", "does not say where its voxels are"),
        ("x" * 5000, "which is not there"),
        ("\x1b[31mred", "?[31mred"),
    ],
)
def test_names_of_data_files_are_names_and_no_more(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.raw").write_bytes(ARRAY.tobytes())
    path = tmp_path / "inner/a.nhdr"
    path.write_bytes(nrrd_text(ARRAY, "raw", f"data file: {name}"))
    assert len(refused(path, words)) < 600


def test_a_data_file_that_is_a_folder_or_too_short(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "a.nhdr"
    path.write_bytes(nrrd_text(ARRAY, "raw", "data file: folder"))
    with pytest.raises(InputError, match="folder is a pipe, a socket or a device"):
        read_volume(path)
    (tmp_path / "short").write_bytes(ARRAY.tobytes()[:-1])
    path.write_bytes(nrrd_text(ARRAY, "raw", "data file: short"))
    refused(path, "119 of 120 bytes")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "hex", "text"])
def test_a_declared_size_costs_nothing(tmp_path: Path, encoding: str) -> None:
    for suffix in (".nrrd", ".seg.nrrd"):
        path = tmp_path / f"big{suffix}"
        big = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (3000, 20000, 20000), (0, 0, 0))
        path.write_bytes(nrrd_text(big, encoding) + b"\n" + encoded(np.zeros(20, np.uint8), encoding))
        refused(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"(0,2,0)", b"(0,0,0)", "repair the spacing"),
        (b"(0,2,0)", b"(0,nan,0)", "repair the spacing"),
        (b"(0,2,0)", b"(0,2)", "damaged header"),
        (b"(0,2,0)", b"none", "damaged header"),
        (b"sizes: 5 4 3", b"sizes: 5 4 0", "is empty"),
        (b"sizes: 5 4 3", b"sizes: 5 4", "damaged header"),
        (b"sizes: 5 4 3", b"sizes: 5 4 3.5", "damaged header"),
        (b"sizes: 5 4 3", b"sizes: 5 4 33", "truncated"),
        (b"dimension: 3", b"dimension: 99999999", "damaged header"),
        (b"type: short", b"type: block", "'type' is 'block'"),
        (b"encoding: raw", b"encoding: zrl", "'encoding' is 'zrl'"),
        (b"endian: little", b"endian: middle", "'endian' is 'middle'"),
        (b"space: left-posterior-superior", b"space: outer", "damaged header"),
        (b"# a comment: with", b"a comment with", "damaged header"),
    ],
)
def test_damaged_headers_are_refused_in_words(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    content = nrrd_text(ARRAY, "raw", *LPS) + b"\n" + ARRAY.tobytes()
    assert old in content
    (tmp_path / "a.nrrd").write_bytes(content.replace(old, new, 1))
    refused(tmp_path / "a.nrrd", words)


@settings(max_examples=150, deadline=None)
@given(grids(max_size=5), st.data())
def test_generated_headers_are_read_as_itk_reads_them(tmp_path_factory: Any, grid: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("nrrd") / "a.nrrd"
    dtype = data.draw(st.sampled_from(["u1", "<i2", ">u2", "<f4", ">f8"]))
    array = (np.arange(np.prod(grid.shape)) % 251).reshape(grid.shape).astype(dtype)
    space = data.draw(st.sampled_from(["RAS", "LPS", "LAS", "right-anterior-superior", "scanner-xyz"]))
    columns = [f"({','.join(map(repr, column))})" for column in grid.ijk_to_ras[:3].T.tolist()]
    lines = [f"space: {space}", f"space directions: {' '.join(columns[:3])}"]
    lines += data.draw(st.sampled_from([[], [f"space origin: {columns[3]}"]]))
    lines += data.draw(st.sampled_from([[], ["kinds: domain domain domain"], ["kinds: space space space"]]))
    lines[1:] = data.draw(st.permutations(lines[1:]))
    encoding = data.draw(st.sampled_from(["raw", "gzip", "text"]))
    path.write_bytes(nrrd_text(array, encoding, *lines) + b"\n" + encoded(array, encoding))
    expected, itk_grid = itk_reads(path)
    stored = read_stored(path)
    np.testing.assert_array_equal(stored.array, expected)
    np.testing.assert_array_equal(stored.array, array)
    assert stored.grid.same_as(itk_grid, 1e-6)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_headers_are_read_or_refused_in_words(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("nrrd") / "a.nrrd"
    content = bytearray(nrrd_text(ARRAY, "gzip", *LPS, "kinds: domain domain domain") + b"\n")
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where : where + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    path.write_bytes(bytes(content) + encoded(ARRAY, "gzip"))
    with suppress(InputError):
        assert read_volume(path).array.size > 0


@needs_shared
def test_the_cases_of_others() -> None:
    cases = SHARED / "cases"
    refused(cases / "header-without-data/det_missing.nhdr", "'nothere.raw'")
    refused(cases / "zero-spacing/zero_spacing.nrrd", "repair the spacing in its header")
    refused(cases / "hostile/w.nrrd", "no pattern")
    refused(cases / "hostile/big.nrrd", "cannot hold")
