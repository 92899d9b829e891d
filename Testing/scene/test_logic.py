"""What a user of Slicer's console gets from MedSAM3SegmentLogic, on real nodes and with a segmenter without a model."""

import sys
import threading
import time
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.engine.local_engine import LocalEngine
from MedSAM3SceneLib.requests.build import build_task
from MedSAM3SceneLib.requests.console import parse_spec
from MedSAM3SceneLib.runs.listener import RunListener
from MedSAM3SceneLib.runs.run import run_to_end
from MedSAM3SceneLib.runs.segmentation_run import SegmentationRun
from MedSAM3SceneLib.runs.threshold_run import ThresholdRun
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.assembly.assemble import assemble
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.preprocessing.windowing import Window
from MedSAM3SegmentLib.progress import Progress, Stage
from MedSAM3SegmentLib.request import AssemblyOptions, Grouping, Mode
from support.nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    misplaced,
    rigid,
    segment_in_world,
    segments,
    snapshot,
)
from support.slicer_modules import load_module

pytestmark = pytest.mark.usefixtures("scene")


def make_logic(segmenter=None):
    return load_module("MedSAM3Segment").MedSAM3SegmentLogic(segmenter or FakeSegmenter({"liver": 1, "left kidney": 2}))


def phantom(**options):
    array = np.zeros((6, 7, 8), np.int16)
    array[1:4, 1:4, 1:4] = 1
    array[2:5, 4:6, 5:7] = 2
    return add_volume(array, **options), array


def test_one_segment_per_concept_at_the_place_of_its_voxels():
    volume, array = phantom(
        ijk_to_ras=rigid((10, 20, 30), (1, 2, 3)) @ np.diag([-0.8, -0.8, 2.5, 1]),
        parent=add_transform(rigid((40, 0, 15), (100, -50, 0))),
    )

    node = make_logic().segment(volume, ["liver", "left kidney"])

    found = segments(node)
    assert list(found) == ["liver", "left kidney"]
    assert misplaced(node, found["liver"], volume, array == 1) == 0
    assert misplaced(node, found["left kidney"], volume, array == 2) == 0


def test_what_was_asked_for_reaches_the_segmenter():
    segmenter = FakeSegmenter({"liver": 1})
    seen = []

    make_logic(segmenter).segment(
        phantom()[0],
        "liver; left kidney\nThe Liver",
        plane="Coronal",
        window=(-100, 300),
        threshold=0.3,
        slices=(2, 5),
        progress=seen.append,
        cancel=lambda: False,
    )

    (request,) = segmenter.requests
    assert request.concepts == ("liver", "left kidney", "The Liver")
    assert request.plane is Plane.CORONAL
    assert request.window == Window(-100, 300)
    assert request.threshold == 0.3
    assert request.slices == (2, 5)
    assert [(p.done, p.total) for p in seen] == [(1, 3), (2, 3), (3, 3)]


def test_result_and_messages_are_there_to_read():
    logic = make_logic()

    node = logic.segment(phantom()[0], ["liver", "spleen"])

    assert list(segments(node)) == ["liver"]
    assert [c.found for c in logic.result.concepts] == [True, False]
    assert logic.written.concepts[0].segment_id == segments(node)["liver"]
    assert any("'spleen' was not found" in message for message in logic.messages)


