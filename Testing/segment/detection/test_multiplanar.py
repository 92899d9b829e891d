"""A volume looked at along several planes at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.assembly.assemble import assemble, with_threshold
from MedSAM3SegmentLib.detection.multiplanar import PlaneEvidence, fuse_planes, other_stacks
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.progress import (
    PartialMask,
    Progress,
    RunCallbacks,
    Stage,
)
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from support.grids import grids
from support.results import concept_with

PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)


def seen_along(stack: SliceStack, soft: np.ndarray, score: float = 0.9, *, semantic: bool = True) -> PlaneEvidence:
    """What a perfect detector says of the probabilities ``soft`` ``[k, j, i]`` along one plane."""
    items = []
    for index, picture in enumerate(stack.extract(soft)):
        if picture.max() <= 0.5:
            items.append(SliceDetections(index, 0.02, 0.02))
        elif semantic:
            items.append(SliceDetections(index, score, score, semantic=SoftMask.of(picture)))
        else:
            detection = Detection(score, score, 1.0, (0, 0, 1, 1), SoftMask.of(picture))
            items.append(SliceDetections(index, score, score, (detection,)))
    return PlaneEvidence(stack, items)


def ball(grid: VoxelGrid, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    k, j, i = np.indices(grid.shape)
    distance = np.sqrt((k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2)
    return (distance < radius).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(grid=grids(), seed=st.integers(0, 10_000), semantic=st.booleans())
def test_planes_that_agree_give_what_each_gives_on_any_grid(grid: VoxelGrid, seed: int, semantic: bool) -> None:
    rng = np.random.default_rng(seed)
    soft = (rng.random(grid.shape) > 0.7).astype(np.float32)
    soft[tuple(n // 2 for n in grid.shape)] = 1.0
    stacks = [SliceStack.along(grid, plane) for plane in PLANES]
    views = [seen_along(stack, soft, semantic=semantic) for stack in stacks]
    for main in views:
        fused = fuse_planes(main, [view for view in views if view is not main], 0.5)
        for item, before in zip(fused, main.evidence, strict=True):
            expected = main.stack.extract(soft)[item.slice_index]
            if expected.any():
                assert item.score == pytest.approx(before.score)
            assert item.semantic is not None
            np.testing.assert_allclose(item.semantic.full(), expected, atol=2e-3)


def test_a_slip_in_one_plane_is_outvoted_and_a_miss_in_one_plane_made_good() -> None:
    grid = VoxelGrid((24, 24, 24), np.diag([-2.0, -2.0, 2.0, 1.0]))
    organ, slip = ball(grid, (11, 11, 11), 7), ball(grid, (5, 4, 4), 4)
    axial, coronal, sagittal = (SliceStack.along(grid, plane) for plane in PLANES)
    with_slip = np.maximum(organ, slip)
    with_slip[11] = slip[11]
    main = seen_along(axial, with_slip)
    others = [seen_along(coronal, organ), seen_along(sagittal, organ)]
    alone = assemble(concept_with(axial, list(main.evidence)), axial, 0.5)
    fused = assemble(concept_with(axial, fuse_planes(main, others, 0.5)), axial, 0.5)
    assert (alone.mask & (slip > 0)).any()
    assert np.array_equal(fused.mask, organ > 0)


def test_a_plane_that_is_unsure_of_a_slice_votes_less() -> None:
    grid = VoxelGrid((12, 12, 12), np.diag([-2.0, -2.0, 2.0, 1.0]))
    organ = ball(grid, (6, 6, 6), 4)
    axial, coronal = (SliceStack.along(grid, plane) for plane in PLANES[:2])
    fused = fuse_planes(seen_along(axial, organ), [seen_along(coronal, organ, score=0.1)], 0.5)
    middle = fused[6]
    assert middle.score == pytest.approx(0.5)
    assert middle.semantic is not None
    assert middle.semantic.full().max() == pytest.approx(0.5 * (1 + 0.1 / 0.5), abs=1e-3)


def test_planes_are_named_once_and_thick_slices_are_refused_in_words() -> None:
    cubes = SliceStack.along(VoxelGrid((9, 9, 9), np.eye(4)), Plane.AXIAL)
    request = SegmentRequest(("liver",), more_planes=(Plane.AXIAL, Plane.CORONAL, Plane.CORONAL, Plane.SAGITTAL))
    assert [stack.plane for stack in other_stacks(request, cubes)] == [Plane.CORONAL, Plane.SAGITTAL]
    thick = SliceStack.along(VoxelGrid((9, 9, 9), np.diag([1.0, 1.0, 2.5, 1.0])), Plane.AXIAL)
    assert other_stacks(SegmentRequest(("liver",), more_planes=(Plane.AXIAL,)), thick) == []
    with pytest.raises(InputError, match="cubes"):
        other_stacks(request, thick)
    with pytest.raises(InputError, match="mode"):
        other_stacks(SegmentRequest(("liver",), mode=Mode.PROPAGATE, more_planes=(Plane.CORONAL,)), cubes)


def test_the_engine_looks_along_each_plane_once_and_answers_in_the_first(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    array = np.random.default_rng(0).integers(-200, 300, (6, 8, 10)).astype(np.int16)
    volume = Volume(array, VoxelGrid(array.shape, np.eye(4)), "CT", "test")
    shown: list[PartialMask] = []
    request = SegmentRequest(("liver",), plane=Plane.AXIAL, more_planes=(Plane.CORONAL, Plane.SAGITTAL), threshold=0.3)
    result = segmenter.segment(volume, request, RunCallbacks(partial=shown.append))
    assert len(segmenter.cache) == 6 + 8 + 10
    assert list(result.concepts[0].score_by_slice) == list(range(6))
    assert result.concepts[0].mask.all(), "the tiny model sees everything everywhere"
    assert [mask.slice_index for mask in shown] == list(range(6))
    assert result.provenance.plane == "axial, coronal, sagittal"
    assert not with_threshold(result, 0.9).concepts[0].found


@pytest.mark.parametrize("slices", [None, (1, 5)])
def test_the_progress_over_all_planes_is_one(tiny_model_folder: Path, slices: tuple[int, int] | None) -> None:
    segmenter = Segmenter.load(str(tiny_model_folder), "cpu")
    array = np.random.default_rng(0).integers(-200, 300, (6, 8, 10)).astype(np.int16)
    volume = Volume(array, VoxelGrid(array.shape, np.eye(4)), "CT", "test")
    reports: list[Progress] = []
    # Two windows, so that each plane is looked through twice.
    request = SegmentRequest(
        ("liver", "lung"), plane=Plane.AXIAL, slices=slices, more_planes=(Plane.CORONAL, Plane.SAGITTAL)
    )
    result = segmenter.segment(volume, request, RunCallbacks(progress=reports.append))
    assert len({concept.window for concept in result.concepts}) == 2
    looking = [report for report in reports if report.stage is Stage.SEGMENTING]
    done = [report.done for report in looking]
    assert {report.total for report in looking} == {2 * ((6 if slices is None else 4) + 8 + 10)}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, looking[0].total)
    assert looking[0].seconds_left is None
    assert looking[-1].seconds_left == 0
    assert all(report.seconds_left > 0 for report in looking[1:-1])
