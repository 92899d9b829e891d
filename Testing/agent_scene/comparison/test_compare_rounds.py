"""Two segmentations in numbers: as counting voxels gives them, also on other voxels, and for nothing at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from MedSAM3AgentSceneLib.comparison.compare_rounds import compare_segmentations
from MedSAM3SegmentLib.errors import InputError
from support.nodes import add_segmentation, add_transform, add_volume, add_warp, lattices, rigid, snapshot
from support.segment_writing import boxes

pytestmark = pytest.mark.usefixtures("scene")

SHAPE = (10, 12, 14)
OBLIQUE = rigid((7, -12, 31), (30.5, -12.25, 8.0)) @ np.diag([0.9, 0.8, 2.5, 1.0])


def drawn(matrix=OBLIQUE, shape=SHAPE, parent=None, **masks):
    return add_segmentation(add_volume(np.zeros(shape, np.int16), matrix, parent), masks)


def by_name(compared):
    return {one.name: one for one in compared}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrix=lattices(), seed=st.integers(0, 2**31), share=st.floats(0.02, 0.9))
def test_numbers_are_those_of_counted_voxels(scene, matrix, seed, share) -> None:
    scene.Clear(False)
    one, other = np.random.default_rng(seed).random((2, *SHAPE)) < share
    one[0, 0, 0] = other[1, 1, 1] = True
    first, second = drawn(matrix, liver=one), drawn(matrix, liver=other)
    before = snapshot(first), snapshot(second)

    (compared,) = compare_segmentations(first, second)

    ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
    assert compared.dice == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()), abs=1e-9)
    found = (compared.volume_first_ml, compared.volume_second_ml, compared.added_ml, compared.removed_ml)
    wanted = [int(mask.sum()) * ml for mask in (one, other, other & ~one, one & ~other)]
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert compared.note == ""
    assert (snapshot(first), snapshot(second)) == before


def test_segments_are_paired_by_name_and_nothing_is_left_out() -> None:
    a, b, c, nothing = boxes(
        ((1, 1, 1), (4, 4, 4)), ((2, 1, 1), (5, 4, 4)), ((6, 6, 6), (9, 9, 9)), ((0, 0, 0), (0, 0, 0)), shape=SHAPE
    )
    first = drawn(liver=a, spleen=c, empty=nothing)
    second = drawn(tumor=c, empty=nothing, liver=b)
    found = by_name(compare_segmentations(first, second))

    assert list(found) == ["liver", "spleen", "empty", "tumor"]
    assert found["liver"].dice == pytest.approx(2 / 3)
    assert (found["spleen"].dice, found["spleen"].added_ml, found["spleen"].volume_second_ml) == (0.0, 0.0, 0.0)
    assert found["spleen"].removed_ml == pytest.approx(found["spleen"].volume_first_ml)
    assert "Only the first" in found["spleen"].note
    assert "Only the second" in found["tumor"].note
    assert found["tumor"].added_ml == pytest.approx(found["tumor"].volume_second_ml)
    assert found["empty"].dice == 1.0
    assert "Both are empty" in found["empty"].note


def test_an_empty_segment_is_not_one_that_is_not_there() -> None:
    a, nothing = boxes(((1, 1, 1), (4, 4, 4)), ((0, 0, 0), (0, 0, 0)), shape=SHAPE)
    first, second = drawn(liver=a, gone=nothing), drawn(liver=nothing)
    found = by_name(compare_segmentations(first, second))
    assert (found["liver"].dice, found["liver"].removed_ml) == (0.0, found["liver"].volume_first_ml)
    assert found["gone"].dice == 0.0
    assert "Only the first" in found["gone"].note


def test_two_segments_of_one_name_are_told_apart() -> None:
    a, b = boxes(((1, 1, 1), (4, 4, 4)), ((6, 6, 6), (9, 9, 9)), shape=SHAPE)
    first, second = drawn(one=a, two=b), drawn(one=a, two=b)
    for node in (first, second):
        for one in ("one", "two"):
            node.GetSegmentation().GetSegment(one).SetName("met")
    assert [(one.name, one.dice) for one in compare_segmentations(first, second)] == [("met", 1.0), ("met (2)", 1.0)]


def test_other_voxels_of_the_same_place_are_compared_and_that_is_said() -> None:
    """One voxel of the coarse one is two of the fine one, so that the nearest ones are exact."""
    coarse = np.zeros((6, 8, 10), bool)
    coarse[1:5, 2:6, 2:8] = True
    fine = np.repeat(coarse, 2, axis=0)
    half = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, -0.5], [0, 0, 0, 1]])
    first = drawn(np.diag([1.0, 1.0, 4.0, 1.0]), coarse.shape, liver=coarse)
    half[2, 3] = -1.0
    second = drawn(half, fine.shape, liver=fine)
    (compared,) = compare_segmentations(first, second)
    assert compared.dice == pytest.approx(1.0)
    assert compared.volume_first_ml == pytest.approx(compared.volume_second_ml)
    assert "do not coincide" in compared.note
    (back,) = compare_segmentations(second, first)
    assert back.dice == pytest.approx(1.0)


def test_turned_and_cropped_geometries_of_one_place_are_exact() -> None:
    mask = np.random.default_rng(2).random(SHAPE) < 0.4
    flipped = OBLIQUE.copy()
    flipped[:3, 3] += OBLIQUE[:3, 2] * (SHAPE[0] - 1)
    flipped[:3, 2] *= -1
    first, second = drawn(liver=mask), drawn(flipped, liver=mask[::-1].copy())
    (compared,) = compare_segmentations(first, second)
    assert (compared.dice, compared.note) == (1.0, "")


def test_transforms_count() -> None:
    (mask,) = boxes(((2, 2, 2), (6, 6, 6)), shape=SHAPE)
    turn = rigid((10, 20, 30), (4, 5, 6))
    first, second = drawn(turn @ OBLIQUE, liver=mask), drawn(OBLIQUE, parent=add_transform(turn), liver=mask)
    (compared,) = compare_segmentations(first, second)
    assert compared.dice == pytest.approx(1.0)
    apart = drawn(OBLIQUE, parent=add_transform(rigid((0, 0, 0), (500, 0, 0))), liver=mask)
    (compared,) = compare_segmentations(first, apart)
    assert compared.dice == 0.0
    assert compared.added_ml == pytest.approx(compared.volume_second_ml)


def test_what_cannot_be_compared_is_refused() -> None:
    (mask,) = boxes(((2, 2, 2), (6, 6, 6)), shape=SHAPE)
    first = drawn(liver=mask)
    with pytest.raises(InputError):
        compare_segmentations(first, None)
    with pytest.raises(InputError, match="not a segmentation"):
        compare_segmentations(first, add_volume(np.zeros(SHAPE, np.int16)))
    with pytest.raises(InputError, match="non-linear"):
        compare_segmentations(first, drawn(parent=add_warp(), liver=mask))
