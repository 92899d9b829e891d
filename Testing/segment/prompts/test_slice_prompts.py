"""Marks in the patient land on the right slice and pixel, however the voxels are stored and whatever the plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, MaskPromptRAS, PointPromptRAS
from MedSAM3SegmentLib.prompts.slice_prompts import (
    boxes_on,
    drawn_on,
    placed_on,
    points_on,
)
from support.grids import grids, storages, stored_as
from support.results import axial_grid

PLANES = st.sampled_from([Plane.ACQUIRED, Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])


@given(grid=grids(), plane=PLANES, data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_point_on_a_voxel_is_on_that_voxels_pixel(grid: VoxelGrid, plane: Plane, data: st.DataObject) -> None:
    k, j, i = (data.draw(st.integers(0, n - 1)) for n in grid.shape)
    volume = np.zeros(grid.shape, bool)
    volume[k, j, i] = True
    stack = SliceStack.along(grid, plane)
    slice_index, row, column = (int(n[0]) for n in np.nonzero(stack.extract(volume)))
    position = tuple(grid.to_ras(np.array([i, j, k], float)).tolist())
    assert np.allclose(stack.position_of(np.array(position)), (slice_index, row, column), atol=1e-6)
    (point,) = points_on(stack, [PointPromptRAS(position)])
    rows, columns = stack.slice_shape
    assert point.slice_index == slice_index
    assert (point.x, point.y) == pytest.approx(((column + 0.5) / columns, (row + 0.5) / rows))


@given(grid=grids(), plane=PLANES, data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_box_around_voxels_is_around_their_pixels(grid: VoxelGrid, plane: Plane, data: st.DataObject) -> None:
    volume = np.zeros(grid.shape, bool)
    parts, corners = [], []
    for n in grid.shape:
        first = data.draw(st.integers(0, n - 1))
        last = data.draw(st.integers(first, n - 1))
        parts.append(slice(first, last + 1))
        corners.append((first - 0.5, last + 0.5))
    volume[tuple(parts)] = True
    places = [grid.to_ras(np.array([c[n] for c in reversed(corners)])) for n in (0, 1)]
    stack = SliceStack.along(grid, plane)
    inside = stack.extract(volume)
    (box,) = boxes_on(stack, [BoxPromptRAS(tuple(tuple(place.tolist()) for place in places))])
    slices, rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    assert list(box.slices) == slices.tolist()
    height, width = stack.slice_shape
    edges = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    assert box.box == pytest.approx(edges, abs=1e-6)


GRID = axial_grid((10, 20, 24), (1.0, 1.0, 3.0))
STACK = SliceStack.along(GRID)


def _ras(i: float, j: float, k: float) -> tuple[float, float, float]:
    return tuple(GRID.to_ras(np.array([i, j, k])).tolist())


def test_a_point_between_slices_goes_to_the_nearer_one() -> None:
    points = points_on(STACK, [PointPromptRAS(_ras(3, 4, 5.4)), PointPromptRAS(_ras(3, 4, 5.6))])
    assert [point.slice_index for point in points] == [5, 6]


@pytest.mark.parametrize("ijk", [(-1, 4, 4), (24, 4, 4), (3, 20, 4), (3, 4, -0.6), (3, 4, 9.6)])
def test_a_point_outside_is_refused_in_words(ijk: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match=r"outside of the volume"):
        points_on(STACK, [PointPromptRAS(_ras(*ijk))])


def test_a_box_on_one_slice_is_on_that_slice_though_it_has_no_depth() -> None:
    boxes = boxes_on(
        STACK, [BoxPromptRAS((_ras(2, 2, 6.3), _ras(9, 9, 6.3))), BoxPromptRAS((_ras(2, 2, 6), _ras(9, 9, 6)))]
    )
    assert [list(box.slices) for box in boxes] == [[6], [6]]


def test_a_box_that_reaches_out_is_cut_and_one_beside_the_volume_refused() -> None:
    (box,) = boxes_on(STACK, [BoxPromptRAS((_ras(-50, 5, 7), _ras(50, 9, 50)))])
    assert list(box.slices) == [7, 8, 9]
    assert (box.box[0], box.box[2]) == (0.0, 1.0)
    for first, last in (((30, 2, 2), (40, 9, 2)), ((2, 2, 12), (9, 9, 20))):
        with pytest.raises(InputError, match="outside of the volume"):
            boxes_on(STACK, [BoxPromptRAS((_ras(*first), _ras(*last)))])


def test_a_box_drawn_across_the_plane_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="no area on axial slices"):
        boxes_on(STACK, [BoxPromptRAS((_ras(4, 2, 2), _ras(4, 9, 6)))])


def test_drawn_slices_are_those_with_voxels_or_those_named() -> None:
    mask = np.zeros(GRID.shape, bool)
    mask[3, 5:9, 5:9] = mask[6, 2:4, 2:4] = True
    assert list(drawn_on(STACK, [MaskPromptRAS(mask)])) == [3, 6]
    drawn = drawn_on(STACK, [MaskPromptRAS(mask, (6, 7))])
    assert list(drawn) == [6, 7]
    assert np.array_equal(drawn[6], STACK.extract(mask)[6])
    assert not drawn[7].any()
    joined = drawn_on(STACK, [MaskPromptRAS(mask, (3,)), MaskPromptRAS(np.roll(mask, 1, axis=2), (3,))])
    assert np.array_equal(joined[3], STACK.extract(mask | np.roll(mask, 1, axis=2))[3])


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (MaskPromptRAS(np.zeros((2, 2, 2), bool)), "resample"),
        (MaskPromptRAS(np.zeros(GRID.shape, bool)), "empty"),
        (MaskPromptRAS(np.ones(GRID.shape, bool), (10,)), "0 to 9"),
    ],
)
def test_drawn_masks_that_do_not_fit_are_refused_in_words(mark: MaskPromptRAS, words: str) -> None:
    with pytest.raises(InputError, match=words):
        drawn_on(STACK, [mark])


@given(first=st.tuples(*[st.integers(-4, 12)] * 3), shape=st.tuples(*[st.integers(1, 12)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_cropped_mask_is_put_where_its_voxels_are(first: tuple[int, int, int], shape: tuple[int, int, int]) -> None:
    matrix = GRID.ijk_to_ras.copy()
    matrix[:3, 3] = GRID.to_ras(np.array(first, float))
    own = VoxelGrid(shape, matrix)
    mask = np.random.default_rng(0).random(shape) > 0.5
    placed = placed_on(GRID, mask, own)
    assert placed is not None
    for k, j, i in np.ndindex(*shape):
        place = (k + first[2], j + first[1], i + first[0])
        if all(0 <= n < count for n, count in zip(place, GRID.shape, strict=True)):
            assert placed[place] == mask[k, j, i]
    assert placed.sum() <= mask.sum()


def test_a_mask_on_other_voxels_is_not_put_anywhere() -> None:
    shifted, finer = GRID.ijk_to_ras.copy(), GRID.ijk_to_ras.copy()
    shifted[0, 3] += 0.4
    finer[:3, :3] *= 0.99
    for matrix in (shifted, finer):
        assert placed_on(GRID, np.ones(GRID.shape, bool), VoxelGrid(GRID.shape, matrix)) is None


@given(grid=grids(), storage=storages, seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_mask_in_another_axis_order_is_placed_exactly(
    grid: VoxelGrid, storage: tuple, seed: int, data: st.DataObject
) -> None:
    mask = np.random.default_rng(seed).random(grid.shape) < 0.5
    turned, own = stored_as(mask, grid, storage)
    placed = placed_on(grid, turned, own)
    assert placed is not None
    assert np.array_equal(placed, mask)
    # And a part of it, as Slicer crops.
    first = [data.draw(st.integers(0, n - 1)) for n in turned.shape]
    part = turned[tuple(slice(n, None) for n in first)]
    matrix = own.ijk_to_ras.copy()
    matrix[:3, 3] = own.to_ras(np.array(first[::-1], float))
    placed = placed_on(grid, part, VoxelGrid(part.shape, matrix))
    assert placed is not None
    assert not (placed & ~mask).any()
    assert placed.sum() == part.sum()
