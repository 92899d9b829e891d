"""Edits look at the part of a mask that decides, slab by slab, and give what looking at all of it gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from MedSAM3AgentLib.editing import apply, filters
from MedSAM3AgentLib.editing.apply import apply_commands
from MedSAM3AgentLib.editing.commands import Command, FillHoles
from MedSAM3AgentLib.editing.filters import fill_holes
from MedSAM3AgentLib.editing.grammar import parse_clause
from MedSAM3AgentLib.editing.regions import filled_region
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from support.grids import grids

LOCAL = (
    "grow 3 mm", "shrink 2 mm", "keep the largest", "remove pieces below 4 voxels", "keep piece 2", "remove piece 1",
    "smooth 4 mm", "gaussian 1 mm", "remove spikes", "close gaps", "close gaps 6 mm", "fill holes",
    "fill holes on each slice", "make a shell 9 mm", "make a shell 9 mm inside", "hollow medial 9 mm",
    "keep the left part", "remove the upper half", "only above 0", "split",
)  # fmt: skip


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, VoxelGrid]:
    """Some blobs on an oblique or odd grid, often far from its edges, sometimes none."""
    grid = draw(grids(max_size=14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = ndimage.gaussian_filter(rng.normal(size=grid.shape), draw(st.floats(0.0, 1.5)))
    mask = noise > np.quantile(noise, draw(st.floats(0.0, 0.98)))
    room = [draw(st.integers(0, max(0, size // 2 - 1))) for size in grid.shape]
    inside = np.zeros_like(mask)
    inside[tuple(slice(more, size - more) for more, size in zip(room, grid.shape, strict=True))] = True
    return mask & inside, grid


def edited(mask: np.ndarray, grid: VoxelGrid, clause: str) -> list[object]:
    """All that comes of a command, or why it is refused."""
    from MedSAM3SegmentLib.volume import Volume

    array = np.random.default_rng(1).normal(size=grid.shape)
    try:
        result = apply_commands(mask, grid, clause, volume=Volume(array, grid))
    except InputError as error:
        return [str(error)]
    return [result.mask.tobytes(), *(piece.tobytes() for piece in result.pieces), *result.said]


@pytest.mark.parametrize("clause", LOCAL)
@given(drawn=masks())
def test_a_part_of_a_mask_gives_what_all_of_it_gives(clause: str, drawn: tuple[np.ndarray, VoxelGrid]) -> None:
    mask, grid = drawn
    found = edited(mask, grid, clause)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(filters, "_VOXELS_AT_ONCE", 1)
        in_slabs = edited(mask, grid, clause)
        patched.setattr(filters, "_VOXELS_AT_ONCE", 10**9)
        patched.setattr(apply, "region_of", lambda *_: None)
        whole = edited(mask, grid, clause)

    assert found == whole
    assert in_slabs == whole


@given(drawn=masks(), axis=st.sampled_from([None, 0, 1, 2]))
def test_holes_are_those_that_scipy_fills(drawn: tuple[np.ndarray, VoxelGrid], axis: int | None) -> None:
    mask, _ = drawn
    if axis is None:
        wanted = ndimage.binary_fill_holes(mask)
    else:
        slices = np.moveaxis(mask, axis, 0)
        wanted = np.moveaxis(np.array([ndimage.binary_fill_holes(each) for each in slices]), 0, axis)

    assert np.array_equal(fill_holes(mask, axis), wanted)


def test_holes_on_each_slice_are_of_the_acquired_slices_though_the_mask_is_on_one_alone() -> None:
    grid = VoxelGrid((6, 9, 9), np.diag([1.0, 1.0, 5.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[2, 2:7, 2:7] = True
    mask[2, 4, 4] = False

    assert isinstance(parse_clause("fill holes on each slice"), FillHoles)
    assert apply_commands(mask, grid, "fill holes on each slice").mask[2, 4, 4]
    assert not apply_commands(mask, grid, "fill holes").mask[2, 4, 4]


@given(drawn=masks())
def test_the_filled_region_is_the_smallest_that_holds_all(drawn: tuple[np.ndarray, VoxelGrid]) -> None:
    mask, _ = drawn
    region = filled_region(mask)
    if region is None:
        assert not mask.any()
        return
    assert mask[region].sum() == mask.sum()
    places = np.argwhere(mask)
    assert [(part.start, part.stop) for part in region] == list(
        zip(places.min(axis=0).tolist(), (places.max(axis=0) + 1).tolist(), strict=True)
    )


def test_every_local_command_is_one() -> None:
    assert all(isinstance(parse_clause(clause), Command) for clause in LOCAL)
