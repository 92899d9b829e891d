"""What a person changed of a round, in the library: seeds, typed text, and what is read back of a record."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from MedSAM3AgentLib.actions import CarryEdits, EditMask, SegmentPhrases, UnknownActionError, action_data, action_of
from MedSAM3AgentLib.agent import Agent
from MedSAM3AgentLib.going_on import renamed, with_text
from MedSAM3AgentLib.planning.seeds import Seeds, TargetSeed
from MedSAM3AgentLib.session import AgentRequest, Stop, Verdict
from MedSAM3AgentLib.targets import Pick, Plan, Side, Structure, Target, target_data, target_of
from MedSAM3AgentLib.transcript import proposal_data, recorded_proposal
from MedSAM3SegmentLib.errors import InputError, MissingTrackerError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import message
from MedSAM3SegmentLib.provenance import AdapterIdentity, ModelIdentity, Provenance
from MedSAM3SegmentLib.request import Mode
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary
from support.scripted_segmenter import GRID, REJECT, ScriptedBackend, ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
STACK = SliceStack.along(GRID)
VOCABULARY = Vocabulary.load()
ANSWERS = {
    **dict.fromkeys(("liver", "hepatic tissue", "liver tissue"), MASKS["liver"]),
    **dict.fromkeys(("spleen", "splenic tissue", "spleen tissue"), MASKS["spleen"]),
    **dict.fromkeys(("kidney", "renal tissue", "kidney tissue"), MASKS["kidney"]),
}

words = st.text("abcdefgh ", min_size=1, max_size=12)
structures = st.builds(Structure, words, st.sampled_from([None, *Side]))
targets = st.builds(
    Target,
    structures,
    st.one_of(st.none(), structures),
    st.lists(structures, max_size=2).map(tuple),
    st.sampled_from(list(Pick)),
    st.integers(1, 5),
)


def seeds_of(text: str = "", **changes: object) -> tuple[Seeds, object]:
    """A round on the liver and the spleen, with changes to the liver's seed."""
    result = Agent(ScriptedSegmenter(ANSWERS), draws_pages=False).ask(VOLUME, "liver; spleen")
    seeds = {
        one.target.name: TargetSeed(one.target, one.mask, earlier=one, scores=one.slice_scores) for one in result.kept
    }
    liver = seeds["liver"]
    given_of_liver = {**vars(liver), **changes}
    seeds["liver"] = TargetSeed(**given_of_liver)
    return Seeds(result.plan, seeds, text, provenance=result.provenance, first_number=2), result


def go_on(seeds: Seeds, answers: object = ANSWERS, **options: object):
    segmenter = ScriptedSegmenter(answers)
    agent = Agent(segmenter, options.pop("backend", None), draws_pages=False)
    return agent.ask(VOLUME, AgentRequest(seeds.text or "liver", **options), seeds=seeds), segmenter


@given(targets)
def test_a_target_is_read_back_as_it_was_written(target: Target) -> None:
    assert target_of(json.loads(json.dumps(target_data(target)))) == target


def test_a_proposal_is_read_back_as_it_was_written() -> None:
    result = Agent(ScriptedSegmenter(ANSWERS), draws_pages=False).ask(VOLUME, "liver")
    (kept,) = result.kept
    read = recorded_proposal(json.loads(json.dumps(proposal_data(kept))), kept.target, kept.mask)
    assert proposal_data(read) == proposal_data(kept)
    assert (read.verdict, read.action, read.why) == (kept.verdict, kept.action, kept.why)


def test_provenance_is_read_back_as_it_was_written() -> None:
    model = ModelIdentity("m", "a" * 64, True, (AdapterIdentity("x", "b" * 64),))
    whole = Provenance(
        model, "cpu", "axial", 0.4, "ct", "c" * 64, "2026-01-01", {"torch": "2"}, "slices", {"a": "b"}, "c"
    )
    assert Provenance.from_dict(json.loads(json.dumps(whole.as_dict()))) == whole


