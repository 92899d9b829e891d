"""Reading volumes: the right voxels at the right place in the patient, or one sentence that says what is wrong."""

from __future__ import annotations

import gzip
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.grid import Plane, SliceStack, VoxelGrid
from MedSAM3SegmentLib.images import read_volume
from MedSAM3SegmentLib.intensity import Window, to_display
from MedSAM3SegmentLib.straightening import perpendicular_grid
from MedSAM3SegmentLib.volume import Volume
from random_grids import grids, voxel_positions
from shared_data import DATA, needs_shared

Array = np.ndarray[Any, Any]


def sample(volume: Volume, ras: Array) -> Array:
    """Intensities of ``volume`` at RAS positions ``[n, 3]``, trilinear."""
    inverse = np.linalg.inv(volume.grid.ijk_to_ras)
    ijk = ras @ inverse[:3, :3].T + inverse[:3, 3]
    return map_coordinates(volume.array.astype(float), ijk.T[::-1], order=1, mode="nearest")


def refused(path: Path, *words: str) -> str:
    """The one sentence that ``path`` is refused with; it names the file and holds ``words``."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.endswith(".")
    assert "\n" not in text
    for word in words:
        assert word in text
    assert caught.value.__cause__ is None
    return text


@pytest.fixture(autouse=True)
def _nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> Any:
    """Whatever is read, ITK and its libraries print nothing."""
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")


# Every real image


@needs_shared
@pytest.mark.parametrize(
    ("path", "shape", "spacing", "modality", "plane"),
    [
        ("ct_abdomen/ct.nii.gz", (30, 101, 122), (3, 3, 3), "", Plane.AXIAL),
        ("mr_abdomen/mr.nii.gz", (20, 91, 117), (3, 3, 3), "", Plane.AXIAL),
        ("ct_vertebra/ct.nii.gz", (73, 47, 73), (1.5, 1.5, 1.5), "", Plane.AXIAL),
        ("mr_spinal_cord/t2s.nii.gz", (11, 320, 320), (0.5, 0.5, 7.5), "", Plane.AXIAL),
        ("mr_breast/mr.nrrd", (21, 120, 45), (0.6641, 0.6641, 2.1), "", Plane.AXIAL),
        ("ct_dicom/series", (20, 512, 512), (0.9765625, 0.9765625, 2.0), "CT", Plane.AXIAL),
        ("ct_dicom", (20, 512, 512), (0.9765625, 0.9765625, 2.0), "CT", Plane.AXIAL),
        ("ct_dicom_seg", (3, 512, 512), (0.810547, 0.810547, 1.0), "CT", Plane.AXIAL),
    ],
)
def test_real_volumes(
    path: str, shape: tuple[int, ...], spacing: tuple[float, ...], modality: str, plane: Plane
) -> None:
    volume = read_volume(DATA / path)
    assert volume.array.shape == shape
    assert volume.grid.spacing == pytest.approx(spacing, abs=1e-4)
    assert volume.modality == modality
    assert SliceStack.along(volume.grid).plane is plane
    assert volume.messages == ()
    if path.endswith(".nii.gz"):
        expected = nibabel.load(DATA / path)
        np.testing.assert_allclose(volume.grid.ijk_to_ras, expected.affine, atol=1e-4)
        np.testing.assert_array_equal(volume.array.T, np.asarray(expected.dataobj))
        assert volume.name == Path(path).name


@needs_shared
def test_compressed_dicom_has_the_scanners_voxels_and_places() -> None:
    volume = read_volume(DATA / "ct_dicom/series")
    files = [pydicom.dcmread(file) for file in (DATA / "ct_dicom/series").iterdir()]
    assert len(files) == 20
    for file in files:
        x, y, z = (float(value) for value in file.ImagePositionPatient)
        heights = volume.grid.to_ras(np.array([[0.0, 0.0, k] for k in range(20)]))
        k = int(np.argmin(np.abs(heights[:, 2] - z)))
        np.testing.assert_allclose(heights[k], [-x, -y, z], atol=1e-3)
        hounsfield = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        np.testing.assert_array_equal(volume.array[k], hounsfield)


@needs_shared
def test_dicom_lies_where_the_independent_labels_lie() -> None:
    volume = read_volume(DATA / "ct_dicom/series")
    labels = nibabel.load(DATA / "ct_dicom/labels.nii.gz")
    liver = np.argwhere(np.asarray(labels.dataobj) == 5)[::50]
    places = nibabel.affines.apply_affine(labels.affine, liver)
    inside = sample(volume, places)
    assert 90 < np.median(inside) < 130  # contrast-enhanced liver
    assert np.mean((inside > 0) & (inside < 250)) > 0.98
    mirrored = sample(volume, places * [-1, 1, 1])
    assert np.mean((mirrored > 0) & (mirrored < 250)) < 0.8


@needs_shared
def test_sheared_ct_keeps_every_landmark_where_its_affine_puts_it() -> None:
    volume = read_volume(DATA / "geometry/sheared_head_ct.nii.gz")
    assert not volume.grid.is_sheared
    assert any("not perpendicular" in message for message in volume.messages)

    image = nibabel.load(DATA / "geometry/sheared_head_ct.nii.gz")
    stored = image.get_fdata()
    inner = np.random.default_rng(0).integers([2, 2, 2], np.array(stored.shape) - 2, (20000, 3))
    values = stored[tuple(inner.T)]
    resampled = sample(volume, nibabel.affines.apply_affine(image.affine, inner))
    assert np.corrcoef(values, resampled)[0, 1] > 0.98
    assert abs(np.median(values - resampled)) < 5
    # All of the field of view is there, and around it is air.
    corners = nibabel.affines.apply_affine(image.affine, np.argwhere(np.ones((2, 2, 2))) * (np.array(stored.shape) - 1))
    ijk = nibabel.affines.apply_affine(np.linalg.inv(volume.grid.ijk_to_ras), corners)
    assert (ijk > -0.51).all()
    assert (ijk < np.array(volume.array.shape[::-1]) - 0.49).all()
    assert volume.array.min() == pytest.approx(stored.min(), abs=0.1)


@needs_shared
@pytest.mark.parametrize(
    ("picture", "is_colour"),
    [("06_CT_abdomen", False), ("20_ultrasound_breast", None), ("25_dermoscopy_skin", True)],
)
def test_real_pictures_are_shown_as_stored(picture: str, is_colour: bool | None) -> None:
    path = DATA / f"images_2d/{picture}.png"
    volume = read_volume(path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    shown = SliceStack.along(volume.grid, Plane.AXIAL).extract(volume.array)[0]
    np.testing.assert_array_equal(shown if volume.is_colour else np.stack([shown] * 3, axis=-1), pixels)
    if is_colour is not None:
        assert volume.is_colour is is_colour
    assert volume.modality == ""


@needs_shared
def test_a_segmentation_is_not_taken_for_an_image() -> None:
    refused(DATA / "ct_dicom_seg/liver_seg.dcm", "segmentation")


# NIfTI


def write_nifti(
    path: Path, array: Array, sform: Array | None, qform: Array | None = None, codes: tuple = (1, 1)
) -> None:
    """``array`` ``[i, j, k]`` with exactly these transforms and codes (qform, sform)."""
    image = nibabel.Nifti1Image(array, sform if sform is not None else qform)
    image.set_sform(sform, codes[1] if sform is not None else 0)
    image.set_qform(qform, codes[0] if qform is not None else 0)
    image.to_filename(path)


def smooth(shape: tuple[int, int, int]) -> Array:
    """Intensities that trilinear interpolation keeps: linear along every index."""
    i, j, k = np.indices(shape)
    return (100 + 7 * i - 5 * j + 11 * k).astype(np.float32)


SHEARED = np.array([[1.0, 0.1, 0.0, -20], [0.0, 1.4, 0.6, 30], [0.0, 0.0, 2.0, 40], [0, 0, 0, 1]])


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


def test_nifti_2_is_refused(tmp_path: Path) -> None:
    nibabel.Nifti2Image(np.zeros((2, 3, 4), np.int16), np.eye(4)).to_filename(tmp_path / "two.nii.gz")
    refused(tmp_path / "two.nii.gz", "NIfTI-2", "convert it")


@settings(max_examples=30, deadline=None)
@given(grids())
def test_a_nifti_written_by_nibabel_lies_where_nibabel_says(tmp_path_factory: Any, grid: VoxelGrid) -> None:
    path = tmp_path_factory.mktemp("nifti") / "grid.nii"
    array = np.arange(np.prod(grid.shape), dtype=np.int16).reshape(grid.shape)
    nibabel.Nifti1Image(array.T, grid.ijk_to_ras).to_filename(path)
    volume = read_volume(path)
    assert volume.grid.same_as(grid, tolerance_mm=1e-3)
    np.testing.assert_array_equal(volume.array, array)


# NRRD and MHA


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_sheared_file_of_another_format_is_resampled_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sheared{suffix}"
    array = smooth((12, 14, 10))
    image = SimpleITK.GetImageFromArray(array.T)
    lps = np.diag([-1, -1, 1, 1]) @ SHEARED
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    SimpleITK.WriteImage(image, str(path))

    volume = read_volume(path)
    assert any("not perpendicular" in message for message in volume.messages)
    inner = np.argwhere(np.ones((10, 12, 8))) + 1
    places = nibabel.affines.apply_affine(SHEARED, inner)
    np.testing.assert_allclose(sample(volume, places), array[tuple(inner.T)], atol=1.0)


@settings(max_examples=50, deadline=None)
@given(
    grids(max_size=5),
    st.floats(-0.6, 0.6),
    st.floats(-0.6, 0.6),
    st.floats(-0.6, 0.6),
)
def test_the_perpendicular_grid_covers_every_sheared_voxel(grid: VoxelGrid, a: float, b: float, c: float) -> None:
    shear = np.array([[1, a, b, 0], [0, 1, c, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    sheared = VoxelGrid(grid.shape, shear @ grid.ijk_to_ras)
    straight = perpendicular_grid(sheared)
    assert not straight.is_sheared
    assert straight.voxel_volume_mm3 == pytest.approx(sheared.voxel_volume_mm3, rel=1e-9)
    inverse = np.linalg.inv(straight.ijk_to_ras)
    ijk = nibabel.affines.apply_affine(inverse, voxel_positions(sheared).reshape(-1, 3))
    assert (ijk > -0.5 - 1e-6).all()
    assert (ijk < np.array(straight.shape[::-1]) - 0.5 + 1e-6).all()
    # Same handedness and nearly the same axes: i stays i, and left stays left.
    assert (np.sum(straight.directions * sheared.directions, axis=0) > 0).all()


def test_an_itk_image_with_dicom_tags_keeps_its_modality(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetMetaData("0008|0060", "mr ")
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nrrd"))
    assert read_volume(tmp_path / "scan.nrrd").modality == "MR"


# Odd but honest volumes


def write_mha(path: Path, array: Array, is_vector: bool = False) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


def test_what_is_not_finite_becomes_black_and_is_counted(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    volume = read_volume(write_mha(tmp_path / "holes.mha", array))
    assert volume.messages == ("3 of 60 voxels are NaN or infinite and are treated as black.",)
    assert np.isfinite(volume.array).all()
    np.testing.assert_array_equal(volume.array.ravel()[3:], array.ravel()[3:])
    assert (to_display(volume.array, Window(3, 59))[0, 0, :3] == 0).all()

    array[:] = np.nan
    refused(write_mha(tmp_path / "nothing.mha", array), "no finite voxel")


def test_a_constant_volume_is_read_and_said_to_be_constant(tmp_path: Path) -> None:
    volume = read_volume(write_mha(tmp_path / "flat.mha", np.full((3, 4, 5), -7, np.int16)))
    assert (volume.array == -7).all()
    assert "same value, -7" in volume.messages[0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 7), (6, 1, 7), (6, 7, 1)])
def test_tiny_volumes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nibabel.Nifti1Image(array.T, np.diag([2, 2, 2, 1])).to_filename(tmp_path / "tiny.nii")
    volume = read_volume(tmp_path / "tiny.nii")
    np.testing.assert_array_equal(volume.array, array)
    assert SliceStack.along(volume.grid).count == 1


def test_a_single_time_point_is_a_volume_and_several_are_not(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.float32).reshape(3, 4, 5, 2)
    nibabel.Nifti1Image(array[..., :1], np.eye(4)).to_filename(tmp_path / "one.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nii").array, array[..., 0].T)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "two.nii")
    refused(tmp_path / "two.nii", "2 volumes", "extract one")

    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(array[..., 0].T)])
    SimpleITK.WriteImage(image, str(tmp_path / "one.nrrd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nrrd").array, array[..., 0].T)


@pytest.mark.parametrize(("components", "dtype"), [(2, np.uint8), (3, np.float32), (5, np.uint8), (6, np.float64)])
def test_vectors_are_not_images(tmp_path: Path, components: int, dtype: Any) -> None:
    path = write_mha(tmp_path / "vectors.mha", np.ones((3, 4, 5, components), dtype), is_vector=True)
    refused(path, f"{components} values per voxel")


def test_a_colour_volume_keeps_its_colours(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    volume = read_volume(write_mha(tmp_path / "colour.mha", array, is_vector=True))
    np.testing.assert_array_equal(volume.array, array)
    array[..., 1:] = array[..., :1]
    volume = read_volume(write_mha(tmp_path / "gray.mha", array, is_vector=True))
    np.testing.assert_array_equal(volume.array, array[..., 0])


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.complex64), np.eye(4)).to_filename(tmp_path / "complex.nii")
    refused(tmp_path / "complex.nii", "complex", "magnitude")


# What is not an image


def damaged(folder: Path, name: str) -> Path:
    """A file that is cut off in the middle of its voxels, or is not what its name says."""
    path = folder / name
    kind, suffix = name.split(".", 1)
    whole = folder / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 60), dtype=np.uint8)
    if kind in ("text", "nothing"):
        path.write_text("hello" if kind == "text" else "")
        return path
    if suffix.startswith("nii"):
        nibabel.Nifti1Image(noise, np.eye(4)).to_filename(whole)
    elif suffix in ("png", "jpg"):
        Image.fromarray(np.stack([noise[0]] * 3, axis=-1)).save(whole)
    elif suffix == "dcm":
        write_dicom(whole, noise[0].astype(np.int16))
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(whole), useCompression=True)
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize("kind", ["text", "nothing", "cut"])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha", "png", "jpg", "dcm"])
def test_damaged_files_are_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    refused(damaged(tmp_path, f"{kind}.{suffix}"))


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    refused(damaged(tmp_path, "text.unheard-of"), "DICOM, NIfTI, NRRD")


def test_a_nifti_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii.gz"
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 60), dtype=np.uint8)
    nibabel.Nifti1Image(noise, np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    refused(path, "damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_a_broken_orientation_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "broken.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(path)
    content = bytearray(path.read_bytes())
    content[300:304] = struct.pack("<f", value)  # srow_y[1]
    path.write_bytes(content)
    refused(path, "broken orientation")


def test_nearly_parallel_axes_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    affine = np.array([[1, 5000, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_nifti(tmp_path / "parallel.nii", smooth((50, 50, 5)), affine)
    refused(tmp_path / "parallel.nii", "nearly parallel")


def test_header_keys_that_are_not_text_are_passed_over(tmp_path: Path) -> None:
    path = write_mha(tmp_path / "keys.mha", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    path.write_bytes(path.read_bytes().replace(b"AnatomicalOrientation", b"Anatomic\xffOrientation", 1))
    assert read_volume(path).array[1, 2, 3] == 23


def test_what_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.nii.gz", "does not exist")
    folder = tmp_path / "folder"
    folder.mkdir()
    refused(folder, "no DICOM")
    (folder / "notes.txt").write_text("nothing here")
    refused(folder, "no DICOM")

    whole = tmp_path / "whole.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(whole)
    header = bytearray(whole.read_bytes())
    header[46:48] = struct.pack("<h", 0)  # no slices
    (tmp_path / "empty.nii").write_bytes(header)
    refused(tmp_path / "empty.nii", "empty", "3 x 4 x 0")
    (tmp_path / "half.hdr").write_bytes(header)
    refused(tmp_path / "half.hdr", "convert it to .nii.gz")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=600), st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".dcm"]))
def test_no_rubbish_gets_past_the_reader(tmp_path_factory: Any, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("rubbish") / f"rubbish{suffix}"
    path.write_bytes(content)
    refused(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 347), st.integers(0, 255), st.booleans())
def test_a_damaged_nifti_header_is_refused_or_read_but_never_crashes(
    tmp_path_factory: Any, where: int, value: int, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("header")
    path = folder / ("damaged.nii.gz" if packed else "damaged.nii")
    whole = folder / "whole.nii"
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)).to_filename(whole)
    content = bytearray(whole.read_bytes())
    content[where] = value
    path.write_bytes(gzip.compress(content) if packed else content)
    with suppress(InputError):
        assert read_volume(path).array.size > 0


# Pictures


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_are_upright_and_on_the_grid_that_itk_gives_them(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"picture{suffix}"
    ramp = np.add.outer(np.arange(40) * 3, np.arange(60) * 2).astype(np.uint8)  # dark at the top left
    Image.fromarray(ramp if mode == "L" else np.stack([ramp, ramp // 2, ramp], -1)).save(path, dpi=(72, 72))
    volume = read_volume(path)
    assert volume.array.shape == ((1, 40, 60) if mode == "L" else (1, 40, 60, 3))
    for plane in (Plane.AXIAL, Plane.ACQUIRED):
        stack = SliceStack.along(volume.grid, plane)
        assert (stack.plane, stack.slice_shape) == (Plane.AXIAL, (40, 60))
        shown = stack.extract(volume.array)[0]
        np.testing.assert_array_equal(shown, np.asarray(Image.open(path)))
    itk = SimpleITK.ReadImage(str(path))
    assert volume.grid.spacing[:2] == pytest.approx(itk.GetSpacing())
    assert volume.grid.origin == (0, 0, 0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("1", (1, 8, 9)),
        ("L", (1, 8, 9)),
        ("LA", (1, 8, 9)),
        ("P", (1, 8, 9, 3)),
        ("RGB", (1, 8, 9, 3)),
        ("RGBA", (1, 8, 9, 3)),
    ],
)
def test_every_kind_of_png(tmp_path: Path, mode: str, expected: tuple[int, ...]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(colours).convert(mode)
    picture.save(tmp_path / "picture.png")
    volume = read_volume(tmp_path / "picture.png")
    assert volume.array.shape == expected
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[0], np.asarray(picture.convert("L" if len(expected) == 3 else "RGB")))


def test_a_gray_colour_file_is_scalar_and_transparency_is_black(tmp_path: Path) -> None:
    pixels = np.zeros((5, 6, 4), np.uint8)
    pixels[..., :3] = np.arange(30, dtype=np.uint8).reshape(5, 6, 1) + 100
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "gray.png")
    array = read_volume(tmp_path / "gray.png").array
    assert array.shape == (1, 5, 6)
    assert array[0, 0, 0] == 0
    np.testing.assert_array_equal(array.ravel()[1:], np.arange(101, 130))


def test_a_16_bit_picture_keeps_its_bits(tmp_path: Path) -> None:
    pixels = (np.arange(30, dtype=np.uint16) * 2000).reshape(5, 6)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "deep.png").array[0], pixels)


# DICOM


def write_dicom(path: Path, pixels: Array, position: tuple = (0.0, 0.0, 0.0), **tags: Any) -> None:
    """One slice with a patient's name in it; ``tags`` by pydicom's keywords."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = tags.pop("SOPInstanceUID", None) or pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.Dataset()
    data.file_meta = meta
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName = "Doe^Jane"
    data.PatientID = "4711"
    data.SeriesInstanceUID = "1.2.3"
    data.StudyInstanceUID = "1.2"
    data.Modality = "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.5, 0.25]
    data.SliceThickness = 5
    data.ImagePositionPatient = [round(x, 6) for x in position]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1000
    data.PixelData = pixels.astype("<i2").tobytes()
    for key, value in tags.items():
        if value is None:
            delattr(data, key)
        else:
            setattr(data, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_series(folder: Path, heights: Any, lean: float = 0.0, **tags: Any) -> Array:
    """Slices at ``heights``, shifted backwards by ``lean`` mm per mm, files in no order; their HU ``[k, j, i]``."""
    stack = np.stack([smooth((6, 8, 1))[..., 0].T + 20 * z for z in heights]).astype(np.int16)
    for n, z in enumerate(heights):
        name = f"{(n * 7) % len(heights):03d}.dcm"
        write_dicom(folder / name, stack[n] + 1000, (-30.0, -40.0 + lean * z, z), **tags)
    return stack


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


# Volume


def test_volumes_with_the_same_content_have_the_same_hash() -> None:
    grid = VoxelGrid((2, 3, 4), np.eye(4))
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    same = Volume(np.asfortranarray(array), VoxelGrid((2, 3, 4), np.eye(4)), name="another name")
    assert Volume(array, grid).content_hash == same.content_hash

    other_array = array.copy()
    other_array[0, 0, 0] = 99
    moved = np.eye(4)
    moved[0, 3] = 1
    for other in (
        Volume(other_array, grid),
        Volume(array.astype(np.int32), grid),
        Volume(array, VoxelGrid((2, 3, 4), moved)),
        Volume(array, grid, modality="CT"),
        Volume(array.reshape(4, 3, 2), VoxelGrid((4, 3, 2), np.eye(4))),
    ):
        assert other.content_hash != same.content_hash


def test_a_volume_and_its_grid_have_one_shape() -> None:
    grid = VoxelGrid((2, 3, 4), np.eye(4))
    with pytest.raises(ValueError, match="shape"):
        Volume(np.zeros((4, 3, 2)), grid)
    with pytest.raises(ValueError, match="axes"):
        Volume(np.zeros((2, 3, 4, 1, 1)), grid)
    assert Volume(np.zeros((2, 3, 4, 3), np.uint8), grid).is_colour
