"""Where following begins: what boxes, points and detections that show an object become."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SegmentLib.detection.exemplars import Exemplars, box_prompts
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.models.detector import PADDING_LABEL
from MedSAM3SegmentLib.progress import RunReporter
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS, PointPromptRAS, TargetPrompts
from MedSAM3SegmentLib.prompts.slice_prompts import boxes_on
from MedSAM3SegmentLib.results.tracks import StopReason
from MedSAM3SegmentLib.tracking.propagation import propagate
from MedSAM3SegmentLib.tracking.tracked_objects import drawn_objects, masks_of_drawn_boxes
from support.disc_objects import ALL, DEPTH, STACK, ball, box, detections, disc, followed, ras
from support.scripted_tracker import ScriptedTracker


def test_a_deep_box_seeds_its_middle_and_ends_where_it_ends() -> None:
    prompts = TargetPrompts(boxes=(box(12, 18, 20, 44, 20, 44),))
    (one,) = drawn_objects("it", prompts, STACK, range(DEPTH))
    assert [seed.slice_index for seed in one.seeds] == [15]
    organ = ball(2, 35)
    (track,) = followed(organ, one)
    assert sorted(track.masks) == list(range(12, 19))
    assert {stop.reason for stop in track.stops} == {StopReason.LEFT_REGION}
    assert track.shown, "by a person, whatever the score"


def test_boxes_on_one_slice_are_separate_objects_with_the_points_inside() -> None:
    left, right = box(15, 15, 20, 44, 4, 24), box(15, 15, 20, 44, 40, 60)
    points = (PointPromptRAS(ras(15, 30, 50)), PointPromptRAS(ras(15, 30, 10), positive=False))
    one, other = drawn_objects("it", TargetPrompts(points, (left, right)), STACK, range(DEPTH))
    assert one.seeds[0].points is not None
    assert one.seeds[0].points.labels == (0,)
    assert other.seeds[0].points is not None
    assert sorted(other.seeds[0].points.labels) == [0, 1]


def test_a_negative_click_elsewhere_corrects_what_was_tracked_there() -> None:
    organ = ball(8, 29)
    prompts = TargetPrompts((PointPromptRAS(ras(18, 32, 32)), PointPromptRAS(ras(25, 32, 32), positive=False)))
    (one,) = drawn_objects("it", prompts, STACK, range(DEPTH))
    tracker = ScriptedTracker(organ)
    (track,) = propagate([one], tracker, lambda index: index, ALL, RunReporter())  # type: ignore
    assert set(tracker.prompts) == {18, 25}
    assert tracker.prompts[25].labels == (0,)  # type: ignore[union-attr]
    assert np.array_equal(tracker.prompts[25].refines.numpy() > 0, organ[25])  # type: ignore[union-attr]
    assert track.seeds == (18, 25)


def test_marks_that_only_say_where_it_is_not_are_refused() -> None:
    prompts = TargetPrompts((PointPromptRAS(ras(18, 32, 32), positive=False),))
    with pytest.raises(InputError, match="where it is"):
        drawn_objects("it", prompts, STACK, range(DEPTH))


def test_a_detection_that_fills_the_box_is_the_seed_and_another_is_not() -> None:
    prompts = TargetPrompts(boxes=(box(15, 15, 18, 46, 18, 46),))
    (one,) = drawn_objects("it", prompts, STACK, range(DEPTH))
    detected = masks_of_drawn_boxes(one, detections({15: disc(14)}), STACK)
    assert detected.seeds[0].mask is not None
    assert np.array_equal(detected.seeds[0].mask, disc(14))
    assert not detected.seeds[0].drawn
    elsewhere = masks_of_drawn_boxes(one, detections({15: disc(14, 10, 10)}), STACK)
    assert elsewhere.seeds[0].points == one.seeds[0].points


def test_exemplars_serve_their_own_slices_first_and_then_those_in_reach() -> None:
    near, far, negative = boxes_on(
        STACK,
        [box(10, 12, 4, 8, 4, 8), box(20, 20, 4, 8, 4, 8), BoxPromptRAS(box(12, 12, 0, 31, 0, 15).corners, False)],
    )
    exemplars = Exemplars((near, far, negative), reach=4)
    assert exemplars.at(12) == (near, negative)
    assert exemplars.at(11) == (near,)
    assert exemplars.at(18) == (far,)
    assert exemplars.at(5) == ()
    prompts = box_prompts([exemplars.at(12), exemplars.at(5)])
    assert prompts.labels.tolist() == [[1, 0], [PADDING_LABEL, PADDING_LABEL]]
    assert prompts.boxes[0, 1].tolist() == pytest.approx([0.125, 0.25, 15 / 64, 31 / 64], abs=0.01)
