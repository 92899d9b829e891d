"""An object that was detected in pieces is one object to whoever drew a slice in each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.interpolation.fill_track import drawn_track
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import ConceptResult
from MedSAM3SegmentLib.results.tracks import SliceSource
from MedSAM3SegmentLib.search_region import SearchRegion
from MedSAM3SegmentLib.tracking.join_detections import labels_of_drawn, with_detections
from MedSAM3SegmentLib.tracking.tracked_objects import ConditioningPrompt, TrackedObject
from support.results import axial_grid, concept_with

STACK = SliceStack.along(axial_grid((20, 30, 30)), Plane.AXIAL)

_rows, _columns = np.mgrid[:30, :30]


def disc(column: float) -> BoolMask:
    return np.asarray((_rows - 15) ** 2 + (_columns - column) ** 2 <= 25)


def in_pieces() -> ConceptResult:
    """One object on slices 2 to 7 and 12 to 17, spoiled between, and another one beside it."""
    labels = np.zeros((20, 30, 30), np.uint16)
    labels[2:8, disc(8)] = 1
    labels[12:18, disc(8)] = 2
    labels[2:18, disc(22)] = 3
    return replace(concept_with(STACK, []), instance_map=STACK.insert(labels))


def drawn_on(*indices: int) -> TrackedObject:
    seeds = tuple(ConditioningPrompt(index, disc(8), drawn=True) for index in indices)
    return TrackedObject("liver", seeds, 1.0, range(20))


def test_each_piece_that_was_drawn_belongs_to_it_and_nothing_else() -> None:
    found = in_pieces()
    assert labels_of_drawn(drawn_on(6, 9, 13), found, STACK) == (1, 2)
    assert labels_of_drawn(drawn_on(9, 13), found, STACK) == (2,)
    assert labels_of_drawn(drawn_on(9), found, STACK) == ()


def test_slices_of_every_piece_are_added() -> None:
    region = SearchRegion.of(SegmentRequest(("liver",), plane=Plane.AXIAL), STACK)
    track = with_detections(drawn_track({6: disc(8), 13: disc(8)}), in_pieces(), (1, 2), region)
    assert sorted(track.masks) == [*range(2, 8), *range(12, 18)]
    assert {track.source_of(index) for index in track.masks if index not in (6, 13)} == {SliceSource.DETECTED}
