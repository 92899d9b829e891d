"""An object that splits into two beside a drawn slice, or two that become one: followed, or it is said that not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.evaluation.metrics import dice
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import MaskPromptRAS, TargetPrompts
from MedSAM3SegmentLib.request import Mode, SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.tracks import SliceSource
from MedSAM3SegmentLib.segmenter import Segmenter
from MedSAM3SegmentLib.volume import Volume
from MedSAM3SegmentLib.without_model import ShapeSegmenter

#: A Y: a trunk on slices 3 to 11, two branches from 12 to 21 that move apart.
COUNT, SIZE, TRUNK, BRANCHES = 25, 96, range(3, 12), range(12, 22)

GRID = VoxelGrid((COUNT, SIZE, SIZE), np.diag([-3.0, -3.0, 5.0, 1.0]))
STACK = SliceStack.along(GRID, Plane.AXIAL)


def y_shape() -> BoolMask:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    mask = np.zeros((COUNT, SIZE, SIZE), bool)
    for index in TRUNK:
        mask[index] = ((rows - 48) / 9) ** 2 + ((columns - 48) / 13) ** 2 <= 1
    for index in BRANCHES:
        away = 7 + 1.6 * (index - BRANCHES.start)
        for column in (48 - away, 48 + away):
            mask[index] |= (rows - 48) ** 2 + (columns - column) ** 2 <= 64
    return mask


TRUTH = y_shape()


def draw_y(noise: int) -> Volume:
    """The Y, as bright as an organ, in a body of fat; ``noise`` is the seed of its noise."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    body = ((rows - 48) / 40) ** 2 + ((columns - 48) / 44) ** 2 <= 1
    image = np.where(body, -90.0, -1000.0) * np.ones((COUNT, 1, 1))
    image[TRUTH] = 120
    image += np.random.default_rng(noise).normal(0, 12, image.shape)
    return Volume(STACK.insert(image.astype(np.int16)), GRID, "CT")


@pytest.fixture(scope="module")
def volume() -> Volume:
    return draw_y(0)


@pytest.fixture(scope="module")
def demo() -> Segmenter:
    return Segmenter.load("demo", "cpu")


def followed(segmenter: SegmenterProtocol, volume: Volume, drawn: tuple[int, ...]) -> tuple[ConceptResult, BoolMask]:
    mask = np.zeros_like(TRUTH)
    mask[list(drawn)] = TRUTH[list(drawn)]
    marks = MaskPromptRAS(np.ascontiguousarray(STACK.insert(mask)), drawn)
    prompts = {"vessel": TargetPrompts(masks=(marks,), is_phrase=False)}
    request = SegmentRequest(("vessel",), plane=STACK.plane, mode=Mode.FROM_PROMPTS, prompts=prompts)
    (concept,) = segmenter.segment(volume, request).concepts
    found = STACK.extract(concept.mask)
    assert np.array_equal(found[list(drawn)], TRUTH[list(drawn)])
    return concept, found


def parts(mask: BoolMask) -> int:
    return int(ndimage.label(mask)[1])


@pytest.mark.parametrize("noise", [0, 1, 2])
def test_both_branches_are_followed_from_the_last_slice_before_they_part(demo: Segmenter, noise: int) -> None:
    concept, found = followed(demo, draw_y(noise), (5, 8, 11))
    near = list(range(12, 18))
    assert all(dice(found[index], TRUTH[index]) >= 0.9 for index in near)
    assert [parts(found[index]) for index in (12, 14, 15, 16)] == [1, 2, 2, 2]
    assert not found[BRANCHES.stop + 1 :].any(), "within one slice, as ends are counted"
    assert {concept.sources[index] for index in near} <= {SliceSource.TRACKED, SliceSource.TRACKED_MOVED}


def test_nothing_is_found_beyond_their_ends(demo: Segmenter, volume: Volume) -> None:
    _, found = followed(demo, volume, (5, 8, 11))
    assert not found[BRANCHES.stop :].any()


@pytest.mark.xfail(
    strict=False,  # one pixel decides, which rounds differently on other processors
    reason="On 13 they are 1.2 pixels apart, a pixel of the demo model's masks is 1.5: it sees one piece.",
)
def test_branches_are_two_pieces_as_soon_as_they_part(demo: Segmenter, volume: Volume) -> None:
    _, found = followed(demo, volume, (5, 8, 11))
    near = list(range(12, 17))
    assert [parts(found[index]) for index in near] == [parts(TRUTH[index]) for index in near]


@pytest.mark.parametrize("noise", [0, 1, 2])
def test_where_branches_join_the_trunk_is_followed_or_it_is_said_why_not(demo: Segmenter, noise: int) -> None:
    concept, found = followed(demo, draw_y(noise), (12, 15, 18))
    assert all(dice(found[index], TRUTH[index]) >= 0.9 for index in range(12, 20))
    (downwards,) = (stop for track in concept.tracks for stop in track.stops if not stop.forward)
    reached = [index for index in TRUNK if index > downwards.slice_index]
    assert all(dice(found[index], TRUTH[index]) >= 0.9 for index in reached)
    assert not found[: downwards.slice_index + 1].any()
    assert downwards.detail


@pytest.mark.xfail(strict=True, reason="The demo model's tracker has a Dice of 0.81 on the second slice.")
def test_branches_are_followed_two_slices_beyond_the_drawn_ones(demo: Segmenter, volume: Volume) -> None:
    _, found = followed(demo, volume, (12, 15, 18))
    assert all(dice(found[index], TRUTH[index]) >= 0.9 for index in (19, 20))


@pytest.mark.parametrize("drawn", [(5, 8, 11), (12, 15, 18), (8, 11, 12, 15), (8, 11, 14, 17)])
def test_without_a_tracker_nothing_is_invented(volume: Volume, drawn: tuple[int, ...]) -> None:
    _, found = followed(ShapeSegmenter(), volume, drawn)
    assert not found[: drawn[0]].any()
    assert not found[drawn[-1] + 1 :].any()
    between = range(drawn[0], drawn[-1] + 1)
    assert all(dice(found[index], TRUTH[index]) >= 0.95 for index in between)
    # On slice 13 a pixel lies between the branches.
    apart = [index for index in between if index != 13]
    assert [parts(found[index]) for index in apart] == [parts(TRUTH[index]) for index in apart]
