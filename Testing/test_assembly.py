"""From evidence to objects: what is kept, what is dropped, and what the user is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.assembly import assemble, resize
from MedSAM3SegmentLib.detection import crop
from MedSAM3SegmentLib.grid import Plane, SliceStack, VoxelGrid
from MedSAM3SegmentLib.intensity import Window
from MedSAM3SegmentLib.result import ConceptResult, Detection, SliceEvidence


def stack_of(slices: int, thickness: float = 5.0, edge: int = 32) -> SliceStack:
    return SliceStack.along(VoxelGrid((slices, edge, edge), np.diag([-1.0, -1.0, thickness, 1.0])), Plane.AXIAL)


def square(top: int, left: int, edge: int, size: int = 16) -> np.ndarray:
    picture = np.zeros((size, size), np.float32)
    picture[top : top + edge, left : left + edge] = 0.98
    return picture


def seen(index: int, *objects: tuple[float, np.ndarray]) -> SliceEvidence:
    detections = tuple(Detection(score, score, 1.0, (0, 0, 1, 1), crop(picture)) for score, picture in objects)
    return SliceEvidence(index, max((score for score, _ in objects), default=0.01), 1.0, detections)


def concept_with(stack: SliceStack, evidence: list[SliceEvidence]) -> ConceptResult:
    shape = stack.grid.shape
    return ConceptResult(
        "liver",
        "liver",
        Window(0, 1),
        tuple(evidence),
        False,
        "",
        np.zeros(shape, bool),
        np.zeros(shape, np.uint16),
        (),
    )


def test_object_through_several_slices_is_found_at_its_place() -> None:
    stack = stack_of(10)
    evidence = [seen(n, (0.9, square(2, 4, 6))) if 3 <= n <= 6 else seen(n) for n in range(10)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert result.found
    slices = stack.extract(result.mask)
    assert [n for n in range(10) if slices[n].any()] == [3, 4, 5, 6]
    rows, columns = np.nonzero(slices[4])
    # The 16 pixel map covers the 32 pixel slice: everything doubles.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 15, 8, 19)
    assert result.instances[0].first_slice == 3
    assert result.instances[0].last_slice == 6
    assert result.instances[0].volume_mm3 == pytest.approx(result.voxels * 5.0)
    assert "slices 3 to 6" in result.reason


def test_isolated_thin_slice_is_no_object_and_the_reason_says_so() -> None:
    stack = stack_of(10, thickness=2.0)
    evidence = [seen(n, (0.9, square(2, 4, 6))) if n == 4 else seen(n) for n in range(10)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert not result.found
    assert not result.mask.any()
    assert "0.90 on slice 4" in result.reason
    assert "enough slices" in result.reason


def test_single_slice_of_a_picture_needs_no_neighbours() -> None:
    stack = stack_of(1)
    result = assemble(concept_with(stack, [seen(0, (0.6, square(2, 4, 6)))]), stack, 0.5)
    assert result.found
    assert "on slice 0" in result.reason


def test_object_goes_on_into_slices_that_are_less_sure() -> None:
    stack = stack_of(8)
    scores = [0.01, 0.3, 0.8, 0.9, 0.3, 0.01, 0.3, 0.01]
    evidence = [seen(n, (score, square(2, 4, 6))) for n, score in enumerate(scores)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    slices = stack.extract(result.mask)
    assert [n for n in range(8) if slices[n].any()] == [1, 2, 3, 4], "slice 6 is as unsure but continues nothing"


def test_two_objects_become_two_instances_largest_first() -> None:
    stack = stack_of(6)
    evidence = [seen(n, (0.9, square(1, 1, 3)), (0.8, square(8, 8, 6))) for n in range(6)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert [instance.label for instance in result.instances] == [1, 2]
    assert result.instances[0].voxels > result.instances[1].voxels
    assert np.count_nonzero(result.instance_map == 2) == result.instances[1].voxels
    assert np.array_equal(result.instance_map > 0, result.mask)


def test_nothing_above_threshold_says_how_far_below() -> None:
    stack = stack_of(4)
    evidence = [seen(n, (0.2 if n == 2 else 0.1, square(2, 4, 6))) for n in range(4)]
    result = assemble(concept_with(stack, evidence), stack, 0.5)
    assert not result.found
    assert "0.20 on slice 2" in result.reason
    assert "threshold 0.5" in result.reason


@settings(max_examples=60, deadline=None)
@given(low=st.floats(0.1, 0.9), high=st.floats(0.1, 0.9), seed=st.integers(0, 1000))
def test_a_higher_threshold_never_adds_voxels(low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    rng = np.random.default_rng(seed)
    stack = stack_of(7)
    evidence = [
        seen(
            n,
            *sorted(((float(rng.random()), square(*rng.integers(0, 10, 2), 5)) for _ in range(2)), key=lambda o: -o[0]),
        )
        for n in range(7)
    ]
    concept = concept_with(stack, evidence)
    loose, strict = assemble(concept, stack, low), assemble(concept, stack, high)
    assert not (strict.mask & ~loose.mask).any()


@settings(max_examples=40, deadline=None)
@given(
    source=st.tuples(st.integers(1, 20), st.integers(1, 20)), target=st.tuples(st.integers(1, 40), st.integers(1, 40))
)
def test_resize_is_torchs_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random(source).astype(np.float32)
    expected = functional.interpolate(torch.from_numpy(picture)[None, None], size=target, mode="bilinear")[0, 0]
    np.testing.assert_allclose(resize(picture, target), expected.numpy(), atol=1e-5)
