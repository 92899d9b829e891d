"""Several concepts that were drawn: each ends in a segment of its own name, by every door, and again the next time."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.editing.written_concept import Outcome
from MedSAM3SceneLib.runs.edit_actions import EditAction
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.effect_actions import TRUTH, Setting
from support.nodes import add_segmentation, misplaced
from support.panel import VALUES, open_panel, run
from support.panel import phantom as panel_phantom
from support.slicer_modules import load_module

CONCEPTS = ("liver", "left kidney")


@pytest.fixture
def drawn(scene):
    """A logic, a volume, what is in it, and a segmentation in which a slice of each concept was drawn."""
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    volume, array = panel_phantom()
    middle = np.zeros(array.shape, bool)
    middle[5] = True
    node = add_segmentation(volume, {name: (array == value) & middle for name, value in VALUES.items()})
    return load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter(VALUES)), volume, array, node


def check(logic, volume, array, concepts=CONCEPTS):
    """Each concept is in a segment that has its name and holds its voxels."""
    assert [part.concept for part in logic.written.concepts] == list(concepts)
    assert len({part.segment_id for part in logic.written.concepts}) == len(concepts)
    for part in logic.written.concepts:
        node = logic.written.segmentation_node
        assert node.GetSegmentation().GetSegment(part.segment_id).GetName() == part.concept
        assert misplaced(node, part.segment_id, volume, array == VALUES[part.concept]) == 0


def test_from_the_console_and_again(drawn):
    logic, volume, array, node = drawn
    logic.segment(volume, CONCEPTS, node, mode="from prompts")
    check(logic, volume, array)
    first = [part.segment_id for part in logic.written.concepts]

    logic.segment(volume, CONCEPTS[::-1], node, mode="from prompts")
    check(logic, volume, array, CONCEPTS[::-1])
    assert [part.outcome for part in logic.written.concepts] == [Outcome.UPDATED] * 2
    assert [part.segment_id for part in logic.written.concepts] == first[::-1]


def test_a_second_run_with_another_concept_leaves_the_first_ones_alone(drawn):
    logic, volume, array, node = drawn
    logic.segment(volume, ["liver"], node, mode="from prompts")
    (liver,) = logic.written.concepts
    logic.segment(volume, ["left kidney"], node, mode="from prompts")

    (kidney,) = logic.written.concepts
    assert kidney.segment_id != liver.segment_id
    assert misplaced(node, liver.segment_id, volume, array == VALUES["liver"]) == 0
    check(logic, volume, array, ("left kidney",))


def test_a_drawn_concept_is_the_same_one_as_in_words(drawn):
    logic, volume, _, node = drawn
    logic.segment(volume, CONCEPTS, node, mode="from prompts")
    first = [part.segment_id for part in logic.written.concepts]
    logic.segment(volume, ["Liver", "kidney, left"], node)
    assert [part.segment_id for part in logic.written.concepts] == first


def test_from_the_panel(bench):
    widget = open_panel(bench)
    volume, array = panel_phantom()
    widget.panel.connect_scene()
    node = add_segmentation(volume, {name: array == value for name, value in VALUES.items()})
    widget.panel.form.parameters.segmentation = node
    widget.ui.modeSelector.setCurrentIndex(widget.ui.modeSelector.findText("From prompts"))
    for _ in range(2):
        run(bench, widget, "liver; left kidney")
        check(widget.logic, volume, array)


@pytest.mark.usefixtures("scene")
def test_what_the_effect_drew_for_one_segment_is_not_taken_for_another():
    setting = Setting(TRUTH, liver=TRUTH & False)
    setting.segmentation.GetSegmentation().AddEmptySegment("other", "other")
    drawn = np.zeros_like(TRUTH)
    drawn[3] = TRUTH[3]
    setting.logic.set_voxels("liver", _labelmap(setting, drawn))
    setting.act(EditAction.PROPAGATE, phrase="")
    held = setting.held

    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter({"other": 1}))
    logic.segment(setting.volume, ["other"], setting.segmentation)

    assert (setting.held == held).all()
    assert logic.written.concepts[0].segment_id != "liver"


def _labelmap(setting, mask):
    from MedSAM3SceneLib.mrml.labelmaps import labelmap_on_lattice

    return labelmap_on_lattice(mask, setting.lattice, setting.lattice)
