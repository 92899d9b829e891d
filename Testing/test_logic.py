"""What a user of Slicer's console gets from MedSAM3SegmentLogic, on real nodes and with a segmenter without a model."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from MedSAM3SceneLib.fake_segmenter import FakeSegmenter
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from MedSAM3SegmentLib.grid import Plane
from MedSAM3SegmentLib.intensity import Window
from scene_nodes import add_segmentation, add_transform, add_volume, misplaced, rigid, segment_in_world, snapshot
from slicer_stand_ins import load_module

pytestmark = pytest.mark.usefixtures("scene")


def make_logic(segmenter=None):
    return load_module("MedSAM3Segment").MedSAM3SegmentLogic(segmenter or FakeSegmenter({"liver": 1, "left kidney": 2}))


def phantom(**options):
    array = np.zeros((6, 7, 8), np.int16)
    array[1:4, 1:4, 1:4] = 1
    array[2:5, 4:6, 5:7] = 2
    return add_volume(array, **options), array


def segments(node):
    segmentation = node.GetSegmentation()
    return {segmentation.GetSegment(i).GetName(): i for i in segmentation.GetSegmentIDs()}


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
    ):
        with pytest.raises(InputError, match=why):
            logic.segment(*arguments)
    for options, why in (
        ({"plane": "diagonal"}, "no plane named 'diagonal'"),
        ({"window": "moon"}, "no window named 'moon'"),
        ({"window": (10, 10)}, "empty"),
        ({"threshold": 2}, "not between 0 and 1"),
    ):
        with pytest.raises(InputError, match=why):
            logic.segment(volume, ["liver"], node, **options)

    assert (scene.GetNumberOfNodes(), snapshot(node)) == before
    assert segmenter.requests == []


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
    def load(_model, _device):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    segmenter = SimpleNamespace(Segmenter=SimpleNamespace(load=load))
    monkeypatch.setitem(sys.modules, "MedSAM3SegmentLib.segmenter", segmenter)

    with pytest.raises(ModelError, match=r"pip_install\('transformers'\)"):
        load_module("MedSAM3Segment").MedSAM3SegmentLogic().segment(phantom()[0], ["liver"])


def test_a_model_stays_loaded_until_another_is_asked_for(monkeypatch):
    loaded = []

    def load(model, device):
        loaded.append((model, device))
        return FakeSegmenter({"liver": 1})

    segmenter = SimpleNamespace(Segmenter=SimpleNamespace(load=load))
    monkeypatch.setitem(sys.modules, "MedSAM3SegmentLib.segmenter", segmenter)
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic()
    volume, _ = phantom()

    for model in ("demo", "demo", "other"):
        logic.segment(volume, ["liver"], model=model, device="cpu")

    assert loaded == [("demo", "cpu"), ("other", "cpu")]


def test_the_self_test_of_the_module_passes():
    load_module("MedSAM3Segment").MedSAM3SegmentTest().runTest()


def test_a_colour_picture_goes_the_whole_way():
    array = np.zeros((1, 6, 7, 3), np.uint8)
    array[0, 2:4, 2:5] = 1

    class ByRed(FakeSegmenter):
        def segment(self, volume, request, progress=None, cancel=None):
            from dataclasses import replace

            return super().segment(replace(volume, array=volume.array[..., 0]), request, progress, cancel)

    volume = add_volume(array)
    node = make_logic(ByRed({"liver": 1})).segment(volume, ["liver"])

    assert len(segment_in_world(node, segments(node)["liver"])) == 6
