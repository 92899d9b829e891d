"""Reading NIfTI: which of its transforms counts, sheared ones, and every voxel type."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.itk import grid_of, quiet_itk
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.external_data import SHARED, needs_shared
from support.grids import grids, voxel_positions
from support.images import SHEARED, refused, sample, smooth, write_nifti

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")


@pytest.mark.parametrize("codes", [(0, 1), (0, 2), (1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_sheared_nifti_is_resampled_onto_what_its_affine_says(tmp_path: Path, codes: tuple, suffix: str) -> None:
    path = tmp_path / f"sheared{suffix}"
    array = smooth((12, 14, 10))
    straight = np.diag([1.0, 1.4, 2.0, 1.0])
    write_nifti(path, array, SHEARED, straight if codes[0] else None, codes)

    volume = read_volume(path)
    assert not volume.grid.is_sheared
    assert any("not perpendicular" in message for message in volume.messages)
    inner = np.argwhere(np.ones((10, 12, 8))) + 1
    places = nibabel.affines.apply_affine(SHEARED, inner)
    np.testing.assert_allclose(sample(volume, places), array[tuple(inner.T)], atol=1.0)
    np.testing.assert_allclose(volume.grid.voxel_volume_mm3, abs(np.linalg.det(SHEARED)), rtol=1e-5)
    assert volume.array.min() == array.min()


def test_the_sheared_qform_of_another_space_is_not_confused_with_it(tmp_path: Path) -> None:
    path = tmp_path / "atlas.nii"
    qform = np.diag([1.0, 1.4, 2.0, 1.0])
    write_nifti(path, smooth((5, 6, 7)), SHEARED, qform, (1, 4))  # scanner, and an affine to an atlas
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.ijk_to_ras, qform, atol=1e-5)
    assert ["two different orientations" in message for message in volume.messages] == [True]


def test_a_lone_sform_is_not_bent_even_by_a_little(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 8e-4  # too little to count as shear, but a third of a voxel at the far end
    write_nifti(tmp_path / "bent.nii", np.zeros((3, 400, 3), np.int16), affine)
    volume = read_volume(tmp_path / "bent.nii")
    np.testing.assert_allclose(volume.grid.ijk_to_ras, affine, atol=1e-6)
    assert not any("orientation" in message for message in volume.messages)


@pytest.mark.parametrize(
    ("codes", "used"), [((1, 1), "sform"), ((1, 2), "qform"), ((2, 4), "qform"), ((0, 4), "sform")]
)
def test_two_orientations_are_taken_as_slicer_takes_them(tmp_path: Path, codes: tuple, used: str) -> None:
    path = tmp_path / "two.nii"
    transforms = {"qform": np.diag([2.0, 2.0, 3.0, 1.0]), "sform": np.diag([-2.0, -2.0, 3.0, 1.0])}
    transforms["sform"][:3, 3] = 10, 20, 30
    write_nifti(path, smooth((5, 6, 7)), transforms["sform"], transforms["qform"], codes)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.ijk_to_ras, transforms[used], atol=1e-5)
    assert len(volume.messages) == (used == "qform")


def test_a_nifti_without_orientation_says_so(tmp_path: Path) -> None:
    path = tmp_path / "lost.nii"
    image = nibabel.Nifti1Image(smooth((5, 6, 7)), None)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    image.to_filename(path)
    assert "left and right are a guess" in read_volume(path).messages[0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u2", "<u2", ">i4", "<u4", "<i8", ">f4", "<f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_voxel_type_and_byte_order(tmp_path: Path, dtype: str, suffix: str) -> None:
    path = tmp_path / f"typed{suffix}"
    kind = np.dtype(dtype)
    array = np.arange(60, dtype=kind).reshape(3, 4, 5)
    header = nibabel.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    header.set_data_dtype(kind)
    nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1]), header).to_filename(path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.array.dtype == kind.newbyteorder("=")
    assert volume.array.dtype.isnative


def test_scaled_voxels(tmp_path: Path) -> None:
    path = tmp_path / "scaled.nii.gz"
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -100)
    image.to_filename(path)
    np.testing.assert_allclose(read_volume(path).array, np.asarray(nibabel.load(path).dataobj).T)


def test_half_a_pair_is_refused_by_the_name_of_the_other_half(tmp_path: Path) -> None:
    write_pair(tmp_path / "pair.hdr", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    (tmp_path / "pair.img").rename(tmp_path / "other.img")
    refused(tmp_path / "pair.hdr", "pair.img", "not there")
    refused(tmp_path / "other.img", "other.hdr", "not there")


def write_pair(header: Path, array: Any, kind: Any = nibabel.Nifti1Pair) -> None:
    kind(array, np.diag([1.0, 2, 3, 1])).to_filename(header)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.AnalyzeImage])
@pytest.mark.parametrize("named", ["scan.hdr", "scan.img", "scan.hdr.gz", "scan.img.gz", "SCAN.HDR", "SCAN.IMG"])
def test_pairs_are_read_from_either_half(tmp_path: Path, kind: Any, named: str) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_pair(tmp_path / "made.hdr", array, kind)
    for half in ("hdr", "img"):
        content = (tmp_path / f"made.{half}").read_bytes()
        name = f"scan.{half}.gz" if named.endswith(".gz") else f"SCAN.{half.upper()}" if named.isupper() else None
        (tmp_path / (name or f"scan.{half}")).write_bytes(gzip.compress(content) if named.endswith(".gz") else content)
    volume = read_volume(tmp_path / named)
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.grid.spacing == (1, 2, 3)
    assert any("left and right are a guess" in said for said in volume.messages) == (kind is nibabel.AnalyzeImage)
    if kind is not nibabel.Nifti2Pair and not named.endswith(".gz"):
        with quiet_itk():
            expected = SimpleITK.ReadImage(str(tmp_path / "made.hdr"))
        np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(expected))
        assert volume.grid.same_as(grid_of(expected, tmp_path))


def test_of_two_files_of_voxels_the_one_stored_as_its_header_is_read(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    write_pair(tmp_path / "scan.hdr", array)
    (tmp_path / "scan.img.gz").write_bytes(gzip.compress(b"\7" * 48))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.hdr").array, array.T)
    (tmp_path / "scan.img").unlink()
    assert (read_volume(tmp_path / "scan.hdr").array == 0x0707).all()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII.GZ", "a.gz", "scan", "scan.0001", "a.img", "ä ö.nii"])
def test_nifti_is_known_by_its_content_whatever_it_is_called(
    tmp_path: Path, kind: Any, packed: bool, name: str
) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    content = kind(array, np.diag([-1.0, 2, 3, 1])).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array.T)
    np.testing.assert_allclose(volume.grid.ijk_to_ras, np.diag([-1.0, 2, 3, 1]))
    assert volume.messages == ()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.hdr"])
def test_another_file_beside_it_is_never_read(tmp_path: Path, name: str) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    other = nibabel.Nifti1Image(np.full((2, 3, 4), 7, np.int16), np.eye(4))
    for twin in {"a.nii", "a.nii.gz"} - {name}:
        other.to_filename(tmp_path / twin)
    if name == "a.hdr":
        write_pair(tmp_path / name, array)
    else:
        nibabel.Nifti1Image(array, np.diag([1, 2, 3, 1])).to_filename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.grid.spacing == (1, 2, 3)


def test_a_stream_of_several_gzip_members_and_what_follows_it(tmp_path: Path) -> None:
    array = np.arange(24000, dtype=np.int16).reshape(20, 30, 40)
    content = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    members = b"".join(gzip.compress(content[n : n + 5000]) for n in range(0, len(content), 5000))
    (tmp_path / "members.nii.gz").write_bytes(members + b"\0" * 100)
    np.testing.assert_array_equal(read_volume(tmp_path / "members.nii.gz").array, array.T)
    (tmp_path / "longer.nii.gz").write_bytes(gzip.compress(content + b"more than the header says"))
    np.testing.assert_array_equal(read_volume(tmp_path / "longer.nii.gz").array, array.T)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 + 8, 1), (3 + 16, 0.001)])
@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (1, 1), (0, 0)])
def test_units_of_length(tmp_path: Path, unit: int, factor: float, codes: tuple) -> None:
    affine = np.array([[0, 0, 2.0, 10], [-3.0, 0, 0, 20], [0, 4.0, 0, 30], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(smooth((4, 5, 6)), affine)
    image.set_sform(affine, codes[1])
    image.set_qform(affine, codes[0])
    image.header["xyzt_units"] = unit
    image.to_filename(tmp_path / "units.nii")
    volume = read_volume(tmp_path / "units.nii")
    np.testing.assert_allclose(volume.grid.spacing, np.array([3, 4, 2]) * factor, rtol=1e-6)
    assert volume.grid.same_as(itk_grid(tmp_path / "units.nii"), tolerance_mm=2e-3 * factor)
    assert len(volume.messages) == (codes == (0, 0))


def itk_grid(path: Path) -> VoxelGrid:
    with quiet_itk():  # its inverse of a matrix may warn of equal spacings
        image = SimpleITK.ReadImage(str(path))
    return grid_of(image, path)


_SCALES = [(0.5, -100), (2, 0), (1, 3), (-1, 0), (1, 0), (2, np.inf), (1, np.nan), (3.3, 7.7), (np.inf, 0)]


@pytest.mark.parametrize("dtype", ["<u1", "<i2", ">i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("scale", _SCALES)
def test_scaled_voxels_have_itks_values_and_types(tmp_path: Path, dtype: str, scale: tuple[float, float]) -> None:
    path = tmp_path / "scaled.nii"
    array = (np.arange(24) * 5).reshape(2, 3, 4).astype(dtype)
    content = bytearray(image_of(array).to_bytes())
    content[112:120] = np.array(scale, dtype[0] + "f4").tobytes()
    path.write_bytes(content)
    volume = read_volume(path)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert volume.array.dtype == expected.dtype
    np.testing.assert_array_equal(volume.array, expected)
    assert any("no scaling" in said for said in volume.messages) == (not np.isfinite(scale).all())


def image_of(array: Any) -> Any:
    header = nibabel.Nifti1Header(endianness=array.dtype.str[0].replace("|", "<"))
    header.set_data_dtype(array.dtype)
    return nibabel.Nifti1Image(array, np.eye(4), header)


@pytest.mark.parametrize("scale", [(0, 0), (0, 5), (np.nan, 0), (np.nan, np.nan), (np.nan, 5)])
def test_no_slope_is_no_scaling_as_the_standard_says(tmp_path: Path, scale: tuple[float, float]) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    content = bytearray(image_of(array).to_bytes())
    content[112:120] = np.array(scale, "<f4").tobytes()
    (tmp_path / "scaled.nii").write_bytes(content)
    volume = read_volume(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(volume.array, array.T)
    assert volume.array.dtype == np.int16
    assert any("no scaling" in said for said in volume.messages) == (scale[1] == 5)


@pytest.mark.parametrize("letters", ["RGB", "RGBA"])
def test_color_voxels(tmp_path: Path, letters: str) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (3, 4, 5, len(letters)), dtype=np.uint8)
    packed = colors.view([(letter, "u1") for letter in letters])[..., 0]
    nibabel.Nifti1Image(packed, np.eye(4)).to_filename(tmp_path / "color.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "color.nii.gz").array, colors[..., :3].transpose(2, 1, 0, 3))
    vector = nibabel.Nifti1Image(colors[:, :, :, None], np.eye(4))
    refused_when_plain = tmp_path / "five.nii"
    vector.to_filename(refused_when_plain)
    refused(refused_when_plain, f"{len(letters)} volumes")
    vector.header.set_intent("vector")
    vector.to_filename(tmp_path / "vector.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "vector.nii").array, colors[..., :3].transpose(2, 1, 0, 3))


def test_kinds_of_voxels_that_are_not_supported(tmp_path: Path) -> None:
    path = tmp_path / "kind.nii"
    for code, words in ((1536, "kind 1536"), (1, "kind 1,"), (0, "kind 0,"), (32, "complex"), (1792, "complex")):
        content = bytearray(image_of(np.zeros((2, 3, 4), np.int16)).to_bytes())
        content[70:72] = np.array(code, "<i2").tobytes()
        path.write_bytes(content)
        refused(path, words)


def test_an_image_of_two_dimensions_lies_where_its_affine_says(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 2.0, 5], [2, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    pixels = np.arange(12, dtype=np.int16).reshape(3, 4)
    nibabel.Nifti1Image(pixels, affine).to_filename(tmp_path / "flat.nii")
    volume = read_volume(tmp_path / "flat.nii")
    np.testing.assert_array_equal(volume.array[0], pixels.T)
    np.testing.assert_allclose(volume.grid.ijk_to_ras, affine)
    image = nibabel.Nifti1Image(pixels, affine)
    image.header["srow_x"][2] = image.header["pixdim"][3] = 0  # no thickness
    image.to_filename(tmp_path / "thin.nii")
    content = bytearray((tmp_path / "thin.nii").read_bytes())
    content[280 + 8 : 280 + 12] = content[88:92] = b"\0" * 4
    (tmp_path / "thin.nii").write_bytes(content)
    np.testing.assert_allclose(read_volume(tmp_path / "thin.nii").grid.directions[:, 2], [1, 0, 0])


def test_a_spacing_of_zero_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4))
    image.set_qform(np.eye(4), 1)
    image.set_sform(None, 0)
    for value in (0.0, np.nan, np.inf):
        content = bytearray(image.to_bytes())
        content[84:88] = np.array(value, "<f4").tobytes()  # pixdim[2]
        (tmp_path / "flat.nii").write_bytes(content)
        refused(tmp_path / "flat.nii", "repair the spacing")


def test_a_declared_size_costs_nothing(tmp_path: Path) -> None:
    content = bytearray(image_of(np.zeros((2, 3, 4), np.int16)).to_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    (tmp_path / "big.nii").write_bytes(content)
    refused(tmp_path / "big.nii", "truncated")
    (tmp_path / "big.nii.gz").write_bytes(gzip.compress(content))
    refused(tmp_path / "big.nii.gz", "54000000000352 bytes", "cannot hold")


@needs_shared
def test_the_cases_of_others() -> None:
    for name, spacing in (
        ("nifti-twin-names/A.nii.gz", 4),
        ("nifti-twin-names/B.nii.gz", 4),
        ("nifti-micrometres/micron_both_forms.nii.gz", 4),
        ("nifti-micrometres/micron_sform_only.nii.gz", 4),
        ("nifti-gzip-named-nii/gz_named.nii", 4),
        ("nifti-2-and-pairs/nifti2.nii", 4),
        ("nifti-2-and-pairs/pair.hdr", 4),
        ("nifti-2-and-pairs/pair.img", 4),
    ):
        volume = read_volume(SHARED / "cases" / name)
        places = voxel_positions(volume.grid)
        np.testing.assert_allclose(volume.array, 1000 + places @ [2, 3, 5], atol=1)
        np.testing.assert_allclose(volume.grid.spacing, (2, 2, spacing), rtol=1e-6)
        assert volume.messages == (), name


@settings(max_examples=60, deadline=None)
@given(grids(), st.data())
def test_every_voxel_of_a_header_lies_where_itk_places_it(tmp_path_factory: Any, grid: VoxelGrid, data: Any) -> None:
    path = tmp_path_factory.mktemp("nifti") / "grid.nii"
    array = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
    image = nibabel.Nifti1Image(array.T, grid.ijk_to_ras)
    codes = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 5)))
    image.set_qform(grid.ijk_to_ras, codes[0])
    image.set_sform(grid.ijk_to_ras, codes[1])
    image.header["xyzt_units"] = unit = data.draw(st.sampled_from([0, 1, 2, 3]))
    image.to_filename(path)
    volume = read_volume(path)
    assert volume.grid.same_as(itk_grid(path), tolerance_mm=2e-3 * (1000 if unit == 1 else 1))
    np.testing.assert_array_equal(volume.array, array)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_a_nifti_written_by_nibabel_lies_where_nibabel_says(tmp_path_factory: Any, grid: VoxelGrid) -> None:
    path = tmp_path_factory.mktemp("nifti") / "grid.nii"
    array = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
    nibabel.Nifti1Image(array.T, grid.ijk_to_ras).to_filename(path)
    volume = read_volume(path)
    assert volume.grid.same_as(grid, tolerance_mm=1e-3)
    np.testing.assert_array_equal(volume.array, array)
