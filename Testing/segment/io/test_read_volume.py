"""Reading volumes: the right voxels at the right place in the patient, or one sentence that says what is wrong."""

from __future__ import annotations

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

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.preprocessing.resampling import perpendicular_grid
from MedSAM3SegmentLib.preprocessing.windowing import Window, to_display
from MedSAM3SegmentLib.volume import Volume
from support.external_data import DATA, needs_shared
from support.grids import grids, voxel_positions
from support.images import SHEARED, refused, sample, smooth, write_mha

pytestmark = pytest.mark.usefixtures("nothing_on_the_terminal")

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
    ("picture", "is_color"),
    [("06_CT_abdomen", False), ("20_ultrasound_breast", None), ("25_dermoscopy_skin", True)],
)
def test_real_pictures_are_shown_as_stored(picture: str, is_color: bool | None) -> None:
    path = DATA / f"images_2d/{picture}.png"
    volume = read_volume(path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    shown = SliceStack.along(volume.grid, Plane.AXIAL).extract(volume.array)[0]
    np.testing.assert_array_equal(shown if volume.is_color else np.stack([shown] * 3, axis=-1), pixels)
    if is_color is not None:
        assert volume.is_color is is_color
    assert volume.modality == ""


@needs_shared
def test_a_segmentation_is_not_taken_for_an_image() -> None:
    refused(DATA / "ct_dicom_seg/liver_seg.dcm", "segmentation")


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


def test_a_color_volume_keeps_its_colors(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    volume = read_volume(write_mha(tmp_path / "colour.mha", array, is_vector=True))
    np.testing.assert_array_equal(volume.array, array)
    array[..., 1:] = array[..., :1]
    volume = read_volume(write_mha(tmp_path / "gray.mha", array, is_vector=True))
    np.testing.assert_array_equal(volume.array, array[..., 0])


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.zeros((3, 4, 5), np.complex64), np.eye(4)).to_filename(tmp_path / "complex.nii")
    refused(tmp_path / "complex.nii", "complex", "magnitude")


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
    assert Volume(np.zeros((2, 3, 4, 3), np.uint8), grid).is_color
