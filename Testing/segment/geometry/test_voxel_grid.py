"""Grids and slice stacks: exact inverses, and a radiologist's view however the voxels are stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack, acquired_axis
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.grids import Storage, grids, storages, stored_as, voxel_positions

ANATOMICAL = [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL]

#: For each plane the RAS axis (0 R, 1 A, 2 S) that falls down the screen, and the one that falls to the right: on an
#: axial picture rows run from anterior to posterior and columns from the patient's right to the left.
FALLING = {Plane.AXIAL: (1, 0), Plane.CORONAL: (2, 0), Plane.SAGITTAL: (2, 1)}
NORMAL = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}


def numbered(grid: VoxelGrid) -> np.ndarray:
    """An array on ``grid`` in which every voxel is different."""
    return np.arange(np.prod(grid.shape), dtype=np.int32).reshape(grid.shape)


@settings(deadline=None)
@given(grids(), st.sampled_from(list(Plane)), st.sampled_from([(), (3,)]))
def test_extract_and_insert_are_exact_inverses(grid: VoxelGrid, plane: Plane, channels: tuple[int, ...]) -> None:
    stack = SliceStack.along(grid, plane)
    volume = np.arange(np.prod(grid.shape + channels)).reshape(grid.shape + channels)

    slices = stack.extract(volume)
    assert slices.shape == (stack.count, *stack.slice_shape, *channels)
    np.testing.assert_array_equal(stack.insert(slices), volume)
    np.testing.assert_array_equal(stack.extract(stack.insert(slices)), slices)
    assert np.shares_memory(slices, volume)


@settings(deadline=None)
@given(grids(), st.sampled_from(ANATOMICAL))
def test_slices_are_upright_as_a_radiologist_sees_them(grid: VoxelGrid, plane: Plane) -> None:
    stack = SliceStack.along(grid, plane)
    places = stack.extract(voxel_positions(grid))

    down, right = FALLING[plane]
    if stack.slice_shape[0] > 1:
        assert places[:, 0, :, down].mean() > places[:, -1, :, down].mean()
    if stack.slice_shape[1] > 1:
        assert places[:, :, 0, right].mean() > places[:, :, -1, right].mean()
    step = grid.directions[:, stack.axis]
    assert int(np.argmax(np.abs(step))) == NORMAL[plane]


@settings(deadline=None)
@given(grids(), st.sampled_from(list(Plane)))
def test_slices_are_numbered_as_the_voxels_are_stored(grid: VoxelGrid, plane: Plane) -> None:
    stack = SliceStack.along(grid, plane)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)  # [k, j, i, (k, j, i)]
    along = stack.extract(index)[..., 2 - stack.axis]
    for number in range(stack.count):
        assert (along[number] == number).all()


@settings(deadline=None)
@given(grids(), st.sampled_from(list(Plane)), storages)
def test_the_same_patient_gives_the_same_slices_however_it_is_stored(
    grid: VoxelGrid, plane: Plane, storage: Storage
) -> None:
    volume = numbered(grid)
    other, other_grid = stored_as(volume, grid, storage)
    np.testing.assert_allclose(
        np.sort(voxel_positions(other_grid).reshape(-1, 3), axis=0),
        np.sort(voxel_positions(grid).reshape(-1, 3), axis=0),
        atol=1e-9,
    )

    stack, other_stack = SliceStack.along(grid, plane), SliceStack.along(other_grid, plane)
    slices, other_slices = stack.extract(volume), other_stack.extract(other)
    assert other_stack.plane is stack.plane
    np.testing.assert_allclose(other_stack.spacing, stack.spacing, rtol=1e-9)
    runs_back = float(grid.directions[:, stack.axis] @ other_grid.directions[:, other_stack.axis]) < 0
    np.testing.assert_array_equal(other_slices[::-1] if runs_back else other_slices, slices)


@settings(deadline=None)
@given(grids(), st.sampled_from(list(Plane)))
def test_stack_spacing_is_the_distance_between_neighbours(grid: VoxelGrid, plane: Plane) -> None:
    stack = SliceStack.along(grid, plane)
    places = stack.extract(voxel_positions(grid))
    for axis in range(3):
        steps = np.linalg.norm(np.diff(places, axis=axis), axis=-1)
        np.testing.assert_allclose(steps, stack.spacing[axis], rtol=1e-6, atol=1e-9)


@settings(deadline=None)
@given(st.integers(0, 2), st.floats(1.3, 20.0), storages)
def test_the_coarse_axis_is_the_acquired_one(coarse: int, ratio: float, storage: Storage) -> None:
    spacing = [0.7, 0.8, 0.8]
    spacing[coarse] = 0.8 * ratio
    volume = np.zeros((4, 5, 6), np.uint8)
    _, grid = stored_as(volume, VoxelGrid(volume.shape, np.diag([*spacing, 1.0])), storage)

    stack = SliceStack.along(grid)
    assert stack.axis == acquired_axis(grid)
    assert stack.spacing[0] == pytest.approx(spacing[coarse])
    assert stack.plane is [Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL][coarse]


@settings(deadline=None)
@given(storages)
def test_a_nearly_isotropic_volume_is_cut_axially(storage: Storage) -> None:
    volume = np.zeros((4, 5, 6), np.uint8)
    _, grid = stored_as(volume, VoxelGrid(volume.shape, np.diag([1.1, 1.0, 1.05, 1.0])), storage)
    assert SliceStack.along(grid).plane is Plane.AXIAL


def test_a_single_slice_is_shown_in_its_own_plane_whatever_its_thickness() -> None:
    thin = VoxelGrid((7, 1, 9), np.diag([1.0, 0.1, 1.0, 1.0]))
    stack = SliceStack.along(thin)
    assert (stack.plane, stack.count, stack.slice_shape) == (Plane.CORONAL, 1, (7, 9))


@settings(deadline=None)
@given(grids())
def test_positions_follow_the_matrix(grid: VoxelGrid) -> None:
    places = voxel_positions(grid)
    k, j, i = (n - 1 for n in grid.shape)
    np.testing.assert_allclose(grid.to_ras(np.array([[i, j, k], [0, 0, 0]])), [places[k, j, i], grid.origin], atol=1e-9)
    assert grid.voxel_volume_mm3 == pytest.approx(np.prod(grid.spacing))
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-9)
    assert not grid.is_sheared


@settings(deadline=None)
@given(st.floats(0.01, 1.5), st.sampled_from([(0, 1), (0, 2), (1, 2), (2, 0)]))
def test_shear_is_noticed(shear: float, where: tuple[int, int]) -> None:
    matrix = np.diag([1.0, 2.0, 3.0, 1.0])
    matrix[where] = shear * matrix[where[1], where[1]]
    assert VoxelGrid((2, 3, 4), matrix).is_sheared


@settings(deadline=None)
@given(grids(), st.integers(0, 2))
def test_a_moved_grid_is_another_grid(grid: VoxelGrid, axis: int) -> None:
    moved = grid.ijk_to_ras.copy()
    moved[axis, 3] += 0.01
    assert grid.same_as(VoxelGrid(grid.shape, grid.ijk_to_ras + 1e-9))
    assert not grid.same_as(VoxelGrid(grid.shape, moved))
    assert grid.same_as(VoxelGrid(grid.shape, moved), tolerance_mm=0.02)
    assert not grid.same_as(VoxelGrid((*grid.shape[:2], grid.shape[2] + 1), grid.ijk_to_ras))


def test_a_matrix_without_volume_is_refused() -> None:
    for matrix in (np.diag([1.0, 1.0, 0.0, 1.0]), np.diag([1.0, np.nan, 1.0, 1.0]), np.eye(3)):
        with pytest.raises(ValueError, match="ijk_to_ras"):
            VoxelGrid((1, 1, 1), matrix)


def test_a_grid_cannot_be_changed_behind_its_back() -> None:
    matrix = np.eye(4)
    grid = VoxelGrid((1, 1, 1), matrix)
    matrix[0, 3] = 5.0
    assert grid.origin == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="read-only"):
        grid.ijk_to_ras[0, 3] = 5.0


def test_a_volume_of_another_shape_is_refused() -> None:
    stack = SliceStack.along(VoxelGrid((2, 3, 4), np.eye(4)))
    with pytest.raises(ValueError, match="shape"):
        stack.extract(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="shape"):
        stack.insert(np.zeros((3, 2, 4)))
