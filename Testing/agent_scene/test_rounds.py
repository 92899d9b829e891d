"""Rounds in the scene: a folder for each request, a segmentation for each round, with all that is known of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MedSAM3AgentLib.session import Stop
from MedSAM3AgentSceneLib.rounds.scene_round import round_of, scene_rounds
from MedSAM3SegmentLib.errors import Cancelled, InputError, ModelError
from support.agent_scene import ANSWERS, GRID, MASKS, add_abdomen, make_logic, mask_of, round_content
from support.nodes import add_transform, misplaced, rigid, segments
from support.scripted_segmenter import ACCEPT, REJECT, ScriptedBackend

pytestmark = pytest.mark.usefixtures("scene")


def hierarchy(scene):
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def shown(node):
    return bool(node.GetDisplayNode().GetVisibility())


def test_each_round_is_a_segmentation_in_the_folder_of_its_request(scene):
    volume, seen = add_abdomen(), []
    gadget = {"gadget": MASKS["spleen"] | MASKS["liver"]}
    backend = ScriptedBackend([REJECT, {"action": "choose_objects", "numbers": [2]}, ACCEPT])

    run = make_logic(gadget).ask(volume, "gadget", language=backend, onRound=seen.append)

    assert run.stop is Stop.ACCEPTED
    assert [one.number for one in run.rounds] == [1, 2]
    assert [one.node for one in seen] == [one.node for one in run.rounds]
    first, second = run.rounds
    assert [one.parent for one in run.rounds] == ["", first.id]
    assert [shown(one.node) for one in run.rounds] == [False, True]
    assert [one.node.GetName() for one in run.rounds] == ["Agent 1 \u00b7 round 1", "Agent 1 \u00b7 round 2"]
    tree = hierarchy(scene)
    assert tree.GetItemName(run.folder) == "Agent 1: gadget"
    assert [tree.GetItemParent(tree.GetItemByDataNode(one.node)) for one in run.rounds] == [run.folder] * 2
    assert np.array_equal(mask_of(second.node, "gadget"), MASKS["spleen"])
    (verdict,) = second.verdicts
    assert (verdict.verdict, verdict.votes, verdict.name) == ("accepted", (1, 1), "gadget")
    assert verdict.volume_ml == pytest.approx(MASKS["spleen"].sum() * 0.125)
    assert verdict.change_ml == pytest.approx(-MASKS["liver"].sum() * 0.125)
    assert second.tried == "choose object 2"
    assert first.page.startswith(b"\x89PNG")
    assert second.calls == 2
    assert second.stop == "accepted"
    assert not first.stop


def test_what_is_not_believed_is_hidden_and_named_so():
    backend = ScriptedBackend([REJECT, {"action": "choose_objects", "numbers": [2]}, ACCEPT])
    run = make_logic({"gadget": MASKS["spleen"] | MASKS["liver"]}).ask(add_abdomen(), "gadget", language=backend)

    node = run.rounds[1].node
    found = segments(node)
    assert list(found) == ["gadget", "not: gadget"]
    visible = [node.GetDisplayNode().GetSegmentVisibility(one) for one in found.values()]
    assert visible == [True, False]
    assert np.array_equal(mask_of(node, "not: gadget"), MASKS["spleen"] | MASKS["liver"])


def test_every_voxel_is_at_its_place_under_transforms():
    parent = add_transform(rigid((20, 10, 5), (30, -40, 10)))
    volume = add_abdomen(parent)

    run = make_logic().ask(volume, "the liver")

    node = run.rounds[0].node
    assert node.GetParentTransformNode() is parent
    assert misplaced(node, segments(node)["liver"], volume, MASKS["liver"]) == 0
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume


def test_label_maps_are_cropped_and_segments_say_where_they_came_from():
    run = make_logic().ask(add_abdomen(), "the liver and the spleen")
    node = run.rounds[0].node

    import vtk

    for name in ("liver", "spleen"):
        segment = node.GetSegmentation().GetSegment(segments(node)[name])
        filled = np.argwhere(MASKS[name])
        extent = segment.GetRepresentation("Binary labelmap").GetExtent()
        low, high = filled.min(axis=0)[::-1], filled.max(axis=0)[::-1]
        assert extent == tuple(int(edge) for pair in zip(low, high, strict=True) for edge in pair)
        text = vtk.reference("")
        assert segment.GetTag("MedSAM3.Provenance", text)
        provenance = json.loads(str(text))
        assert provenance["model"]["name"] == "a model"
        assert provenance["verdict"] == "accepted"
        assert provenance["agent"] == {"session": run.session, "round": 1}
        assert segment.GetTag("MedSAM3.WrittenSlices", text)


def test_the_folder_lies_under_the_study_of_the_volume_or_beside_it(scene):
    import slicer

    volume = add_abdomen()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "patient")
    study = tree.CreateStudyItem(patient, "study")
    inner = tree.CreateFolderItem(study, "series")
    tree.CreateItem(inner, volume)
    beside = add_abdomen(name="other")
    logic = make_logic()

    assert tree.GetItemParent(logic.ask(volume, "liver").folder) == study
    assert tree.GetItemParent(logic.ask(beside, "liver").folder) == tree.GetSceneItemID()


def test_removing_the_folder_removes_all(scene):
    before = scene.GetNumberOfNodes()
    volume = add_abdomen()
    logic = make_logic()
    run = logic.ask(volume, "liver")
    nodes = scene.GetNumberOfNodes()
    logic.goOn(run.rounds[-1].node, "also the spleen")
    assert scene.GetNumberOfNodes() > nodes > before + 1

    hierarchy(scene).RemoveItem(run.folder, True, True)

    assert scene_rounds() == []
    left = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    kinds = [node.GetClassName() for node in left]
    assert "vtkMRMLTextNode" not in kinds
    assert "vtkMRMLSegmentationNode" not in kinds
    assert "vtkMRMLSegmentationDisplayNode" not in kinds


def test_rounds_are_listed_by_session_and_number_and_by_volume():
    one, other = add_abdomen(), add_abdomen(name="other")
    logic = make_logic()
    first, second = logic.ask(one, "liver"), logic.ask(other, "spleen")
    logic.goOn(first.rounds[0].node, "also the spleen")

    listed = scene_rounds()
    assert [(item.session, item.number) for item in listed] == [
        (first.session, 1),
        (first.session, 2),
        (second.session, 1),
    ]
    assert [item.session for item in scene_rounds(other)] == [second.session]
    assert [item.node.GetName()[:7] for item in listed] == ["Agent 1", "Agent 1", "Agent 2"]
    assert round_of(one) is None if hasattr(one, "GetAttribute") else True


def test_what_is_absent_makes_no_segment_and_is_said():
    run = make_logic({}).ask(add_abdomen(), "spleen")

    assert run.stop is Stop.ABSENT
    assert segments(run.rounds[0].node) == {}
    (verdict,) = run.rounds[0].verdicts
    assert (verdict.segment_id, verdict.volume_ml) == ("", 0.0)
    assert "None of" in verdict.why


@pytest.mark.parametrize("text", ["", "   ", "???", None, 3])
def test_a_request_that_names_nothing_leaves_the_scene_as_it_was(scene, text):
    volume = add_abdomen()
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError):
        make_logic().ask(volume, text)
    assert scene.GetNumberOfNodes() == before


@pytest.mark.parametrize(
    "options", [{"rounds": 0}, {"rounds": 6}, {"plane": "tilted"}, {"window": "soup"}, {"language": 7}]
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_read(scene, options):
    volume = add_abdomen()
    before = scene.GetNumberOfNodes()
    with pytest.raises(InputError):
        make_logic().ask(volume, "liver", **options)
    assert scene.GetNumberOfNodes() == before


def test_a_segmenter_that_fails_in_the_first_round_leaves_the_scene_as_it_was(scene):
    def fail(_):
        raise ModelError("The model is broken; choose another one.")

    volume = add_abdomen()
    before = scene.GetNumberOfNodes()
    with pytest.raises(ModelError, match="broken"):
        make_logic(fails=fail).ask(volume, "liver")
    assert scene.GetNumberOfNodes() == before


def test_a_segmenter_that_fails_later_leaves_the_rounds_that_were_done():
    def fail(number):
        if number == 2:
            raise ModelError("The model is broken; choose another one.")

    backend = ScriptedBackend([REJECT, {"action": "segment", "phrases": ["widget"]}, ACCEPT])
    with pytest.raises(ModelError):
        make_logic({"gadget": MASKS["spleen"]}, fail).ask(add_abdomen(), "gadget", language=backend)

    (left,) = scene_rounds()
    assert left.number == 1
    assert "broken" in left.why
    assert np.array_equal(mask_of(left.node, "gadget"), MASKS["spleen"])


def test_a_cancelled_request_makes_no_round(scene):
    volume = add_abdomen()
    before = scene.GetNumberOfNodes()
    with pytest.raises(Cancelled):
        make_logic().ask(volume, "liver", cancel=lambda: True)
    assert scene.GetNumberOfNodes() == before


def test_kept_objects_become_segments_of_their_own_and_one_undo_takes_them_back(scene):
    volume = add_abdomen()
    logic = make_logic()
    run = logic.ask(volume, "the liver and the spleen")
    source = run.rounds[0].node
    before = round_content(source)

    kept = logic.keep(source)

    assert list(segments(kept)) == ["liver", "spleen"]
    for name in ("liver", "spleen"):
        assert np.array_equal(mask_of(kept, name), MASKS[name])
        assert misplaced(kept, segments(kept)[name], volume, MASKS[name]) == 0
    assert round_of(kept) is None
    assert not shown(source)
    assert round_content(source) == before
    mask = mask_of(kept, "liver")
    assert logic.undo()
    assert kept.GetScene() is None
    assert shown(source)
    assert logic.redo()
    assert kept.GetScene() is scene
    assert np.array_equal(mask_of(kept, "liver"), mask)


def test_nothing_is_kept_of_a_round_that_found_nothing_or_is_none():
    logic = make_logic({})
    volume = add_abdomen()
    run = logic.ask(volume, "spleen")
    with pytest.raises(InputError, match="nothing to keep"):
        logic.keep(run.rounds[0].node)
    for wrong in (None, volume, "liver"):
        with pytest.raises(InputError):
            logic.keep(wrong)


def test_answers_are_those_of_the_library():
    from MedSAM3AgentLib.agent import Agent
    from support.agent_scene import ABDOMEN
    from support.scripted_segmenter import ScriptedSegmenter

    text = "the mass in the right kidney and the liver"
    expected = Agent(ScriptedSegmenter(ANSWERS)).ask(ABDOMEN, text)
    run = make_logic().ask(add_abdomen(), text)

    for proposal, verdict in zip(expected.kept, run.rounds[-1].verdicts, strict=True):
        assert np.array_equal(mask_of(run.rounds[-1].node, proposal.target.name), proposal.mask)
        assert verdict.verdict == proposal.verdict.words
        assert verdict.volume_ml == pytest.approx(proposal.mask.sum() * GRID.voxel_volume_mm3 / 1000)
