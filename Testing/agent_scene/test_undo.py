"""A whole session is undone and done again, segmentation by segmentation, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from support.agent_scene import MASKS, add_abdomen, edit_slice, make_logic, mask_of, round_content
from support.nodes import add_segmentation, segments, snapshot
from support.slicer_modules import load_module


def state_of(scene):
    """All segmentations of a scene: voxels, names, colors, visibility, and where they lie."""
    import slicer

    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    state = {}
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        place = (
            tree.GetItemName(tree.GetItemParent(tree.GetItemByDataNode(node))) if tree.GetItemByDataNode(node) else ""
        )
        shown = bool(node.GetDisplayNode().GetVisibility())
        state[node.GetName()] = (snapshot(node), round_content(node), shown, place)
    kinds = ("vtkMRMLTextNode", "vtkMRMLSegmentationDisplayNode")
    return state, [scene.GetNumberOfNodesByClass(kind) for kind in kinds]


def test_undo_and_redo_over_a_whole_session(scene):
    from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter

    volume = add_abdomen()
    logic = make_logic()
    states = [state_of(scene)]

    def did():
        states.append(state_of(scene))

    first = logic.ask(volume, "the liver and the spleen")
    did()
    node = first.rounds[-1].node
    edit_slice(node, "liver", 25)
    states[-1] = state_of(scene)  # by hand, with Slicer's own undo
    second = logic.goOn(node)
    did()
    logic.goOn(node, "also the right kidney")
    did()
    logic.keep(second.rounds[-1].node)
    did()
    # Another module writes into the same scene.
    drawn = add_segmentation(volume, {"mine": MASKS["spleen"]})
    states[-1] = state_of(scene)
    load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter({"liver": 7})).segment(volume, "liver", drawn)
    did()
    logic.ask(volume, "spleen")
    did()

    # What Slicer's own tools added is not ours to take back.
    for before in states[-2:2:-1]:
        assert logic.undo()
        assert state_of(scene) == before
    for after in states[4:]:
        assert logic.redo()
        assert state_of(scene) == after
    while logic.undo():
        pass
    assert list(state_of(scene)[0]) == ["drawn"]
    while logic.redo():
        pass
    assert state_of(scene) == states[-1]


def test_an_edit_made_since_comes_back_with_redo(scene):
    logic = make_logic()
    run = logic.ask(add_abdomen(), "liver")
    edited = edit_slice(run.rounds[0].node, "liver", 25)

    assert logic.undo()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert logic.redo()

    assert np.array_equal(mask_of(run.rounds[0].node, "liver"), edited)
    # And is gone on from as before.
    new = logic.goOn(run.rounds[0].node).rounds[0].node
    assert np.array_equal(mask_of(new, "liver")[25], edited[25])


def test_undoing_a_branch_shows_what_was_shown_before():
    logic = make_logic()
    node = logic.ask(add_abdomen(), "liver").rounds[0].node
    logic.goOn(node, "also the spleen")
    assert not node.GetDisplayNode().GetVisibility()

    logic.undo()
    assert node.GetDisplayNode().GetVisibility()
    logic.redo()
    assert not node.GetDisplayNode().GetVisibility()


def test_a_command_on_a_round_is_undone_in_its_place():
    pytest.importorskip("MedSAM3AgentSceneLib.editing.run_command")
    logic = make_logic()
    node = logic.ask(add_abdomen(), "liver").rounds[0].node
    before = snapshot(node)
    logic.command(node, "shrink 6 mm")
    after = snapshot(node)
    assert after != before
    assert logic.undo()
    assert snapshot(node) == before
    assert logic.redo()
    assert snapshot(node) == after
    assert segments(node)


def test_a_new_logic_finds_what_another_did():
    logic = make_logic()
    run = logic.ask(add_abdomen(), "liver")
    other = make_logic()
    assert other.canUndo()
    assert other.undo()
    assert run.rounds[0].node.GetScene() is None
    assert logic.canRedo()
