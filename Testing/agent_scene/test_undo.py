"""A whole session is undone and done again, segmentation by segmentation, bit for bit."""

from __future__ import annotations

import numpy as np

from MedSAM3SceneLib.coroutines import run_steps_to_end
from support.agent_scene import LATTICE, MASKS, add_abdomen, edit_slice, make_logic, mask_of, round_content
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
    drawn = add_segmentation(volume, {"mine": MASKS["spleen"]})
    logic = make_logic()
    states = [state_of(scene)]

    def did():
        states.append(state_of(scene))

    first = logic.ask(volume, "the liver and the spleen")
    node = first.rounds[-1].node
    # By hand, which Slicer's own undo takes back.
    edit_slice(node, "liver", 25)
    did()
    second = logic.goOn(node)
    did()
    logic.goOn(node, "also the right kidney")
    did()
    logic.keep(second.rounds[-1].node)
    did()
    # Another module writes into the same scene.
    load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter({"liver": 7})).segment(volume, "liver", drawn)
    did()
    logic.ask(volume, "spleen")
    did()

    for before in states[-2::-1]:
        assert logic.undo()
        assert state_of(scene) == before
    assert not logic.undo()
    for after in states[1:]:
        assert logic.redo()
        assert state_of(scene) == after
    assert not logic.redo()


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


def test_what_is_written_into_a_round_is_undone_in_its_place(scene):
    from MedSAM3SceneLib.editing.segment_writer import SegmentWriter

    volume = add_abdomen()
    logic = make_logic()
    node = logic.ask(volume, "liver").rounds[0].node
    before = state_of(scene)
    writer = SegmentWriter.shared()
    with writer.action(node, volume):
        run_steps_to_end(writer.write(segments(node)["liver"], MASKS["spleen"], LATTICE))
    written = state_of(scene)
    branch = logic.goOn(node).rounds[0].node
    after = state_of(scene)
    assert not np.array_equal(mask_of(branch, "liver"), MASKS["liver"])

    for expected in (written, before):
        assert logic.undo()
        assert state_of(scene) == expected
    assert logic.undo()
    for expected in (before, written, after):
        assert logic.redo()
        assert state_of(scene) == expected


def test_a_new_logic_finds_what_another_did():
    logic = make_logic()
    run = logic.ask(add_abdomen(), "liver")
    other = make_logic()
    assert other.canUndo()
    assert other.undo()
    assert run.rounds[0].node.GetScene() is None
    assert logic.canRedo()
