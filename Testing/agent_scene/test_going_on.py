"""Going on from a round as a person left it: edited slices, segments deleted, renamed or added, regions, typed text."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3AgentLib.session import Stop
from MedSAM3AgentSceneLib.rounds.scene_round import scene_rounds
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.request import Mode
from support.agent_scene import (
    ANSWERS,
    GRID,
    MASKS,
    add_abdomen,
    draw,
    edit_slice,
    make_logic,
    mask_of,
    round_content,
    save_and_load,
)
from support.nodes import segments
from support.scripted_segmenter import ACCEPT, REJECT, ScriptedBackend

pytestmark = pytest.mark.usefixtures("scene")

LIVER_SLICE = 25


def asked(text="liver", **options):
    logic = make_logic(**options)
    volume = add_abdomen()
    run = logic.ask(volume, text)
    return logic, run.rounds[-1].node, run


def last_requests(logic):
    return logic.segmenter.requests


def test_edited_slices_come_back_to_the_voxel_and_the_round_stays_as_it_is():
    logic, node, first = asked("the liver and the spleen")
    edited = edit_slice(node, "liver", LIVER_SLICE)
    before = round_content(node)

    run = logic.goOn(node)

    new = run.rounds[0].node
    assert np.array_equal(mask_of(new, "liver")[LIVER_SLICE], edited[LIVER_SLICE])
    assert not np.array_equal(edited[LIVER_SLICE], MASKS["liver"][LIVER_SLICE])
    others = np.arange(GRID.shape[0]) != LIVER_SLICE
    assert np.array_equal(mask_of(new, "liver")[others], MASKS["liver"][others])
    assert np.array_equal(mask_of(new, "spleen"), MASKS["spleen"])
    assert round_content(node) == before
    (found,) = run.rounds
    assert (found.number, found.parent, found.session) == (2, first.rounds[-1].id, first.session)
    assert found.tried == f"go on from edited slices {LIVER_SLICE}"
    drawn = logic.segmenter.requests[-1]
    assert drawn.mode is Mode.PROPAGATE
    assert LIVER_SLICE in drawn.prompts["liver"].masks[0].slices
    assert np.array_equal(drawn.prompts["liver"].masks[0].mask[LIVER_SLICE], edited[LIVER_SLICE])


def test_what_nobody_changed_is_taken_over_and_not_asked_again():
    logic, node, _ = asked("the liver and the spleen")
    edit_slice(node, "liver", LIVER_SLICE)
    count = len(logic.segmenter.requests)

    new = logic.goOn(node).rounds[0]

    phrases = {phrase for request in logic.segmenter.requests[count:] for phrase in request.concepts}
    assert not any("splen" in phrase or "spleen" in phrase for phrase in phrases - {"spleen"})
    liver, spleen = new.verdicts
    assert spleen.verdict == "accepted"
    assert spleen.change_ml == 0.0
    assert "wordings" in spleen.why
    assert "edited slices" in liver.why


def test_slices_edited_in_an_earlier_round_come_back_in_every_later_one():
    logic, node, _ = asked()
    first = edit_slice(node, "liver", LIVER_SLICE)
    second_node = logic.goOn(node).rounds[0].node
    second = edit_slice(second_node, "liver", 20)

    new = mask_of(logic.goOn(second_node).rounds[0].node, "liver")

    assert np.array_equal(new[LIVER_SLICE], first[LIVER_SLICE])
    assert np.array_equal(new[20], second[20])


def test_a_slice_that_was_emptied_stays_empty():
    logic, node, _ = asked()
    mask = mask_of(node, "liver")
    mask[LIVER_SLICE] = False
    draw(node, "liver", mask)

    new = mask_of(logic.goOn(node).rounds[0].node, "liver")

    assert not new[LIVER_SLICE].any()
    assert new[LIVER_SLICE - 1].any()


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_deleted_segment_is_not_proposed_again_and_says_so(how):
    logic, node, _ = asked("the liver and the spleen")
    if how == "deleted":
        node.GetSegmentation().RemoveSegment(segments(node)["liver"])
    else:
        draw(node, "liver", np.zeros(GRID.shape, bool))

    run = logic.goOn(node)

    new = run.rounds[0].node
    assert list(segments(new)) == ["spleen", "not: liver"]
    assert np.array_equal(mask_of(new, "not: liver"), MASKS["liver"])
    assert not new.GetDisplayNode().GetSegmentVisibility(segments(new)["not: liver"])
    assert run.rounds[0].verdicts[0].segment_id == ""
    # And so on in later rounds, until a person takes that back.
    later = logic.goOn(new, "also the right kidney").rounds[0].node
    assert set(segments(later)) == {"spleen", "right kidney", "not: liver"}
    later.GetSegmentation().RemoveSegment(segments(later)["not: liver"])
    back = logic.goOn(later, "also the liver").rounds[0].node
    assert np.array_equal(mask_of(back, "liver"), MASKS["liver"])


def test_a_renamed_segment_is_looked_for_by_its_new_name():
    logic, node, _ = asked("liver")
    node.GetSegmentation().GetSegment(segments(node)["liver"]).SetName("spleen")

    run = logic.goOn(node)

    new = run.rounds[0].node
    assert list(segments(new)) == ["spleen"]
    assert np.array_equal(mask_of(new, "spleen"), MASKS["spleen"])


def test_a_segment_that_was_added_is_followed_by_its_name():
    logic, node, _ = asked("liver")
    drawn = np.zeros(GRID.shape, bool)
    drawn[26] = MASKS["spleen"][26]
    draw(node, "spleen", drawn)

    run = logic.goOn(node)

    new = run.rounds[0].node
    assert list(segments(new)) == ["liver", "spleen"]
    assert np.array_equal(mask_of(new, "spleen"), MASKS["spleen"])
    request = next(one for one in logic.segmenter.requests if one.prompts)
    assert request.prompts["spleen"].masks[0].slices == (26,)


def test_a_region_is_what_everything_must_lie_in():
    import slicer

    logic, node, _ = asked("kidney")
    assert np.array_equal(mask_of(node, "kidney"), MASKS["kidney"])
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    places = GRID.to_ras(np.argwhere(MASKS["left kidney"])[:, ::-1].astype(float))
    roi.SetCenter(*[float(value) for value in (places.min(axis=0) + places.max(axis=0)) / 2])
    roi.SetSize(*[float(value) for value in np.ptp(places, axis=0) + 4])

    run = logic.goOn(node, roi=roi)

    assert np.array_equal(mask_of(run.rounds[0].node, "kidney"), MASKS["left kidney"])


def test_a_turned_region_holds_the_voxels_whose_centers_lie_in_it():
    import slicer

    from MedSAM3AgentSceneLib.rounds.round_edits import read_region, region_mask
    from MedSAM3SceneLib.mrml.volumes import read_volume_node
    from support.nodes import rigid, vtk_matrix

    volume = add_abdomen()
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    roi.SetSize(60.0, 40.0, 50.0)
    center = GRID.to_ras(np.array([[30.0, 20.0, 20.0]]))[0]
    matrix = rigid((25, -15, 40), tuple(center))
    roi.SetAndObserveObjectToNodeMatrix(vtk_matrix(matrix))
    placed = read_volume_node(volume)

    mask = region_mask(read_region(roi, volume, placed), placed.volume.grid)

    indices = np.argwhere(np.ones(GRID.shape, bool))
    own = np.c_[GRID.to_ras(indices[:, ::-1].astype(float)), np.ones(len(indices))] @ np.linalg.inv(matrix).T
    expected = (np.abs(own[:, :3]) <= np.array([30.0, 20.0, 25.0]) + 1e-5).all(axis=1)
    assert mask.sum() > 100
    assert np.array_equal(mask.ravel(), expected)


def test_a_typed_command_is_done_to_the_segment_as_it_stands_and_no_model_runs():
    from MedSAM3AgentLib.editing.apply import apply_commands

    logic, node, _ = asked("liver")
    edited = edit_slice(node, "liver", LIVER_SLICE)
    count = len(logic.segmenter.requests)

    run = logic.goOn(node, "shrink 6 mm")

    expected = apply_commands(edited, GRID, "shrink 6 mm").mask
    assert np.array_equal(mask_of(run.rounds[0].node, "liver"), expected)
    assert len(logic.segmenter.requests) == count
    assert run.stop is Stop.ACCEPTED
    assert run.rounds[0].tried == "edit: shrink 6 mm"


def test_a_command_names_its_segment_where_there_are_several():
    logic, node, _ = asked("the liver and the spleen")
    with pytest.raises(InputError, match="name one"):
        logic.goOn(node, "shrink 6 mm")
    assert len(scene_rounds()) == 1

    new = logic.goOn(node, "shrink the spleen 6 mm").rounds[0].node
    assert np.array_equal(mask_of(new, "liver"), MASKS["liver"])
    assert 0 < mask_of(new, "spleen").sum() < MASKS["spleen"].sum()


def test_what_does_not_belong_to_it_is_taken_out():
    cyst = MASKS["kidney tumor"] & (np.indices(GRID.shape)[0] > 10)
    logic, node, _ = asked("the mass in the right kidney", answers={**ANSWERS, "cyst": cyst})

    new = logic.goOn(node, "without the cyst").rounds[0].node

    assert np.array_equal(mask_of(new, "mass in right kidney"), MASKS["kidney tumor"] & ~cyst)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("also the spleen", ["liver", "spleen"]),
        ("the spleen", ["liver", "spleen"]),
        ("instead the spleen", ["spleen"]),
        ("and the right kidney", ["liver", "right kidney"]),
    ],
)
def test_a_further_request_is_looked_for_too(text, names):
    logic, node, _ = asked("liver")

    new = logic.goOn(node, text).rounds[0].node

    assert list(segments(new)) == names
    for name in names:
        assert np.array_equal(mask_of(new, name), MASKS[name])


@pytest.mark.parametrize("text", ["", "???"])
def test_nothing_to_go_on_with_is_said_and_makes_no_round(text):
    logic, node, _ = asked("liver")
    with pytest.raises(InputError):
        logic.goOn(node, text)
    assert len(scene_rounds()) == 1
    assert not segments(node).get("???")


def test_branches_keep_their_parent_and_nothing_is_overwritten():
    logic, node, first = asked("liver")
    before = round_content(node)
    one = logic.goOn(node, "also the spleen").rounds[0]
    other = logic.goOn(node, "also the right kidney").rounds[0]
    further = logic.goOn(one.node, "also the right kidney").rounds[0]

    listed = {item.number: item.parent for item in scene_rounds()}
    root = first.rounds[0].id
    assert listed == {1: "", 2: root, 3: root, 4: one.id}
    assert list(segments(other.node)) == ["liver", "right kidney"]
    assert list(segments(further.node)) == ["liver", "spleen", "right kidney"]
    # Only the newest is shown; which segments a round shows is its own.
    assert [bool(item.node.GetDisplayNode().GetVisibility()) for item in scene_rounds()] == [False, False, False, True]
    assert round_content(node) == before


def test_a_language_model_is_asked_of_what_was_unsure_and_cannot_undo_an_edit():
    name = "gadget tumor"
    logic, node, _ = asked(name, answers={name: MASKS["spleen"], "widget": MASKS["liver"]})
    edited = edit_slice(node, name, 26)
    backend = ScriptedBackend([REJECT, {"action": "segment", "phrases": ["widget"]}, ACCEPT])

    run = logic.goOn(node, language=backend)

    for one in run.rounds:
        assert np.array_equal(mask_of(one.node, name)[26], edited[26])
    assert [one.verdicts[0].verdict for one in run.rounds] == ["unsure", "accepted"]
    others = np.arange(GRID.shape[0]) != 26
    assert np.array_equal(mask_of(run.rounds[-1].node, name)[others], MASKS["liver"][others])


def test_options_of_the_round_hold_where_none_are_given():
    logic = make_logic()
    volume = add_abdomen()
    node = logic.ask(volume, "liver", slices=(2, 30), window="liver", threshold=0.4).rounds[0].node

    logic.goOn(node, "also the spleen")

    request = logic.segmenter.requests[-1]
    assert (request.slices, request.window.name, request.threshold) == ((2, 30), "liver", 0.4)


def test_what_is_no_round_cannot_be_gone_on_from(scene):
    logic, node, _ = asked("liver")
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    for wrong in (None, volume, "round", scene.AddNewNodeByClass("vtkMRMLSegmentationNode")):
        with pytest.raises(InputError):
            logic.goOn(wrong)
    scene.RemoveNode(volume)
    with pytest.raises(InputError, match="volume"):
        logic.goOn(node, "also the spleen")


def test_going_on_after_saving_and_loading_gives_the_same(scene, tmp_path):
    def prepared():
        scene.Clear(False)
        logic = make_logic()
        run = logic.ask(add_abdomen(), "the liver, the spleen and the right kidney")
        node = run.rounds[-1].node
        edit_slice(node, "liver", LIVER_SLICE)
        node.GetSegmentation().RemoveSegment(segments(node)["spleen"])
        return logic, run

    def state(rounds):
        return [(one.number, one.tried, one.verdicts, one.page, round_content(one.node)) for one in rounds]

    logic, run = prepared()
    logic.goOn(run.rounds[-1].node, "also the left kidney")
    expected = state(scene_rounds())

    logic, run = prepared()
    before = state(scene_rounds())
    transcript = [one.transcript for one in scene_rounds()]
    save_and_load(scene, tmp_path)
    (loaded,) = scene_rounds()
    assert state([loaded]) == before
    assert [loaded.transcript] == transcript
    assert loaded.request == "the liver, the spleen and the right kidney"
    assert loaded.stop
    logic.goOn(loaded.node, "also the left kidney")

    found = state(scene_rounds())
    assert found == expected
    assert [one.parent for one in scene_rounds()] == ["", loaded.id]
