"""Examples of other patients are shown in the field of view of the volume that is segmented, voxels as they are."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.few_shot.match_field_of_view import match_fields_of_view
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.volume import Volume

#: Slices of 5 mm.
THICKNESS = 5.0


def patient(
    size: int, pixel: float, middle: tuple[float, float], edge: float, turned: bool = False, modality: str = "CT"
) -> Example:
    """A square body in air with a bright structure left of its middle, which is the example.

    Args:
        size: pixels of a square slice.
        middle: of the body, millimeters from the middle of the slice to the right and down on the screen.
        edge: of the body, millimeters.
        turned: whether rows are stored from back to front.
    """
    at = (np.arange(size) - (size - 1) / 2) * pixel
    right, down = at - middle[0], at - middle[1]
    body = (np.abs(down)[:, None] < edge / 2) & (np.abs(right)[None] < edge / 2)
    organ = (np.abs(down)[:, None] < 20) & (np.abs(right + edge / 4)[None] < 20)
    slices = np.where(body, 30, -1000) + 60 * organ
    array = np.broadcast_to(slices, (6, size, size)).astype(np.int16)
    mask = np.broadcast_to(organ, array.shape).copy()
    if turned:
        array, mask = array[:, ::-1], mask[:, ::-1]
    matrix = np.diag([-pixel, pixel if turned else -pixel, THICKNESS, 1.0])
    matrix[:3, 3] = (17.0, -250.0, 900.0)
    return Example(
        Volume(np.ascontiguousarray(array), VoxelGrid(array.shape, matrix), modality), np.ascontiguousarray(mask)
    )


def matched(example: Example, target: Example, plane: Plane = Plane.AXIAL) -> Example:
    stack = SliceStack.along(target.volume.grid, plane)
    return match_fields_of_view({"organ": [example]}, target.volume, stack)["organ"][0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("size", "pixel"), [(96, 2.0), (70, 5.0)])
def test_it_has_the_same_millimeters_and_the_body_at_the_same_place(size: int, pixel: float, turned: bool) -> None:
    target = patient(90, 4.0, (30.0, -20.0), 150.0)
    example = patient(size, pixel, (-8.0, 12.0), 160.0, turned)

    found = matched(example, target)

    stack, own = (SliceStack.along(one.volume.grid) for one in (target, found))
    for axis in (0, 1):
        assert own.slice_shape[axis] * pixel == pytest.approx(stack.slice_shape[axis] * 4.0, abs=pixel / 2)
    middles = []
    for one, cut in ((target, stack), (found, own)):
        _, rows, columns = np.nonzero(cut.extract(one.volume.array) > -500)
        height, width = cut.slice_shape
        middles.append(((rows.mean() + 0.5) / height, (columns.mean() + 0.5) / width))
    # The cubes that bodies are looked for in are 5 mm long.
    assert np.abs(np.array(middles[0]) - np.array(middles[1])).max() * 360 <= 5.0
    # Nothing was resampled, and every voxel is where it was in the patient.
    assert found.mask.sum() == example.mask.sum()
    for before, after in ((example.mask, found.mask), (example.volume.array > -500, found.volume.array > -500)):
        places = [
            grid.to_ras(np.argwhere(mask)[:, ::-1].astype(float))
            for mask, grid in ((before, example.volume.grid), (after, found.volume.grid))
        ]
        assert np.allclose(places[0], places[1])


def test_it_stays_as_it_is_where_bodies_tell_nothing() -> None:
    target = patient(90, 4.0, (30.0, -20.0), 150.0)
    child = patient(96, 2.0, (0.0, 0.0), 90.0)
    assert matched(child, target) is child
    other_kind = patient(96, 2.0, (0.0, 0.0), 150.0, modality="MR")
    assert matched(other_kind, target) is other_kind
    alike = patient(96, 2.0, (0.0, 0.0), 150.0)
    assert matched(alike, target, Plane.CORONAL) is alike
    assert matched(alike, alike) is alike
    # A structure at the rim would be cut off by a narrower field of view.
    mask = alike.mask.copy()
    mask[2, 0, 0] = True
    wide = Example(alike.volume, mask)
    assert matched(wide, patient(80, 2.0, (0.0, 0.0), 150.0)) is wide


def test_examples_of_one_volume_share_what_was_made_of_it() -> None:
    target, one = patient(90, 4.0, (30.0, -20.0), 150.0), patient(96, 2.0, (0.0, 0.0), 150.0)
    other = Example(one.volume, one.volume.array > -500, (1, 2))
    stack = SliceStack.along(target.volume.grid)
    found = match_fields_of_view({"organ": [one], "body": [other]}, target.volume, stack)
    assert found["organ"][0].volume is found["body"][0].volume
    assert found["body"][0].slices == (1, 2)
