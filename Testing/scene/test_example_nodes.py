"""Segmenting by examples from Slicer's console: nodes in, segments out, on real MRML."""

import threading
import time

import numpy as np
import pytest

from MedSAM3SceneLib.coroutines import run_steps_to_end
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.mrml.volumes import read_in_steps
from MedSAM3SceneLib.requests import example_nodes
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.progress import Progress, Stage
from MedSAM3SegmentLib.request import SegmentRequest
from support.nodes import add_segmentation, add_transform, add_volume, misplaced, rigid, segments, snapshot
from support.slicer_modules import load_module

pytestmark = pytest.mark.usefixtures("scene")


def make_logic(segmenter):
    return load_module("MedSAM3Segment").MedSAM3SegmentLogic(segmenter)


def body(shape, name, parent=None):
    """A volume with two organs, of the values 1 and 2, on a lattice of its own."""
    array = np.zeros(shape, np.int16)
    array[1:4, 1:4, 1:4] = 1
    array[2:5, 4:6, 5:7] = 2
    matrix = rigid((10, 20, len(name)), (1, 2, 3)) @ np.diag([-0.8, -0.8, 2.5, 1])
    return add_volume(array, ijk_to_ras=matrix, parent=parent, name=name), array


@pytest.fixture
def old():
    volume, array = body((6, 7, 8), "old", add_transform(rigid((0, 30, 0), (5, 5, 5))))
    return volume, array, add_segmentation(volume, {"liver": array == 1, "left kidney": array == 2})


def test_what_was_segmented_in_one_volume_is_found_in_another(old):
    """Without concepts all segments count; both volumes have other lattices and parents."""
    old_volume, old_array, drawn = old
    volume, array = body((9, 10, 11), "new", add_transform(rigid((40, 0, 15), (100, -50, 0))))
    segmenter = FakeSegmenter({})
    before = snapshot(drawn)

    node = make_logic(segmenter).segment(volume, like=(old_volume, drawn))

    found = segments(node)
    assert list(found) == ["liver", "left kidney"]
    assert misplaced(node, found["liver"], volume, array == 1) == 0
    assert misplaced(node, found["left kidney"], volume, array == 2) == 0
    assert segmenter.requests == [], "words play no part"
    (shown,) = segmenter.examples[0]["liver"]
    np.testing.assert_array_equal(shown.volume.array, old_array)
    np.testing.assert_array_equal(shown.mask, old_array == 1)
    assert (shown.volume.name, shown.slices) == ("old", None)
    assert snapshot(drawn) == before


def test_several_examples_count_and_the_volume_itself_is_read_once(old):
    old_volume, _, drawn = old
    volume, array = body((9, 10, 11), "new")
    half = np.where(np.arange(9)[:, None, None] < 3, array, 0)
    some = add_segmentation(volume, {"anything": half == 1})
    segmenter = FakeSegmenter({})

    make_logic(segmenter).segment(volume, "liver", like=[(old_volume, drawn), (volume, some)], slices=(0, 5))

    shown = segmenter.examples[0]["liver"]
    assert [example.volume.name for example in shown] == ["old", "new"]
    np.testing.assert_array_equal(shown[1].mask, half == 1)


def test_undo_takes_it_back(old):
    volume, array = body((9, 10, 11), "new")
    node = add_segmentation(volume, {"mine": array == 2})
    before = snapshot(node)
    logic = make_logic(FakeSegmenter({}))
    logic.segment(volume, ["liver"], node, like=old[::2])
    assert list(segments(node)) == ["mine", "liver"]
    assert logic.undo()
    assert snapshot(node) == before


def test_examples_reach_the_engine_with_the_volumes_as_they_are_read(old):
    """The engine's client takes them by the same name as the jobs of this process."""
    asked = []

    class Engine(LocalEngine):
        def submit(self, volume, request, *, model, device):
            asked.append((model, device, request.concepts, request.examples or None))
            return super().submit(volume, request)

    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(engine=Engine(FakeSegmenter({"liver": 1})))
    volume, _ = body((9, 10, 11), "new")
    logic.segment(volume, "liver", like=old[::2], model="other", device="cpu")
    logic.segment(volume, "liver")
    shown, words = asked
    assert (*shown[:3], list(shown[3])) == ("other", "cpu", ("liver",), ["liver"])
    assert words == ("demo", "auto", ("liver",), None)


def test_the_way_through_the_engine_on_its_socket_ends_at_the_same_voxels(old, engine):
    """Both volumes are sent to a service, which answers; the examples' voxel values say what is meant."""
    volume, array = body((9, 10, 11), "new")
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(engine=engine.client())
    for _ in range(2):
        node = logic.segment(volume, like=old[::2])
        found = segments(node)
        assert misplaced(node, found["liver"], volume, array == 1) == 0
        assert misplaced(node, found["left kidney"], volume, array == 2) == 0
    assert engine.client().status().caches[-1].items == 2, "the volume and the example's, sent once"


