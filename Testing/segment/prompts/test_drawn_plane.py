"""In which plane a mask was drawn, and what becomes of a request that goes by another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.drawn_plane import drawn_plane
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.volume import Volume
from support.results import axial_grid

GRID = axial_grid((12, 40, 44), (1.0, 1.0, 5.0))
ANATOMICAL = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)


def ball(middle: tuple[int, int, int] = (6, 20, 22), radius_mm: float = 14.0) -> np.ndarray:
    k, j, i = np.indices(GRID.shape)
    return (5.0 * (k - middle[0])) ** 2 + (j - middle[1]) ** 2 + (i - middle[2]) ** 2 <= radius_mm**2


def drawn(plane: Plane, *slices: int, mask: np.ndarray | None = None) -> np.ndarray:
    """A ball on some slices of a plane."""
    whole = ball() if mask is None else mask
    stack = SliceStack.along(GRID, plane)
    part = np.zeros(GRID.shape, bool)
    stack.extract(part)[list(slices)] = stack.extract(whole)[list(slices)]
    return part


def request_of(mask: np.ndarray, plane: Plane = Plane.ACQUIRED, **more: object) -> SegmentRequest:
    prompts = {"spleen": TargetPrompts(masks=(MaskPromptRAS(mask),), is_phrase=False)}
    return SegmentRequest(("spleen",), plane=plane, mode=Mode.FROM_PROMPTS, prompts=prompts, **more)


@pytest.mark.parametrize(
    ("plane", "slices"),
    [
        (Plane.AXIAL, (6,)),
        (Plane.AXIAL, (5, 7)),
        (Plane.CORONAL, (20,)),
        (Plane.CORONAL, (14, 20, 26)),
        (Plane.SAGITTAL, (22,)),
        (Plane.SAGITTAL, (21, 22)),
        (Plane.SAGITTAL, (12, 22, 30)),
    ],
)
@pytest.mark.parametrize("cut", ANATOMICAL)
def test_slices_that_were_drawn_are_known_in_every_other_plane(
    plane: Plane, slices: tuple[int, ...], cut: Plane
) -> None:
    mask = drawn(plane, *slices)
    found = drawn_plane(SliceStack.along(GRID, cut), [mask])
    assert found == (None if cut is plane else (plane, slices))


@pytest.mark.parametrize("cut", ANATOMICAL)
@pytest.mark.parametrize("radius_mm", [7.0, 14.0, 19.0])
def test_what_was_drawn_whole_is_in_every_plane(cut: Plane, radius_mm: float) -> None:
    assert drawn_plane(SliceStack.along(GRID, cut), [ball(radius_mm=radius_mm)]) is None


@pytest.mark.parametrize("cut", ANATOMICAL)
def test_two_that_lie_apart_were_not_drawn_slice_by_slice(cut: Plane) -> None:
    kidneys = ball((6, 20, 10), 9.0) | ball((6, 20, 34), 9.0)
    assert drawn_plane(SliceStack.along(GRID, cut), [kidneys]) is None


def test_a_single_voxel_and_nothing_lie_in_every_plane() -> None:
    dot = np.zeros(GRID.shape, bool)
    stack = SliceStack.along(GRID, Plane.SAGITTAL)
    assert drawn_plane(stack, [dot]) is None
    dot[3, 4, 5] = True
    assert drawn_plane(stack, [dot]) is None
    assert drawn_plane(stack, []) is None


def test_masks_of_one_concept_are_looked_at_together() -> None:
    stack = SliceStack.along(GRID, Plane.SAGITTAL)
    assert drawn_plane(stack, [drawn(Plane.AXIAL, 4), drawn(Plane.AXIAL, 8)]) == (Plane.AXIAL, (4, 8))


@settings(deadline=None, max_examples=50)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.sampled_from(ANATOMICAL),
    st.sampled_from(ANATOMICAL),
    st.integers(3, 7),
)
def test_however_voxels_are_stored(
    order: list[int], signs: tuple[float, float, float], plane: Plane, cut: Plane, index: int
) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, order] * np.array(signs)
    grid = VoxelGrid((11, 11, 11), matrix)
    mask = np.zeros(grid.shape, bool)
    SliceStack.along(grid, plane).extract(mask)[index, 2:9, 3:8] = True
    found = drawn_plane(SliceStack.along(grid, cut), [mask])
    assert found == (None if cut is plane else (plane, (index,)))


def test_a_request_without_a_plane_goes_by_what_was_drawn_and_says_so() -> None:
    fitted, said = request_of(drawn(Plane.SAGITTAL, 22)).in_drawn_plane(GRID)
    assert fitted.plane is Plane.SAGITTAL
    assert said == ("What was drawn for 'spleen' lies on sagittal slices (22), so sagittal slices were looked at.",)
    # Once it is named nothing is said again.
    assert fitted.in_drawn_plane(GRID) == (fitted, ())


def test_a_request_in_the_plane_that_was_drawn_in_stays_as_it_is() -> None:
    for request in (request_of(drawn(Plane.AXIAL, 6)), request_of(drawn(Plane.CORONAL, 20), Plane.CORONAL)):
        assert request.in_drawn_plane(GRID) == (request, ())


def test_slices_that_were_named_are_left_alone() -> None:
    mask = MaskPromptRAS(drawn(Plane.SAGITTAL, 22), (4, 5, 6))
    request = SegmentRequest(
        ("spleen",), mode=Mode.FROM_PROMPTS, prompts={"spleen": TargetPrompts(masks=(mask,), is_phrase=False)}
    )
    assert request.in_drawn_plane(GRID) == (request, ())


@pytest.mark.parametrize(
    "request_",
    [
        request_of(drawn(Plane.AXIAL, 6), Plane.SAGITTAL),
        request_of(drawn(Plane.SAGITTAL, 22), Plane.AXIAL),
        request_of(drawn(Plane.SAGITTAL, 22), slices=(2, 9)),
        request_of(drawn(Plane.CORONAL, 20), more_planes=(Plane.SAGITTAL,)),
    ],
)
def test_another_plane_that_was_asked_for_is_refused(request_: SegmentRequest) -> None:
    with pytest.raises(InputError, match=r"What was drawn for 'spleen' lies on \w+ slices \(\d+\) and is but a line"):
        request_.in_drawn_plane(GRID)


def test_concepts_that_were_drawn_in_different_planes_are_refused() -> None:
    masks = {"liver": drawn(Plane.AXIAL, 6), "spleen": drawn(Plane.SAGITTAL, 22)}
    prompts = {name: TargetPrompts(masks=(MaskPromptRAS(mask),), is_phrase=False) for name, mask in masks.items()}
    request = SegmentRequest(tuple(masks), mode=Mode.FROM_PROMPTS, prompts=prompts)
    with pytest.raises(InputError, match="'spleen' lies on sagittal slices"):
        request.in_drawn_plane(GRID)


def test_examples_on_some_slices_are_read_in_their_plane_too() -> None:
    volume = Volume(np.random.default_rng(0).integers(0, 99, GRID.shape).astype(np.int16), GRID, "CT", "ct")
    examples = {"spleen": (Example(volume, drawn(Plane.CORONAL, 20)),)}
    fitted, (said,) = SegmentRequest(("spleen",), examples=examples).in_drawn_plane(GRID)
    assert fitted.plane is Plane.CORONAL
    assert "coronal slices (20)" in said
    with pytest.raises(InputError, match="coronal slices"):
        SegmentRequest(("spleen",), plane=Plane.AXIAL, examples=examples).in_drawn_plane(GRID)
