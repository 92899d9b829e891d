"""What can be undone ends with the scene: a segmentation that is loaded with the same ID has no history."""

from __future__ import annotations

import pytest

from MedSAM3SceneLib.editing.segment_writer import SegmentWriter
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.nodes import snapshot
from support.panel import VALUES, open_panel, phantom, run, segmentations
from support.slicer_modules import load_module


def save_and_load(scene, folder):
    """Save all of the scene, close it, and load it again."""
    for name, ending in (("vtkMRMLScalarVolumeNode", "nrrd"), ("vtkMRMLSegmentationNode", "seg.nrrd")):
        node = scene.GetNthNodeByClass(0, name)
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / f"{name}.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    scene.SetURL(str(folder / "scene.mrml"))
    scene.Commit()
    scene.Clear(False)
    scene.SetURL(str(folder / "scene.mrml"))
    scene.Import()


def test_undo_is_not_offered_for_what_was_loaded_and_changes_nothing(bench, tmp_path):
    scene = bench.slicer.mrmlScene
    widget = open_panel(bench)
    phantom()
    widget.panel.connect_scene()
    for round_number in range(3):
        run(bench, widget)
        assert widget.ui.undoButton.enabled
        save_and_load(scene, tmp_path)
        bench.spin(0.05)
        (node,) = segmentations(scene)
        before = snapshot(node)

        assert not widget.ui.undoButton.enabled, round_number
        assert not widget.logic.canUndo()
        assert not widget.logic.undo()
        assert snapshot(node) == before


def test_who_keeps_a_writer_over_the_end_of_a_scene_has_nothing_to_undo(scene, tmp_path):
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter(VALUES))
    for _ in range(2):
        kept = SegmentWriter.shared()
        volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") or phantom()[0]
        logic.segment(volume, ["liver"], scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
        assert kept.can_undo
        assert logic.undo()
        assert kept.can_redo
        logic.redo()
        save_and_load(scene, tmp_path)
        assert not kept.can_undo
        assert not kept.can_redo


@pytest.mark.usefixtures("scene")
def test_messages_say_which_concept_they_are_of():
    class Short(FakeSegmenter):
        """Gives reasons as the real segmenter does, which do not name the concept."""

        def segment(self, *asked):
            from dataclasses import replace

            result = super().segment(*asked)
            concepts = tuple(
                replace(one, reason="Found on slices 7 to 47; the score is 0.90.", messages=("A word on it.",))
                for one in result.concepts
            )
            return replace(result, concepts=concepts)

    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(Short(VALUES))
    logic.segment(phantom()[0], ["liver", "left kidney"])
    assert logic.messages == [
        "liver: Found on slices 7 to 47; the score is 0.90.",
        "liver: A word on it.",
        "left kidney: Found on slices 7 to 47; the score is 0.90.",
        "left kidney: A word on it.",
    ]