def test_no_reply_can_name_what_only_a_person_does() -> None:
    with pytest.raises(UnknownActionError):
        action_of(action_data(CarryEdits((3,))))


@given(arrays(bool, (5, 4, 3)), arrays(bool, (5, 4, 3)), st.sets(st.integers(0, 2)), st.sampled_from(list(Plane)))
def test_edited_slices_replace_those_of_any_mask(mask, left, edited, plane) -> None:
    stack = SliceStack.along(VoxelGrid((5, 4, 3), np.diag([-2.0, -2.0, 3.0, 1.0])), plane)
    seed = TargetSeed(Target(Structure("a")), left, tuple(sorted(edited)))

    found = stack.extract(seed.with_edits(mask, stack))

    for index in range(stack.count):
        source = left if index in edited else mask
        assert np.array_equal(found[index], stack.extract(source)[index])


def test_what_is_sent_to_the_engine_holds_edited_slices_and_the_surest_of_the_others() -> None:
    edited = 25
    seed = TargetSeed(
        Target(Structure("liver")), MASKS["liver"], (edited,), scores=dict.fromkeys(range(40), 0.9) | {18: 0.99}
    )
    (drawn,) = seed.drawn(STACK).masks
    assert edited in drawn.slices
    assert 18 in drawn.slices
    assert len(drawn.slices) == 3
    for index in drawn.slices:
        assert np.array_equal(STACK.extract(drawn.mask)[index], STACK.extract(MASKS["liver"])[index])


def test_nothing_changed_is_nothing_to_go_on_with() -> None:
    seeds, _ = seeds_of()
    with pytest.raises(InputError, match="nothing to go on with"):
        go_on(seeds)


def test_edited_slices_come_back_and_the_rest_is_taken_over() -> None:
    edited = MASKS["liver"].copy()
    edited[25] = np.roll(edited[25], 4, axis=1)
    seeds, before = seeds_of(mask=edited, edited=(25,), is_edited=True)

    result, segmenter = go_on(seeds)

    liver, spleen = result.kept
    assert np.array_equal(liver.mask[25], edited[25])
    assert spleen is seeds.targets["spleen"].earlier
    assert liver.action == CarryEdits((25,))
    assert [one.mode for one in segmenter.requests][-1] is Mode.PROPAGATE
    assert [one.number for one in result.rounds] == [2]
    assert result.stop is Stop.ACCEPTED
    assert str(result.why) == "Accepted in round 2."
    assert np.array_equal(before.kept[0].mask, MASKS["liver"])


def test_a_model_that_cannot_follow_leaves_the_edit_and_says_so() -> None:
    class WithoutTracker(ScriptedSegmenter):
        def segment(self, volume, request, *rest):
            if request.mode is Mode.PROPAGATE:
                raise MissingTrackerError(message("no tracker"))
            return super().segment(volume, request, *rest)

    edited = MASKS["liver"].copy()
    edited[25] = False
    seeds, _ = seeds_of(mask=edited, edited=(25,), is_edited=True)
    result = Agent(WithoutTracker(ANSWERS), draws_pages=False).ask(VOLUME, "liver", seeds=seeds)
    assert np.array_equal(result.kept[0].mask, edited)
    assert any("cannot follow" in str(said) for said in result.messages)


def test_a_rejected_object_is_not_proposed_again() -> None:
    seeds, _ = seeds_of(mask=np.zeros(GRID.shape, bool), rejected=MASKS["liver"], is_sought=True)
    result, _ = go_on(seeds)
    assert result.kept[0].is_absent
    # Another object of the phrase is.
    both = {name: mask | MASKS["spleen"] for name, mask in ANSWERS.items() if "liver" in name or "hepatic" in name}
    result, _ = go_on(seeds, {**ANSWERS, **both})
    assert np.array_equal(result.kept[0].mask, MASKS["spleen"])


def test_votes_cannot_reject_what_a_person_edited() -> None:
    seeds, _ = seeds_of(mask=MASKS["spleen"], edited=tuple(range(40)), is_edited=True)
    result, _ = go_on(seeds, backend=ScriptedBackend([REJECT] * 9), rounds=1)
    assert np.array_equal(result.kept[0].mask, MASKS["spleen"])
    assert result.kept[0].verdict is not Verdict.REJECTED


