"""Objects that go on beyond what was looked at: on which side, and by what they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.assembly.find_cut_off import find_cut_off
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.reporting.sentences import describe_cut_off
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.cut_off import CutOff, Limit, Side
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from MedSAM3SegmentLib.search_region import SearchRegion
from support.results import axial_grid, concept_with

GRID = axial_grid((10, 12, 14), (1.0, 1.0, 4.0))
STACK = SliceStack.along(GRID, Plane.AXIAL)


def block(k: tuple[int, int], j: tuple[int, int] = (4, 8), i: tuple[int, int] = (4, 8)) -> np.ndarray:
    labels = np.zeros(GRID.shape, np.uint16)
    labels[slice(*k), slice(*j), slice(*i)] = 1
    return labels


def region_of(slices: tuple[int, int] | None = None, plane: Plane = Plane.AXIAL, **more: object) -> SearchRegion:
    stack = SliceStack.along(GRID, plane)
    return SearchRegion.of(SegmentRequest(("liver",), plane=plane, slices=slices, **more), stack)


def cut(labels: np.ndarray, region: SearchRegion | None = None) -> set[CutOff]:
    stack = STACK if region is None else region.stack
    return set(find_cut_off(labels, stack, region).get(1, ()))


def test_what_lies_within_is_not_cut_off() -> None:
    assert cut(block((2, 8))) == set()
    assert cut(block((3, 6)), region_of((2, 7))) == set()


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (block((0, 4)), CutOff(Limit.VOLUME, Side.INFERIOR, 0)),
        (block((6, 10)), CutOff(Limit.VOLUME, Side.SUPERIOR, 9)),
        (block((2, 8), j=(0, 5)), CutOff(Limit.VOLUME, Side.ANTERIOR)),
        (block((2, 8), j=(7, 12)), CutOff(Limit.VOLUME, Side.POSTERIOR)),
        (block((2, 8), i=(0, 5)), CutOff(Limit.VOLUME, Side.RIGHT)),
        (block((2, 8), i=(9, 14)), CutOff(Limit.VOLUME, Side.LEFT)),
    ],
)
def test_the_faces_of_the_volume_are_sides_of_the_patient(labels: np.ndarray, part: CutOff) -> None:
    assert cut(labels) == {part}


def test_the_chosen_slices_are_told_from_the_end_of_the_volume() -> None:
    through = block((0, 10))
    assert cut(through, region_of((3, 6))) == {
        CutOff(Limit.SLICES, Side.INFERIOR, 3),
        CutOff(Limit.SLICES, Side.SUPERIOR, 5),
    }
    assert cut(block((0, 6)), region_of((0, 6))) == {
        CutOff(Limit.VOLUME, Side.INFERIOR, 0),
        CutOff(Limit.SLICES, Side.SUPERIOR, 5),
    }
    assert cut(block((9, 10)), region_of((9, 10))) == {
        CutOff(Limit.SLICES, Side.INFERIOR, 9),
        CutOff(Limit.VOLUME, Side.SUPERIOR, 9),
    }


@pytest.mark.parametrize(
    ("plane", "sides"), [(Plane.SAGITTAL, (Side.RIGHT, Side.LEFT)), (Plane.CORONAL, (Side.ANTERIOR, Side.POSTERIOR))]
)
def test_slices_of_another_plane_have_its_sides(plane: Plane, sides: tuple[Side, Side]) -> None:
    found = cut(block((2, 8), (5, 7), (5, 7)), region_of((5, 7), plane))
    assert found == {CutOff(Limit.SLICES, sides[0], 5), CutOff(Limit.SLICES, sides[1], 6)}


def test_a_region_cuts_beside_the_slices() -> None:
    # R from -7.4 to -3.6: columns 4 to 7, of which the object touches the last.
    region = region_of(region=BoxPromptRAS(((-7.4, -100.0, -100.0), (-3.6, 100.0, 100.0))))
    assert cut(block((2, 8), i=(6, 8)), region) == {CutOff(Limit.REGION, Side.LEFT)}


def test_objects_are_told_apart() -> None:
    labels = block((0, 4))
    labels[6:8, 4:8, 4:8] = 2
    assert set(find_cut_off(labels, STACK, None)) == {1}


def test_neither_frames_nor_a_single_slice_are_ends_of_an_object() -> None:
    film = replace(region_of((3, 6)), is_picture=True)
    assert cut(block((3, 6)), film) == set()
    assert cut(block((3, 6), j=(0, 5)), film) == {CutOff(Limit.VOLUME, Side.PICTURE_TOP)}
    flat = VoxelGrid((1, 12, 14), GRID.ijk_to_ras)
    labels = np.zeros(flat.shape, np.uint16)
    labels[0, 4:8, 4:8] = 1
    assert find_cut_off(labels, SliceStack.along(flat), None) == {}


def detected(shape: tuple[int, int], rows: tuple[int, int], slices: range) -> list[SliceDetections]:
    picture = np.zeros(shape, np.float32)
    picture[slice(*rows), 4:10] = 0.99
    detection = Detection(0.9, 0.9, 1.0, (0, 0, 1, 1), SoftMask.of(picture))
    return [
        SliceDetections(n, 0.9 if n in slices else 0.0, 1.0, (detection,) if n in slices else ()) for n in range(10)
    ]


@pytest.mark.parametrize(("rows", "is_cut"), [((3, 9), True), ((3, 6), False), ((0, 7), False)])
def test_a_container_cuts_what_was_seen_beyond_it_by_more_than_a_rim(rows: tuple[int, int], is_cut: bool) -> None:
    container = np.zeros(GRID.shape, bool)
    container[:, 0:6] = True
    evidence = detected(STACK.slice_shape, rows, range(3, 7))
    done = assemble(concept_with(STACK, evidence), STACK, 0.5, search_region=region_of(inside=container))
    assert int(done.mask.sum()) == 4 * (6 - rows[0]) * 6
    assert (CutOff(Limit.CONTAINER) in done.cut_off) == is_cut


def test_an_object_that_ends_with_its_container_may_go_on() -> None:
    container = np.zeros(GRID.shape, bool)
    container[3:6] = True
    region = region_of(inside=container)
    done = assemble(
        concept_with(STACK, detected(STACK.slice_shape, (3, 6), range(3, 6))), STACK, 0.5, search_region=region
    )
    assert set(done.cut_off) == {
        CutOff(Limit.CONTAINER, Side.INFERIOR, 3),
        CutOff(Limit.CONTAINER, Side.SUPERIOR, 5),
    }
    (sentence,) = describe_cut_off(done)
    assert "border of what it had to lie in (inferior, slice 3; superior, slice 5)" in sentence


def test_the_sentence_names_every_end_once() -> None:
    region = region_of((3, 6))
    done = assemble(
        concept_with(STACK, detected(STACK.slice_shape, (0, 6), range(3, 6))), STACK, 0.5, search_region=region
    )
    assert describe_cut_off(done) == (
        "'liver' is cut off at the end of the slices that were looked at (inferior, slice 3; superior, slice 5), at "
        "the edge of the image (anterior), so its volume is not that of the whole structure.",
    )


@settings(deadline=None, max_examples=60)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL]),
)
def test_the_side_is_where_the_face_lies_in_the_patient(
    order: list[int], signs: tuple[float, float, float], axis: int, last: bool, plane: Plane
) -> None:
    """However voxels are stored, the side that is named is the direction from the middle of the volume to the face."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, order] * np.array(signs)
    grid = VoxelGrid((7, 7, 7), matrix)
    labels = np.zeros(grid.shape, np.uint16)
    place = [3, 3, 3]
    place[axis] = 6 if last else 0
    labels[tuple(place)] = 1
    (part,) = find_cut_off(labels, SliceStack.along(grid, plane), None)[1]
    away = grid.to_ras(np.array(place[::-1], float)) - grid.to_ras(np.array([3.0, 3.0, 3.0]))
    towards = int(np.argmax(np.abs(away)))
    names = [("left", "right"), ("posterior", "anterior"), ("inferior", "superior")]
    assert part.side == names[towards][int(away[towards] > 0)]
