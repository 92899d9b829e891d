"""One history for all segmentations of a scene: undone in the order things were done, whichever node it was."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3SceneLib.editing.history import MOST_STEPS
from MedSAM3SceneLib.testing.fake_segmenter import FakeSegmenter
from support.nodes import add_segmentation, add_volume, segments, snapshot
from support.slicer_modules import load_module

pytestmark = pytest.mark.usefixtures("scene")


def parts():
    array = np.zeros((6, 7, 8), np.int16)
    array[1:4, 1:4, 1:4] = 1
    array[2:5, 4:6, 5:7] = 2
    volume = add_volume(array)
    nodes = [add_segmentation(volume, {"mine": array == value}) for value in (1, 2)]
    logic = load_module("MedSAM3Segment").MedSAM3SegmentLogic(FakeSegmenter({"liver": 1, "left kidney": 2}))
    return volume, nodes, logic


def test_actions_on_several_segmentations_are_undone_and_done_again_in_their_order():
    volume, nodes, logic = parts()
    states = [[snapshot(node) for node in nodes]]
    for concept, node in (("liver", 0), ("liver", 1), ("left kidney", 0)):
        logic.segment(volume, concept, nodes[node])
        states.append([snapshot(node) for node in nodes])

    for before in states[-2::-1]:
        assert logic.undo()
        assert [snapshot(node) for node in nodes] == before
    assert not logic.undo()
    for after in states[1:]:
        assert logic.redo()
        assert [snapshot(node) for node in nodes] == after
    assert not logic.redo()


def test_an_action_on_a_node_that_was_removed_is_passed_over(scene):
    volume, (first, second), logic = parts()
    before = snapshot(first)
    logic.segment(volume, "liver", first)
    logic.segment(volume, "liver", second)
    scene.RemoveNode(second)

    assert logic.undo()
    assert snapshot(first) == before
    assert not logic.canUndo()


def test_what_a_person_did_by_hand_in_between_comes_back_with_redo():
    volume, (node, _), logic = parts()
    logic.segment(volume, "liver", node)
    node.GetSegmentation().RemoveSegment(segments(node)["mine"])
    by_hand = snapshot(node)
    logic.segment(volume, "left kidney", node)
    done = snapshot(node)

    assert logic.undo()
    assert snapshot(node) == by_hand
    assert logic.redo()
    assert snapshot(node) == done


def test_the_history_has_an_end():
    volume, nodes, logic = parts()
    for number in range(MOST_STEPS + 3):
        logic.segment(volume, "liver", nodes[number % 2])
    count = 0
    while logic.undo():
        count += 1
    assert MOST_STEPS // 2 < count <= MOST_STEPS
