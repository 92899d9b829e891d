"""Reading NIfTI: which of its transforms counts, sheared ones, and every voxel type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings

from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from support.grids import grids
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
