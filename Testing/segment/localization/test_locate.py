"""Localization from template scans: the right slices, whatever the field of view, or an honest word that it is not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.localization.locate import locate_structures
from MedSAM3SegmentLib.localization.place import Standing
from MedSAM3SegmentLib.prompts.examples import Example
from MedSAM3SegmentLib.synthetic.phantom import Contrast, make_phantom, tilted_grid
from MedSAM3SegmentLib.volume import Volume

GRID = tilted_grid((40, 64, 64), (5.8, 5.8, 5.0))


@cache
def patient(seed: int):
    return make_phantom(seed, GRID, Contrast.CT, absence=0.0)


def template(concept: str, seed: int = 915005) -> dict[str, list[Example]]:
    return {concept: [Example(patient(seed).volume, patient(seed).masks[concept])]}


def moved(volume: Volume, mask, first: int, end: int):
    """Some slices of a volume, turned round and put elsewhere in the scanner."""
    grid = volume.grid
    matrix = grid.ijk_to_ras @ np.array(
        [[-1, 0, 0, grid.shape[2] - 1], [0, 1, 0, 0], [0, 0, -1, end - 1], [0, 0, 0, 1.0]]
    )
    matrix[:3, 3] += (40, -25, 700)
    array = volume.array[first:end][::-1, :, ::-1]
    cut = VoxelGrid((end - first, *grid.shape[1:]), matrix)
    return replace(volume, array=np.ascontiguousarray(array), grid=cut), mask[first:end][::-1, :, ::-1]


def ends(mask) -> tuple[int, int]:
    there = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(there[0]), int(there[-1])


@pytest.mark.parametrize("concept", ["liver", "left kidney"])
def test_an_organ_is_found_within_a_slice_in_another_field_of_view_and_orientation(concept):
    new = patient(910012)
    volume, mask = moved(new.volume, new.masks[concept], 3, 38)
    place = locate_structures(volume, template(concept))[concept]
    first, last = ends(mask)
    assert place.standing is Standing.FOUND
    assert abs(place.tight[0][0] - first) <= 1
    assert abs(place.tight[0][1] - 1 - last) <= 1
    assert place.box[0][0] <= first
    assert place.box[0][1] > last
    inside = np.zeros(mask.shape, bool)
    inside[tuple(slice(*part) for part in place.box)] = True
    assert (mask & inside).sum() >= 0.98 * mask.sum()


def test_what_was_taken_out_or_lies_outside_is_not_searched():
    new = patient(910012)
    kidney = new.masks["left kidney"]
    array = np.where(kidney, np.int16(-60), new.volume.array)
    gone = replace(new.volume, array=array)
    place = locate_structures(gone, template("left kidney"))["left kidney"]
    assert place.standing is Standing.NOT_SEEN
    assert not place.is_searched
    assert place.box is None


def test_what_looks_nothing_like_the_templates_is_searched_everywhere():
    noise = np.random.default_rng(0).normal(0, 300, GRID.shape).astype(np.int16)
    place = locate_structures(Volume(noise, GRID, "CT"), template("liver"))["liver"]
    assert place.standing is Standing.UNKNOWN
    assert place.is_searched
    assert place.box is None


def test_another_kind_of_image_and_pictures_are_refused():
    new = patient(910012).volume
    with pytest.raises(InputError, match="another kind of image"):
        locate_structures(replace(new, modality="MR"), template("liver"))
    picture = Volume(np.zeros((1, 8, 8), np.uint8), VoxelGrid((1, 8, 8), np.eye(4)))
    with pytest.raises(InputError, match="a picture"):
        locate_structures(picture, template("liver"))


def test_a_concept_that_no_template_shows_is_said_and_a_run_can_be_cancelled():
    volume = patient(910012).volume
    assert locate_structures(volume, {"liver": []})["liver"].standing is Standing.NOT_SHOWN

    def cancel():
        raise Cancelled()

    with pytest.raises(Cancelled):
        locate_structures(volume, template("liver"), cancel)


def test_a_cancel_comes_through_within_one_round_of_bending_and_steps_are_told():
    volume, calls, told = patient(910012).volume, [], []
    locate_structures(
        volume, template("liver"), lambda: calls.append(None), lambda done, total: told.append((done, total))
    )
    assert told[0][0] == 0
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == told[-1][1]
    # Between two steps, and in each round of bending, of which there are dozens.
    assert len(calls) > 100

    for last in (20, len(calls) // 2, len(calls) - 5):
        asked = []

        def cancel(last=last, asked=asked):
            asked.append(None)
            if len(asked) >= last:
                raise Cancelled()

        with pytest.raises(Cancelled):
            locate_structures(volume, template("liver"), cancel)
        assert len(asked) == last
