"""Where the engine looks and segments at all: slices, a box, another structure, on any grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.assembly.assemble import with_threshold
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.reporting.report import segment_provenance
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.search_region import SearchRegion, box_of
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.grids import grids

PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)


def grid_of(shape: tuple[int, int, int] = (7, 20, 24)) -> VoxelGrid:
    return VoxelGrid(shape, np.diag([-1.5, -1.5, 5.0, 1.0]))


def corners_of(grid: VoxelGrid, low: tuple[int, int, int], high: tuple[int, int, int]) -> BoxPromptRAS:
    """From the center of one voxel ``(k, j, i)`` to that of another."""
    return BoxPromptRAS(tuple(tuple(grid.to_ras(np.array(place[::-1], float))) for place in (low, high)))


def cut_volume(search_region: SearchRegion, mask: np.ndarray) -> np.ndarray:
    """A whole volume ``[k, j, i]`` cut slice by slice."""
    stack = search_region.stack
    slices = np.zeros((stack.count, *stack.slice_shape), bool)
    for index in search_region.slices:
        slices[index] = search_region.clip(index, stack.extract(mask)[index])
    return stack.insert(slices)


@settings(max_examples=60, deadline=None)
@given(grid=grids(), seed=st.integers(0, 10_000), plane=st.sampled_from(PLANES))
def test_a_box_lets_through_the_voxels_in_it_whatever_the_grid_and_plane(
    grid: VoxelGrid, seed: int, plane: Plane
) -> None:
    rng = np.random.default_rng(seed)
    low = [int(rng.integers(n)) for n in grid.shape]
    high = [int(rng.integers(first, n)) for first, n in zip(low, grid.shape, strict=True)]
    region = corners_of(grid, tuple(low), tuple(high))
    search_region = SearchRegion.of(
        SegmentRequest(("liver",), plane=plane, region=region), SliceStack.along(grid, plane)
    )
    expected = np.zeros(grid.shape, bool)
    expected[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    assert np.array_equal(cut_volume(search_region, np.ones(grid.shape, bool)), expected)


@settings(max_examples=60, deadline=None)
@given(grid=grids(), seed=st.integers(0, 10_000), plane=st.sampled_from(PLANES))
def test_a_structure_limits_the_search_to_its_own_voxels_and_slices(grid: VoxelGrid, seed: int, plane: Plane) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.random(grid.shape) < 0.02
    inside.flat[rng.integers(inside.size)] = True
    stack = SliceStack.along(grid, plane)
    search_region = SearchRegion.of(SegmentRequest(("tumor",), plane=plane, inside=inside), stack)
    assert np.array_equal(cut_volume(search_region, np.ones(grid.shape, bool)), inside)
    assert list(search_region.slices) == np.flatnonzero(stack.extract(inside).any(axis=(1, 2))).tolist()


def test_the_other_planes_see_the_same_voxels() -> None:
    grid = grid_of()
    request = SegmentRequest(
        ("liver",), plane=Plane.AXIAL, slices=(2, 5), region=corners_of(grid, (0, 4, 3), (6, 9, 20))
    )
    search_region = SearchRegion.of(request, SliceStack.along(grid, Plane.AXIAL))
    everything = np.ones(grid.shape, bool)
    expected = cut_volume(search_region, everything)
    assert expected.sum() == 3 * 6 * 18
    for plane in (Plane.CORONAL, Plane.SAGITTAL):
        assert np.array_equal(cut_volume(search_region.along(SliceStack.along(grid, plane)), everything), expected)


def test_a_box_thinner_than_a_voxel_has_the_voxels_it_lies_in() -> None:
    grid = grid_of()
    centre = grid.to_ras(np.array([3.3, 5.2, 2.1]))
    parts = box_of(BoxPromptRAS((tuple(centre), tuple(centre + 0.01))), grid)
    assert parts == (slice(2, 3), slice(5, 6), slice(3, 4))


def test_a_box_may_reach_beyond_the_volume_but_not_miss_it() -> None:
    grid = grid_of()
    assert box_of(BoxPromptRAS(((-500, -500, -500), (500, 500, 500))), grid) == tuple(slice(0, n) for n in grid.shape)
    with pytest.raises(InputError, match="outside"):
        box_of(BoxPromptRAS(((-500, 0, 0), (-400, 5, 5))), grid)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"inside": np.zeros((7, 20, 24), bool)}, "empty"),
        ({"inside": np.ones((7, 20, 25), bool)}, "resample"),
        ({"slices": (0, 2), "region": corners_of(grid_of(), (4, 0, 0), (6, 9, 9))}, "region"),
        ({"slices": (0, 2), "inside": np.arange(7)[:, None, None] * np.ones((7, 20, 24)) > 3}, "no voxel"),
    ],
)
def test_what_leaves_nothing_to_look_at_is_refused_in_words(asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SearchRegion.of(SegmentRequest(("liver",), **asked), SliceStack.along(grid_of()))


@pytest.fixture
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(str(tiny_model_folder), "cpu")


def test_only_the_region_is_segmented_also_when_the_threshold_moves(
    segmenter: Segmenter,
) -> None:
    array = np.random.default_rng(0).integers(-200, 300, (7, 20, 24)).astype(np.int16)
    volume = Volume(array, grid_of(), "CT", "test")
    inside = np.zeros(array.shape, bool)
    inside[1:6, 4:15, 3:20] = True
    region = corners_of(volume.grid, (2, 0, 0), (6, 19, 9))
    request = SegmentRequest(("tumor",), inside=inside, region=region, threshold=0.3)
    result = segmenter.segment(volume, request)
    expected = inside.copy()
    expected[:2] = expected[..., 10:] = False
    assert list(result.concepts[0].score_by_slice) == [2, 3, 4, 5]
    assert np.array_equal(result.concepts[0].mask, expected)
    assert np.array_equal(with_threshold(result, 0.2).concepts[0].mask, expected)
    limits = segment_provenance(result, result.concepts[0])["limited_to"]
    assert limits == {"k": [2, 6], "j": [0, 19], "i": [0, 9], "mask": True}