def test_what_cannot_be_an_example_is_said_in_words_and_changes_nothing(old, scene):
    old_volume, old_array, drawn = old
    volume, array = body((9, 10, 11), "new")
    empty = add_segmentation(old_volume, {"liver": np.zeros(old_array.shape, bool)})
    nothing = add_segmentation(old_volume, {})
    node = add_segmentation(volume, {"mine": array == 1})
    logic = make_logic(FakeSegmenter({}))
    before = (scene.GetNumberOfNodes(), snapshot(node), snapshot(drawn))

    for like, options, why in (
        ((old_volume, drawn), {"concepts": "spleen"}, "No example shows 'spleen'; there is 'liver', 'left kidney'."),
        ((old_volume, nothing), {}, "No concept was given"),
        ((old_volume, nothing), {"concepts": "liver"}, "No example shows 'liver'; there is no segment."),
        ((old_volume, empty), {"concepts": "liver"}, "'liver' has no voxel"),
        ((drawn, old_volume), {}, "not a volume"),
        ((old_volume, None), {}, "The example in 'old' is no segmentation"),
        ((old_volume, "drawn"), {}, "'drawn' is no node of the scene"),
        (("old", drawn), {}, "'old' is no node of the scene"),
        ((old_volume, volume), {}, "The example in 'old' is no segmentation"),
        ((old_volume,), {}, "give both"),
        (old_volume, {}, "give both"),
        ([], {}, "give both"),
        ((old_volume, drawn), {"morePlanes": ["coronal"], "plane": "axial"}, "more planes"),
        ((old_volume, drawn), {"inside": "heart"}, "Examples say nothing of 'heart'"),
    ):
        with pytest.raises(InputError, match=why):
            logic.segment(volume, segmentationNode=node, like=like, **options)
    with pytest.raises(Cancelled):
        logic.segment(volume, segmentationNode=node, like=(old_volume, drawn), cancel=lambda: True)

    assert (scene.GetNumberOfNodes(), snapshot(node), snapshot(drawn)) == before


def test_one_structure_may_lie_inside_of_another_that_is_shown_too(old):
    old_volume, _, drawn = old
    volume, array = body((9, 10, 11), "new")
    logic = make_logic(FakeSegmenter({}))
    node = logic.segment(volume, like=(old_volume, drawn), inside="liver")
    assert list(segments(node)) == ["liver"]
    assert any("'left kidney' was not found" in message for message in logic.messages)
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0


def test_the_window_goes_on_while_examples_are_followed(bench):
    """``start`` takes them as ``segment`` does, and an end in words comes to ``onFailed``."""
    old_volume, old_array = body((6, 7, 8), "old")
    volume, array = body((9, 10, 11), "new")
    drawn = add_segmentation(old_volume, {"liver": old_array == 1})
    gone = add_segmentation(old_volume, {"liver": np.zeros(old_array.shape, bool)})
    logic = make_logic(FakeSegmenter({}, seconds_a_slice=0.02))
    done, failed, shown = [], [], []

    job = logic.start(
        volume, like=(old_volume, drawn), onPartial=shown.append, onDone=done.append, onFailed=failed.append
    )
    bench.wait(lambda: job.ended)
    assert done == [job.run]
    node = logic.written.segmentation_node
    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    assert [piece.partial.slice_index for piece in shown] == list(range(9))

    job = logic.start(volume, like=(old_volume, gone), onDone=done.append, onFailed=failed.append)
    bench.wait(lambda: job.ended)
    assert len(done) == 1
    assert "'liver' has no voxel" in str(failed[0])


def test_without_a_model_slices_of_the_volume_itself_are_filled_between_as_drawn_ones(monkeypatch):
    """Whether they are given as examples or as drawn segments; no engine is asked, and one undo takes all back."""
    volume, array = body((9, 10, 11), "new")
    drawn = np.zeros_like(array)
    drawn[[1, 6], 2:8, 3:9] = 1
    some = add_segmentation(volume, {"liver": drawn == 1})
    logic = make_logic(None)
    monkeypatch.setattr(logic._runs, "engine", lambda: pytest.fail("no engine is needed"))

    node = logic.segment(volume, "liver", like=(volume, some), model="none")
    before = snapshot(some)
    same = logic.segment(volume, "liver", some, mode="from prompts", model="none")

    filled = np.zeros_like(drawn)
    filled[1:7, 2:8, 3:9] = 1
    assert misplaced(node, segments(node)["liver"], volume, filled == 1) == 0
    assert same is some
    assert misplaced(some, segments(some)["liver"], volume, filled == 1) == 0
    assert any("No model was used" in text for text in logic.messages)
    assert logic.undo()
    assert snapshot(some) == before
    with pytest.raises(InputError, match="two slices"):
        logic.segment(volume, "liver", model="none")


def test_dropping_a_run_ends_localization_within_a_step_and_steps_are_told(old, monkeypatch):
    old_volume, _, drawn = old
    volume, _ = body((9, 10, 11), "new")
    ended, told = threading.Event(), []

    def locate(_volume, _templates, check, advance):
        advance(0, 3)
        try:
            while True:
                check()
                time.sleep(0.001)
        finally:
            ended.set()

    monkeypatch.setattr(example_nodes, "locate_structures", locate)
    placed = run_steps_to_end(read_in_steps(volume))
    steps = example_nodes.locate_in_steps(
        [(old_volume, drawn)], SegmentRequest(("liver",)), volume, placed, told.append
    )
    while not told:
        next(steps)
    assert told == [Progress(Stage.LOCATING, 0, 3)]
    assert not ended.is_set()
    steps.close()
    assert ended.wait(10)
