"""One segment per object: which segment an object goes into when it is looked for again, and what is said of the rest.

Objects are numbered by size, so every change of size, count or threshold may change the numbers; a user knows the
segments by what they hold and by the names that they gave them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.requests.build import build_task
from MedSAM3SceneLib.requests.console import parse_spec
from MedSAM3SceneLib.runs.run import run_to_end
from MedSAM3SceneLib.runs.segmentation_run import SegmentationRun
from MedSAM3SceneLib.runs.threshold_run import ThresholdRun
from MedSAM3SceneLib.segments.provenance import read_provenance
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.geometry.soft_mask import SoftMask
from MedSAM3SegmentLib.request import Grouping
from MedSAM3SegmentLib.results.slice_detections import Detection, SliceDetections
from support.nodes import add_segmentation, add_transform, add_volume, misplaced, rigid, segment_in_world, snapshot

pytestmark = pytest.mark.usefixtures("scene")

SHAPE = (8, 40, 12)
#: Rows of each object.
LENGTH = 7
LATTICE = np.diag([-4.0, -4.0, 5.0, 1.0])
TURNED = rigid((20, -35, 50), (100, 0, 0))


class Objects(FakeSegmenter):
    """Tells objects apart as the engine does, and is as sure of each as a test says.

    Attributes:
        scores: by the width of an object; 0.9 of others.
        runs: how many there were; each is a second later than the one before.
    """

    def __init__(self, scores=None):
        super().__init__({"tumor": 1})
        self.scores = scores or {}
        self.runs = 0

    def segment(self, volume, request, *told):
        self.runs += 1
        result = super().segment(volume, request, *told)
        created = f"2000-01-01T00:00:{self.runs:02}+00:00"
        cut = tuple(assemble(concept, result.stack, 0.5) for concept in map(self._told_apart, result.concepts))
        return replace(result, concepts=cut, provenance=replace(result.provenance, created=created))

    def _told_apart(self, concept):
        return replace(concept, evidence=tuple(self._detected(item) for item in concept.evidence))

    def _detected(self, item):
        labels, count = ndimage.label(item.semantic.probability > 0.5)
        detections = []
        for label in range(1, count + 1):
            mask = labels == label
            score = self.scores.get(int(mask.sum()) // LENGTH, 0.9)
            soft = SoftMask(mask.shape, 0, 0, mask.astype(np.float16))
            detections.append(Detection(score, score, 1.0, (0.0, 0.0, 1.0, 1.0), soft))
        best = max((detection.score for detection in detections), default=0.0)
        return SliceDetections(item.slice_index, best, 1.0, tuple(detections))


def blocks(*widths):
    """Boxes one after the other along the rows, each so many columns wide; none where that is 0."""
    array = np.zeros(SHAPE, np.int16)
    for number, width in enumerate(widths):
        array[1:7, 10 * number + 1 : 10 * number + 1 + LENGTH, 1 : 1 + width] = 1
    return array


def only(array, number):
    """One of the boxes alone, as a mask."""
    mask = np.zeros(SHAPE, bool)
    mask[:, 10 * number : 10 * number + 10] = array[:, 10 * number : 10 * number + 10] == 1
    return mask


class Scene:
    """A volume whose objects a test changes, and the segmentation they go into."""

    def __init__(self, *widths, parent=None, scores=None):
        self.segmenter = Objects(scores)
        self.volume = add_volume(blocks(*widths), LATTICE, parent)
        self.writer = SegmentWriter()
        self.node = None
        self.last = None

    def set(self, *widths):
        import slicer

        slicer.util.updateVolumeFromArray(self.volume, blocks(*widths))
        return blocks(*widths)

    def run(self, grouping=Grouping.INSTANCE, **options):
        task = build_task(parse_spec(self.volume, ["tumor"], self.node, grouping=grouping, **options))
        self.last = SegmentationRun(task, LocalEngine(self.segmenter), self.writer)
        run_to_end(self.last, lambda: None)
        self.node = self.last.written.segmentation_node
        return self.last

    def move_threshold(self, threshold):
        self.last = ThresholdRun(self.last, threshold, self.writer)
        run_to_end(self.last, lambda: None)
        return self.last

    @property
    def segments(self):
        segmentation = self.node.GetSegmentation()
        return {segmentation.GetSegment(i).GetName(): i for i in segmentation.GetSegmentIDs()}

    def segment(self, name):
        return self.node.GetSegmentation().GetSegment(self.segments[name])

    def holds(self, name, mask):
        return misplaced(self.node, self.segments[name], self.volume, mask) == 0

    def is_empty(self, name):
        return len(segment_in_world(self.node, self.segments[name])) == 0


@pytest.mark.parametrize("moved", [False, True])
def test_an_object_stays_in_its_segment_when_another_becomes_the_largest(moved):
    parent = add_transform(TURNED) if moved else None
    scene = Scene(9, 7, 5, parent=parent)
    scene.run()
    scene.segment("tumor 1").SetName("L1, checked")
    array = scene.set(3, 10, 6)

    run = scene.run()

    assert list(scene.segments) == ["L1, checked", "tumor 2", "tumor 3"]
    for number, name in enumerate(scene.segments):
        assert scene.holds(name, only(array, number)), name
    assert [read_provenance(scene.segment(name))["instance"] for name in scene.segments] == [1, 2, 3]
    messages = [part.message for part in run.written.concepts]
    assert "Another object of 'tumor' is in the segment 'L1, checked'." in messages


def test_an_object_that_is_new_gets_a_segment_of_its_own_whatever_its_size():
    scene = Scene(6, 0, 5)
    scene.run()
    scene.segment("tumor 1").SetName("L1")
    array = scene.set(6, 10, 5)

    scene.run()

    assert list(scene.segments) == ["L1", "tumor 2", "tumor 3"]
    assert scene.holds("L1", only(array, 0))
    assert scene.holds("tumor 2", only(array, 2))
    assert scene.holds("tumor 3", only(array, 1))


def test_an_object_elsewhere_does_not_go_into_the_segment_with_its_number():
    scene = Scene(6, 0, 0)
    before = scene.run()
    first = snapshot(scene.node)
    array = scene.set(0, 0, 6)

    run = scene.run()

    assert before.written.segmentation_node is scene.node
    assert snapshot(scene.node)[:1] == first
    assert scene.holds("tumor 2", only(array, 2))
    (message,) = [part.message for part in run.written.concepts]
    assert "The segment 'tumor 1' of an earlier run was left as it was." in message


def test_objects_that_were_not_found_again_are_named_and_left_alone():
    scene = Scene(9, 7, 5)
    scene.run()
    before = snapshot(scene.node)
    array = scene.set(9, 0, 0)

    run = scene.run()

    assert scene.holds("tumor 1", only(array, 0))
    assert snapshot(scene.node)[1:] == before[1:]
    assert any("The segments 'tumor 2' and 'tumor 3' of earlier runs were left as" in text for text in run.messages)
    assert scene.writer.undo()
    assert snapshot(scene.node) == before


def test_where_nothing_is_found_all_segments_of_earlier_runs_are_named():
    scene = Scene(9, 7)
    scene.run()
    before = snapshot(scene.node)
    scene.set(0, 0)

    run = scene.run()

    assert snapshot(scene.node) == before
    (part,) = run.written.concepts
    assert "The segments 'tumor 1' and 'tumor 2' of earlier runs were left as they were." in part.message
    assert part.segment_id == scene.segments["tumor 1"]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Grouping.INSTANCE, Grouping.CONCEPT, "The segments 'tumor 1' and 'tumor 2' of earlier runs were left"),
        (Grouping.CONCEPT, Grouping.INSTANCE, "The segment 'tumor' of an earlier run was left"),
    ],
)
def test_segments_of_another_grouping_are_named_and_left_alone(first, second, words):
    scene = Scene(9, 7)
    scene.run(first)
    before = snapshot(scene.node)

    run = scene.run(second)

    assert snapshot(scene.node)[: len(before)] == before
    assert any(words in message for message in run.messages)
    again = scene.run(second)
    assert len(scene.segments) == 3
    assert any(words in message for message in again.messages)


def test_what_holds_nothing_is_not_worth_a_word():
    scene = Scene(9, 7)
    scene.run()
    scene.writer.begin(scene.node, scene.volume)
    for segment_id in scene.segments.values():
        run_steps_to_end(scene.writer.clear(segment_id))

    run = scene.run(Grouping.CONCEPT)

    assert not any("left as" in message for message in run.messages)


def test_a_raised_threshold_empties_dropped_objects_whatever_was_deleted():
    scene = Scene(9, 7, 5, scores={9: 0.95, 7: 0.7, 5: 0.6})
    scene.run()
    scene.node.GetSegmentation().RemoveSegment(scene.segments["tumor 2"])

    run = scene.move_threshold(0.9)

    assert scene.holds("tumor 1", only(blocks(9, 7, 5), 0))
    assert scene.is_empty("tumor 3")
    assert not any("left as" in message for message in run.messages)


def test_a_threshold_moved_up_and_down_fills_the_same_segments_again():
    scene = Scene(5, 9, 7, scores={5: 0.95, 9: 0.7, 7: 0.6})
    scene.run()
    array, names = blocks(5, 9, 7), {"tumor 1": 1, "tumor 2": 2, "tumor 3": 0}
    at_first = snapshot(scene.node)

    for threshold, count in ((0.65, 2), (0.99, 0), (0.5, 3)):
        scene.move_threshold(threshold)
        assert list(scene.segments) == list(names)
        assert sum(not scene.is_empty(name) for name in names) == count
    for _ in range(3):
        assert scene.writer.undo()
    assert snapshot(scene.node) == at_first
    for name, number in names.items():
        assert scene.holds(name, only(array, number))


def test_objects_that_stay_keep_their_segments_at_every_threshold():
    scene = Scene(5, 9, 7, scores={5: 0.95, 9: 0.7, 7: 0.6})
    scene.run()
    scene.segment("tumor 3").SetName("the sure one")
    array = blocks(5, 9, 7)

    for threshold in (0.9, 0.5, 0.65, 0.9, 0.5):
        scene.move_threshold(threshold)
        assert scene.holds("the sure one", only(array, 0)), threshold
    assert scene.holds("tumor 1", only(array, 1))
    assert scene.holds("tumor 2", only(array, 2))
    assert len(scene.segments) == 3


def test_a_renamed_empty_segment_is_not_given_an_object_by_its_number():
    scene = Scene(9, 0, scores={9: 0.6})
    scene.run()
    scene.segment("tumor 1").SetName("L1")
    scene.move_threshold(0.9)
    array = scene.set(0, 8)

    scene.run()

    assert scene.is_empty("L1")
    assert scene.holds("tumor 2", only(array, 1))


def test_a_moved_threshold_leaves_copies_other_runs_and_drawings_alone():
    scene = Scene(9, 7, scores={9: 0.6, 7: 0.6})
    drawn = add_segmentation(scene.volume, {"tumor 2": blocks(3) == 1})
    scene.node = drawn
    scene.run(Grouping.CONCEPT)
    scene.run()
    segmentation = scene.node.GetSegmentation()
    copied = segmentation.GetSegment(segmentation.GetNthSegmentID(2))
    import slicer

    backup = slicer.vtkSegment()
    backup.DeepCopy(copied)
    backup.SetName("my copy")
    segmentation.AddSegment(backup, "backup")
    before = {row[0]: row for row in snapshot(scene.node)}

    scene.move_threshold(0.9)

    after = {row[0]: row for row in snapshot(scene.node)}
    kept = [key for key in before if before[key] == after[key]]
    assert [segmentation.GetSegment(key).GetName() for key in kept] == ["tumor 2", "tumor", "my copy"]
    made = [part for part in scene.segments.values() if part not in kept]
    assert len(made) == 2
    assert all(len(segment_in_world(scene.node, segment_id)) == 0 for segment_id in made)


def test_one_slice_of_an_object_goes_into_its_segment_and_keeps_the_rest():
    scene = Scene(9, 7)
    scene.run()
    array = scene.set(4, 9, 6)
    task = build_task(parse_spec(scene.volume, ["tumor"], scene.node, grouping=Grouping.INSTANCE, slices=(3, 4)))
    run_to_end(
        SegmentationRun(replace(task, only_slice=True), LocalEngine(scene.segmenter), scene.writer), lambda: None
    )

    assert list(scene.segments) == ["tumor 1", "tumor 2", "tumor 3"]
    for number, name in enumerate(scene.segments):
        expected = np.zeros(SHAPE, bool) if number == 2 else only(blocks(9, 7), number)
        expected[3] = only(array, number)[3]
        assert scene.holds(name, expected), name