@pytest.mark.parametrize("text", ["grow the liver 5 mm", "shrink the liver by 1 cm; fill holes"])
def test_a_command_is_done_at_once_and_asks_no_model(text: str) -> None:
    seeds, _ = seeds_of(text)
    result, segmenter = go_on(seeds)
    assert segmenter.requests == []
    assert isinstance(result.kept[0].action, EditMask)
    assert result.kept[0].verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("without the cyst", ["liver without cyst", "spleen without cyst"]),
        ("but without the cyst and the vessels", ["liver without cyst, vessels", "spleen without cyst, vessels"]),
        ("remove the cyst", ["liver without cyst", "spleen without cyst"]),
        ("also the left kidney", ["liver", "spleen", "left kidney"]),
        ("the mass in the left kidney", ["liver", "spleen", "mass in left kidney"]),
        ("instead the left kidney", ["left kidney"]),
        ("the left kidney instead", ["left kidney"]),
        ("only inside the abdomen", ["liver in abdomen", "spleen in abdomen"]),
    ],
)
def test_further_requests_change_what_is_looked_for(text: str, expected: list[str]) -> None:
    seeds, _ = seeds_of(text)
    found = with_text(seeds, VOLUME, VOCABULARY)
    names = [target.description for target in found.plan.targets]
    assert [name.replace("vessel", "vessels").replace("vesselss", "vessels") for name in names] == expected


def test_what_is_no_segment_yet_is_no_command_on_segments() -> None:
    seeds, _ = seeds_of("without the spleen")
    # The spleen is a segment, so this is a command, and does not say of which.
    with pytest.raises(InputError, match="name one"):
        with_text(seeds, VOLUME, VOCABULARY)
    seeds, _ = seeds_of("the liver without the spleen")
    found = with_text(seeds, VOLUME, VOCABULARY)
    assert [target.description for target in found.plan.targets] == ["liver without spleen", "spleen"]
    assert found.targets["liver"].is_sought


@pytest.mark.parametrize(
    "text",
    ["keep the largest of the liver", "liver: grow 5 mm", "smooth it nicely", "shrink a little", "rename it"],
)
def test_an_order_that_is_not_understood_is_no_structure_to_look_for(text: str) -> None:
    seeds, _ = seeds_of(text)
    with pytest.raises(InputError):
        with_text(seeds, VOLUME, VOCABULARY)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused_in_a_sentence(text: str) -> None:
    seeds = Seeds(
        Plan((Target(Structure("liver")),)),
        {"liver": TargetSeed(Target(Structure("liver")), MASKS["liver"])},
        text,
    )
    with suppress(InputError):
        assert with_text(seeds, VOLUME, VOCABULARY).plan.targets


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spleen", Target(Structure("spleen"))),
        ("Left Kidney", Target(Structure("kidney", Side.LEFT))),
        ("cyst in the liver", Target(Structure("cyst"), Structure("liver"))),
        ("???", Target(Structure("???"))),
    ],
)
def test_a_new_name_is_another_phrase(name: str, expected: Target) -> None:
    assert renamed(Target(Structure("mass"), Structure("kidney")), name, VOCABULARY) == expected


def test_phrases_are_asked_again_where_a_segment_was_renamed() -> None:
    seeds, _ = seeds_of()
    target = Target(Structure("kidney"))
    liver = seeds.targets["liver"]
    changed = TargetSeed(target, liver.mask, earlier=liver.earlier, is_sought=True)
    plan = Plan((target, *seeds.plan.targets[1:]))
    found = Seeds(plan, {"kidney": changed, "spleen": seeds.targets["spleen"]}, provenance=seeds.provenance)
    result, _ = go_on(found)
    assert np.array_equal(result.kept[0].mask, MASKS["kidney"])
    assert isinstance(result.kept[0].action, SegmentPhrases)
