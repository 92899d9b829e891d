"""Which slice to draw next: the middle of what is least sure, and beyond a wide end that nobody looked at."""

from __future__ import annotations

import numpy as np

from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.interpolation.fill_track import drawn_track, fill_track
from MedSAM3SegmentLib.results.suggest_slice import doubt_by_slice, suggest_slice, with_next_slice
from MedSAM3SegmentLib.results.tracks import SliceSource, Stop, StopReason
from MedSAM3SegmentLib.volume import Volume
from support.results import axial_grid, concept_with, result_of

SHAPE = (30, 40, 40)
GRID = axial_grid(SHAPE, (1.0, 1.0, 2.0))
STACK = SliceStack.along(GRID, Plane.AXIAL)
VOLUME = Volume(np.zeros(SHAPE, np.float32), GRID)

_rows, _columns = np.mgrid[:40, :40]


def disc(radius):
    return (_rows - 20) ** 2 + (_columns - 20) ** 2 <= radius**2


def filled(drawn, stops=()):
    track = fill_track(drawn_track(drawn), STACK, VOLUME)
    object.__setattr__(track, "stops", stops)
    concept = concept_with(STACK, [])
    return assemble(type(concept)(**{**vars(concept), "tracks": (track,)}), STACK, 0.5)


ENDED = (Stop(28, True, StopReason.OBJECT_GONE, ""), Stop(1, False, StopReason.OBJECT_GONE, ""))


def test_the_middle_of_the_longest_gap_is_suggested_where_all_else_is_equal():
    concept = filled({2: disc(10), 8: disc(10), 27: disc(10)}, ENDED)
    suggested = suggest_slice(concept, STACK)
    assert 16 <= suggested.slice_index <= 19
    assert suggested.source is SliceSource.INTERPOLATED
    assert suggested.drawn_mm == 2.0 * min(suggested.slice_index - 8, 27 - suggested.slice_index)


def test_drawn_slices_have_no_doubt_and_are_never_suggested():
    concept = filled({2: disc(10), 8: disc(10), 27: disc(10)}, ENDED)
    assert not {2, 8, 27} & doubt_by_slice(concept, STACK).keys()


def test_a_wide_end_that_nothing_looked_beyond_is_suggested_and_a_pointed_one_is_not():
    concept = filled({10: disc(1), 12: disc(6), 14: disc(12)})
    assert suggest_slice(concept, STACK).slice_index == 15
    assert 9 not in doubt_by_slice(concept, STACK)


def test_an_end_that_was_looked_beyond_is_not_suggested():
    concept = filled({10: disc(12), 14: disc(12)}, (Stop(15, True, StopReason.OBJECT_GONE, ""), ENDED[1]))
    assert 10 < suggest_slice(concept, STACK).slice_index < 14


def test_nothing_is_suggested_where_nothing_was_found():
    result = result_of(VOLUME, {"liver": np.zeros(SHAPE, bool)}, Plane.AXIAL)
    assert suggest_slice(result.concepts[0], result.stack) is None


def test_a_concept_says_what_each_of_its_slices_rests_on():
    concept = with_next_slice(filled({2: disc(10), 5: disc(10)}, ENDED), STACK)
    assert concept.sources == {
        2: SliceSource.DRAWN,
        3: SliceSource.INTERPOLATED,
        4: SliceSource.INTERPOLATED,
        5: SliceSource.DRAWN,
    }