def test_a_second_run_updates_and_adds(scene):
    logic = make_logic()
    volume, _ = phantom()
    node = logic.segment(volume, ["liver"])

    again = logic.segment(volume, ["liver", "left kidney"], node)

    assert again is node
    assert list(segments(node)) == ["liver", "left kidney"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_each_run_is_one_step_of_undo():
    logic = make_logic()
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    drawn = snapshot(node)

    logic.segment(volume, ["liver", "left kidney"], node)
    done = snapshot(node)

    assert logic.undo()
    assert snapshot(node) == drawn
    assert not logic.undo()
    assert logic.redo()
    assert snapshot(node) == done


def test_two_logics_undo_what_was_written_last_by_whichever():
    """As the panel's and one made in the console."""
    first, second = make_logic(), make_logic()
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    states = [snapshot(node)]
    for logic, concept in ((first, "liver"), (second, "left kidney")):
        logic.segment(volume, concept, node)
        states.append(snapshot(node))

    assert first.undo()
    assert snapshot(node) == states[1]
    assert second.canRedo()
    assert second.undo()
    assert snapshot(node) == states[0]
    assert not first.canUndo()
    assert first.redo()
    assert second.redo()
    assert snapshot(node) == states[2]
    # Who goes takes nothing from the other; a logic that is made now finds it too.
    second.close()
    assert make_logic().undo()
    assert snapshot(node) == states[1]


def test_two_volumes_of_one_name_each_keep_segments_in_one_segmentation():
    first, array = phantom()
    node = make_logic().segment(first, "liver")
    second = add_volume(np.roll(array, 2, axis=2), name=first.GetName())
    logic, asked = make_logic(), []

    logic.segment(second, "liver", node)
    logic.segment(second, "liver", node)

    of_first, of_second = node.GetSegmentation().GetSegmentIDs()
    assert misplaced(node, of_first, first, array == 1) == 0
    assert misplaced(node, of_second, second, np.roll(array, 2, axis=2) == 1) == 0
    node.GetSegmentation().GetSegment(of_first).SetName("first liver")
    task = replace(
        build_task(parse_spec(second, "liver", node, slices=(2, 3))), may_replace=lambda names: not asked.extend(names)
    )
    run_to_end(SegmentationRun(task, LocalEngine(FakeSegmenter({"liver": 1})), SegmentWriter()), lambda: None)
    assert asked == ["liver"]
    assert misplaced(node, of_first, first, array == 1) == 0


def test_a_volume_whose_voxels_were_changed_is_still_the_same_one():
    import slicer

    volume, array = phantom()
    logic = make_logic()
    node = logic.segment(volume, "liver")
    slicer.updateVolumeFromArray(volume, np.roll(array, 2, axis=2))

    logic.segment(volume, "liver", node)

    (segment_id,) = node.GetSegmentation().GetSegmentIDs()
    assert misplaced(node, segment_id, volume, np.roll(array, 2, axis=2) == 1) == 0


def test_slicers_segment_editor_can_undo_too(monkeypatch):
    import slicer

    volume, array = phantom()
    node, other = add_segmentation(volume, {"mine": array == 1}), add_segmentation(volume, {"mine": array == 1})
    saved = []
    editor = SimpleNamespace(segmentationNode=lambda: node, saveStateForUndo=lambda: saved.append(len(segments(node))))
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", SimpleNamespace(editor=editor), raising=False)

    make_logic().segment(volume, ["liver", "left kidney"], other)
    make_logic().segment(volume, ["liver", "left kidney"])
    assert saved == []
    make_logic().segment(volume, ["liver", "left kidney"], node)
    assert saved == [1]


def test_bad_input_is_said_in_words_and_changes_nothing(scene):
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    segmenter = FakeSegmenter({"liver": 1})
    logic = make_logic(segmenter)
    before = (scene.GetNumberOfNodes(), snapshot(node))

    for arguments, why in (
        ((None, ["liver"]), "No volume"),
        ((volume, []), "No concept"),
        ((volume, " ; \n "), "No concept"),
        ((volume, ["liver"], volume), "not a segmentation"),
        (("ct", ["liver"]), "'ct' is no node of the scene; give one, such as slicer.util.getNode"),
        ((volume, ["liver"], "drawn"), "'drawn' is no node of the scene"),
        ((volume, ["liver", 3]), "The concept 3 is no text"),
        ((volume, 3), "The concept 3 is no text"),
    ):
        with pytest.raises(InputError, match=why):
            logic.segment(*arguments)
    for options, why in (
        ({"plane": "diagonal"}, "no plane named 'diagonal'"),
        ({"window": "moon"}, "no window named 'moon'"),
        ({"window": (10, 10)}, "empty"),
        ({"window": 10}, "The window cannot be 10; give two numbers"),
        ({"window": (10,)}, "The window cannot be .10,.; give two numbers"),
        ({"threshold": 2}, "not between 0 and 1"),
        ({"threshold": "high"}, "The threshold cannot be 'high'; give a number"),
        ({"skim": 0}, "give a whole number of at least 1"),
        ({"skim": 2.5}, "Slices cannot be left out by 2.5 and 0.0; give a whole number"),
        ({"sliceDistance": "far"}, "Slices cannot be left out by 1 and 'far'"),
        ({"sliceDistance": -1}, "is no distance of slices"),
        ({"draft": "yes"}, "A draft cannot be 'yes'; use True or False"),
        ({"slices": 3}, "The slices cannot be 3; give two numbers"),
        ({"slices": ("first", "last")}, "The slices cannot be .'first', 'last'.; give two numbers"),
        (
            {"prompts": {"liver": [1, 2, 3]}},
            "'liver' cannot be .1, 2, 3.; give MedSAM3SegmentLib.prompts.prompts.TargetPrompts",
        ),
        ({"inside": 3}, "3 is nothing to look inside of"),
        ({"inside": (node,)}, "is nothing to look inside of"),
        ({"inside": (None, "mine")}, "None is no node of the scene"),
        ({"inside": (volume, "mine")}, "'ct' is not a segmentation; give one"),
        ({"inside": (node, "theirs")}, "'drawn' has no segment 'theirs'"),
        ({"roi": "R"}, "'R' is no node of the scene"),
        ({"roi": volume}, "'ct' is not a region of interest"),
        ({"view": "Red"}, "'Red' is no node of the scene"),
        ({"view": volume}, "'ct' is no slice view"),
        ({"assembly": {"largest": True}}, "no clean-up step named 'largest'; use one of link, "),
        ({"assembly": {"fill_gaps": "no"}}, "'fill_gaps' cannot be 'no'; use True or False"),
        ({"assembly": "largest_only"}, "'largest_only' are not understood; write for example"),
    ):
        with pytest.raises(InputError, match=why):
            logic.segment(volume, ["liver"], node, **options)

    assert (scene.GetNumberOfNodes(), snapshot(node)) == before
    assert segmenter.requests == []


def test_regions_and_modes_reach_the_segmenter():
    segmenter = FakeSegmenter({"liver": 1})
    volume, array = phantom(
        ijk_to_ras=rigid((10, 20, 30), (1, 2, 3)) @ np.diag([-0.8, -0.8, 2.5, 1]),
        parent=add_transform(rigid((40, 0, 15), (100, -50, 0))),
    )
    half = np.zeros(array.shape, bool)
    half[:, :3] = True
    node = add_segmentation(volume, {"half": half, "liver": array == 1})

    make_logic(segmenter).segment(volume, ["liver"], node, mode="propagate", inside=(node, "half"), plane="axial")
    make_logic(segmenter).segment(volume, ["liver"], node, mode="from prompts", grouping="one segment per instance")

    inside, drawn = segmenter.requests
    assert inside.mode is Mode.PROPAGATE
    assert (inside.inside == half).all()
    assert drawn.mode is Mode.FROM_PROMPTS
    assert drawn.grouping is Grouping.INSTANCE
    assert (drawn.prompts["liver"].masks[0].mask == (array == 1) & half).all()


def test_what_lies_inside_of_another_concept_is_one_call():
    array = np.zeros((6, 7, 8), np.int16)
    array[2:4, 3:6, 2:5] = array[1:3, 0:2, 6:8] = 2
    liver = np.zeros(array.shape, np.int16)
    liver[1:5, 1:5, 1:6] = 1
    volume = add_volume(array, ijk_to_ras=rigid((10, 20, 30), (1, 2, 3)) @ np.diag([-0.8, -0.8, 2.5, 1]))

    class LiverAroundTumors(FakeSegmenter):
        def _concept(self, volume, request, stack, concept, slices):
            if concept == "liver":
                volume = replace(volume, array=liver)
            return super()._concept(volume, request, stack, concept, slices)

    logic = make_logic(LiverAroundTumors({"liver": 1, "tumor": 2}))
    node = logic.segment(volume, "liver; tumor", inside="The Liver")

    found = segments(node)
    assert list(found) == ["liver", "tumor"]
    assert misplaced(node, found["tumor"], volume, (array == 2) & (liver == 1)) == 0
    assert misplaced(node, found["liver"], volume, liver == 1) == 0
    with pytest.raises(InputError, match="inside of itself"):
        logic.segment(volume, "liver", inside="liver")


def test_a_surface_or_an_ambiguous_name_is_refused_as_search_structure():
    volume, array = phantom()
    node = add_segmentation(volume, {"drawn": array == 1, "other": array == 2, "surface": array == 2})
    segmentation = node.GetSegmentation()
    for segment_id in ("drawn", "other"):
        segmentation.GetSegment(segment_id).SetName("liver")
    logic = make_logic()

    with pytest.raises(InputError, match="2 segments are named 'liver'; give the ID of one: drawn, other"):
        logic.segment(volume, ["left kidney"], inside=(node, "liver"))
    assert logic.segment(volume, ["left kidney"], inside=(node, "other")) is not None
    assert logic.result.concepts[0].mask.any()

    segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.GetSegment("surface").RemoveRepresentation("Binary labelmap")
    with pytest.raises(InputError, match="'surface' is stored as Closed surface; create its Binary labelmap"):
        logic.segment(volume, ["left kidney"], inside=(node, "surface"))


@pytest.mark.parametrize("ids", [("a", "b"), ("b", "a")])
def test_of_segments_with_one_name_the_last_changed_one_is_what_was_drawn(ids):
    """As after a run, which writes a segment beside the one that was drawn; Slicer's IDs are random."""
    volume, array = phantom()
    node = add_segmentation(volume, {ids[0]: array == 1, ids[1]: array == 2, "empty": array == 9})
    segmentation = node.GetSegmentation()
    segmenter = FakeSegmenter({})
    logic = make_logic(segmenter)
    for number, segment_id in enumerate((*ids, "empty")):
        segmentation.GetSegment(segment_id).SetName(("liver", "Liver", " liver")[number])
        segmentation.SeparateSegmentLabelmap(segment_id)

    for segment_id, value in ((ids[0], 1), (ids[1], 2), (ids[0], 1)):
        segmentation.GetSegment(segment_id).GetRepresentation("Binary labelmap").Modified()
        segmentation.GetSegment("empty").GetRepresentation("Binary labelmap").Modified()
        logic.segment(volume, ["liver"], node, mode="from prompts")
        np.testing.assert_array_equal(segmenter.requests[-1].prompts["liver"].masks[0].mask, array == value)


def test_voxels_changed_during_a_run_are_not_used_and_the_user_is_told():
    import slicer

    volume, array = phantom()

    def change(_progress):
        slicer.util.arrayFromVolume(volume)[:] = 0
        slicer.util.arrayFromVolumeModified(volume)

    logic = make_logic()
    node = logic.segment(volume, ["liver"], progress=change)

    assert misplaced(node, segments(node)["liver"], volume, array == 1) == 0
    said = "'ct' was changed while it was segmented; the result is of what it was before."
    assert logic.messages.count(said) == 1
    logic.segment(volume, ["liver"])
    assert said not in logic.messages


class Endless(FakeSegmenter):
    """Works until it is cancelled."""

    def __init__(self):
        super().__init__({})
        self.cancelled = threading.Event()

    def segment(self, _volume, _request, callbacks):
        callbacks.progress(Progress(Stage.SEGMENTING, 1, 9))
        deadline = time.monotonic() + 20
        while not callbacks.cancel():
            assert time.monotonic() < deadline, "nobody cancelled it"
            time.sleep(0.005)
        self.cancelled.set()
        raise Cancelled()


def test_the_engine_does_not_work_on_for_a_run_whose_listener_failed():
    volume, _ = phantom()
    segmenter = Endless()

    def fail(_progress):
        raise KeyError("the caller's own")

    run = SegmentationRun(
        build_task(parse_spec(volume, "liver")), LocalEngine(segmenter), SegmentWriter(), RunListener(progress=fail)
    )
    with pytest.raises(KeyError, match="the caller's own"):
        run_to_end(run, lambda: None)

    assert segmenter.cancelled.wait(20)


def test_the_engine_stops_work_for_a_run_that_ended_while_it_was_submitted():
    volume, _ = phantom()
    segmenter = Endless()
    local, handing_in, go_on = LocalEngine(segmenter), threading.Event(), threading.Event()

    class Slow:
        def submit(self, *arguments, **options):
            handing_in.set()
            assert go_on.wait(20)
            return local.submit(*arguments, **options)

    run = SegmentationRun(build_task(parse_spec(volume, "liver")), Slow(), SegmentWriter())
    while not handing_in.is_set():
        run.advance()
    run.abandon("Another one took its place.")
    go_on.set()

    assert segmenter.cancelled.wait(20)


def test_a_region_of_interest_is_the_same_box_whatever_transform_moved_it(scene):
    """Independent of the frames' library: Slicer's own transforms carry the corners."""
    segmenter = FakeSegmenter({"liver": 1})
    moved = add_transform(rigid((40, 0, 15), (100, -50, 0)))
    volume, _ = phantom(ijk_to_ras=np.diag([-1, -1, 2, 1]), parent=moved)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetAndObserveTransformNodeID(moved.GetID())
    roi.SetCenter(-3, -2, 4)
    roi.SetSize(4, 2, 6)

    logic = make_logic(segmenter)
    logic.segment(volume, ["liver"], roi=roi)

    corners = np.array(segmenter.requests[0].region.corners)
    stacked = logic.last.placed.to_node[:3, :3] @ corners.T + logic.last.placed.to_node[:3, 3:]
    assert stacked.min(axis=1) == pytest.approx([-5, -3, 1], abs=1e-4)
    assert stacked.max(axis=1) == pytest.approx([-1, -1, 7], abs=1e-4)


class AssemblingSegmenter(FakeSegmenter):
    """Makes objects of what it finds, as the real one does."""

    def segment(self, volume, request, *told):
        result = super().segment(volume, request, *told)
        return replace(
            result, concepts=tuple(assemble(c, result.stack, 0.5, request.assembly) for c in result.concepts)
        )


def two_tumors():
    array = np.zeros((8, 9, 10), np.int16)
    array[1:4, 1:4, 1:4] = 1
    array[5:7, 6:8, 6:9] = 1
    return add_volume(array, ijk_to_ras=np.diag([-4, -4, 5, 1])), array


def test_each_object_can_become_a_segment():
    volume, array = two_tumors()
    logic = make_logic(AssemblingSegmenter({"tumor": 1}))
    node = logic.segment(volume, ["tumor"], grouping="one segment per instance")

    found = segments(node)
    assert list(found) == ["tumor 1", "tumor 2"]
    big, small = array.copy(), array.copy()
    big[4:], small[:4] = 0, 0
    assert misplaced(node, found["tumor 1"], volume, big == 1) == 0
    assert misplaced(node, found["tumor 2"], volume, small == 1) == 0
    logic.segment(volume, ["tumor"], node, grouping="one segment per instance")
    assert list(segments(node)) == ["tumor 1", "tumor 2"]


def test_every_clean_up_step_can_be_switched_by_its_name():
    segmenter = FakeSegmenter({"liver": 1})
    logic, volume = make_logic(segmenter), phantom()[0]
    usual = AssemblyOptions()
    others = [{step.name: not step.default} for step in fields(AssemblyOptions)]

    for assembly in (None, {}, replace(usual, link=False), *others):
        logic.segment(volume, ["liver"], assembly=assembly)

    asked = [request.assembly for request in segmenter.requests]
    assert asked == [usual, usual, replace(usual, link=False), *(replace(usual, **other) for other in others)]


def test_only_the_largest_object_is_written_also_at_another_threshold():
    volume, array = two_tumors()
    big = array.copy()
    big[4:] = 0
    logic = make_logic(AssemblingSegmenter({"tumor": 1}))

    node = logic.segment(volume, ["tumor"], assembly={"largest_only": True})

    assert misplaced(node, segments(node)["tumor"], volume, big == 1) == 0
    run_to_end(ThresholdRun(logic.last, 0.3, SegmentWriter()), lambda: None)
    assert misplaced(node, segments(node)["tumor"], volume, big == 1) == 0
    logic.segment(volume, ["tumor"], node)
    assert misplaced(node, segments(node)["tumor"], volume, array == 1) == 0


def test_of_a_sequence_the_shown_frame_is_segmented_and_said(scene):
    import slicer

    for node_class in (slicer.vtkMRMLSequenceBrowserNode, slicer.vtkMRMLSequenceNode):
        scene.RegisterNodeClass(node_class())
    volume, array = phantom()
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    sequence.SetIndexName("time")
    for value in ("0", "1"):
        sequence.SetDataNodeAtValue(volume, value)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    proxy = slicer.vtkMRMLScalarVolumeNode()
    proxy.Copy(volume)
    proxy = scene.AddNode(proxy)
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetSelectedItemNumber(1)
    assert browser.GetSequenceNode(proxy) is sequence
    logic = make_logic()

    node = logic.segment(proxy, ["liver"])

    assert misplaced(node, segments(node)["liver"], proxy, array == 1) == 0
    assert any("'heart'; only frame 2 of 2" in message for message in logic.messages)


def test_a_cancelled_run_changes_nothing(scene):
    volume, array = phantom()
    node = add_segmentation(volume, {"mine": array == 1})
    before = (scene.GetNumberOfNodes(), snapshot(node))

    with pytest.raises(Cancelled):
        make_logic().segment(volume, ["liver"], node, cancel=lambda: True)

    assert (scene.GetNumberOfNodes(), snapshot(node)) == before


def test_without_pytorch_the_user_is_told_to_install_its_extension(monkeypatch, scene):
    monkeypatch.delitem(sys.modules, "MedSAM3SegmentLib.segmenter", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    volume, _ = phantom()
    before = scene.GetNumberOfNodes()

    with pytest.raises(ModelError, match="install the PyTorch extension"):
        load_module("MedSAM3Segment").MedSAM3SegmentLogic().segment(volume, ["liver"])

    assert scene.GetNumberOfNodes() == before


def test_another_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(ModelError, match=r"pip_install\('transformers<"):
        load_module("MedSAM3Segment").MedSAM3SegmentLogic().segment(phantom()[0], ["liver"])


def test_model_and_device_reach_the_engine():
    asked = []

    class Engine(LocalEngine):
        def submit(self, volume, request, *, model, device):
            asked.append((model, device))
            return super().submit(volume, request)

    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(engine=Engine(FakeSegmenter({"liver": 1})))
    volume, _ = phantom()

    logic.segment(volume, ["liver"])
    logic.segment(volume, ["liver"], model="other", device="cpu")

    assert asked == [("demo", "auto"), ("other", "cpu")]


def test_a_draft_is_asked_for_with_the_request():
    segmenter = FakeSegmenter({"liver": 1})
    logic = make_logic(segmenter)
    volume, _ = phantom()

    logic.segment(volume, ["liver"])
    logic.segment(volume, ["liver"], draft=True)

    assert [request.draft for request in segmenter.requests] == [False, True]


def test_the_self_test_of_the_module_passes():
    load_module("MedSAM3Segment").MedSAM3SegmentTest().runTest()


def test_a_color_picture_goes_the_whole_way():
    array = np.zeros((1, 6, 7, 3), np.uint8)
    array[0, 2:4, 2:5] = 1

    class ByRed(FakeSegmenter):
        def segment(self, volume, request, *told):
            from dataclasses import replace

            return super().segment(replace(volume, array=volume.array[..., 0]), request, *told)

    volume = add_volume(array)
    node = make_logic(ByRed({"liver": 1})).segment(volume, ["liver"])

    assert len(segment_in_world(node, segments(node)["liver"])) == 6
