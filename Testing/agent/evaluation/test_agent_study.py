"""The study itself: bases spoil as they say, and the tables count as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from MedSAM3AgentLib.evaluation.agent_study import AGENT, FELL, PLAIN, won_back
from MedSAM3AgentLib.evaluation.bases import KeptAnswers, SpoiledBase
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.case_row import CaseRow
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet, EvaluationCase, Reference
from MedSAM3SegmentLib.evaluation.empty_rule import EmptyRule
from MedSAM3SegmentLib.evaluation.studies.study import score_study
from MedSAM3SegmentLib.evaluation.summarize import compare_methods, summarize_together
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.synthetic.phantom import CONCEPTS
from support.scripted_segmenter import ScriptedSegmenter, abdomen

VOLUME, MASKS = abdomen()
EMPTY = np.zeros(VOLUME.grid.shape, bool)
TRUTHS = {name: MASKS.get(name, EMPTY) for name in CONCEPTS} | {"tumor": MASKS["kidney tumor"]}
WORDS = {"hepatic tissue": "liver", "liver tissue": "liver", "renal tissue": "kidney", "splenic tissue": "spleen"}
PRESENT = tuple(name for name in CONCEPTS if TRUTHS[name].any())


def perfect() -> ScriptedSegmenter:
    return ScriptedSegmenter({**TRUTHS, **{word: TRUTHS[name] for word, name in WORDS.items()}})


def case_set() -> CaseSet:
    references = {name: Reference(mask, VOLUME.grid) for name, mask in TRUTHS.items()}
    case = EvaluationCase("phantom-5", lambda _: references, (), make_image=lambda: VOLUME)
    return CaseSet("one", {name: name for name in CONCEPTS}, [case])


def test_answers_are_asked_of_the_model_once() -> None:
    model = perfect()
    kept = KeptAnswers(model)
    for _ in range(3):
        result = kept.segment(VOLUME, SegmentRequest(("liver", "Spleen")))
        assert [one.concept for one in result.concepts] == ["liver", "Spleen"]
    assert len(model.requests) == 1


def test_a_swapped_phrase_is_answered_as_another_structure_always_the_same() -> None:
    request = SegmentRequest(PRESENT)
    first, again = (SpoiledBase(perfect(), 3, swap=1.0, present=PRESENT).segment(VOLUME, request) for _ in range(2))
    for one, other in zip(first.concepts, again.concepts, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert not np.array_equal(one.mask, TRUTHS[one.concept])
    deaf = SpoiledBase(perfect(), 3, deaf=1.0).segment(VOLUME, request)
    assert not any(one.found or one.mask.any() for one in deaf.concepts)
    clean = SpoiledBase(perfect(), 3).segment(VOLUME, request)
    assert all(np.array_equal(one.mask, TRUTHS[one.concept]) for one in clean.concepts)


def test_what_is_won_back_is_counted_as_by_hand() -> None:
    def row(case: str, base: str, agent: str, value: float | None) -> CaseRow:
        found = "found" if value is not None else "false found"
        tp = 0 if value is None else 1
        return CaseRow(
            case, "", case, "liver", agent, base, found, value, value, None, None, "mm", tp, 0, 0, 1.0, 1.0, "mm3"
        )

    rows = [
        row("1", "clean", PLAIN, 0.9), row("2", "clean", PLAIN, 0.8),
        row("1", "swap .25", PLAIN, 0.1), row("2", "swap .25", PLAIN, 0.8), row("3", "swap .25", PLAIN, None),
        row("1", "swap .25", "oracle", 0.5), row("2", "swap .25", "oracle", 0.8),
    ]  # fmt: skip
    (table,) = won_back(rows)
    assert table.rows == [["swap .25", "oracle", "0.450", "0.650", "50 %"]]
    (together,) = [
        one
        for one in summarize_together(rows, {"all": ("liver",)}, EmptyRule.LEFT_OUT)
        if (one["prompt"], one["phrase"]) == (PLAIN, "swap .25")
    ]
    assert (together["dice"]["mean"], together["false_found"]) == (pytest.approx(0.45), 1)
    (compared,) = compare_methods(rows, [("oracle", PLAIN)], {"all": ("liver",)}, EmptyRule.LEFT_OUT)
    assert (compared["cases"], compared["phrase"]) == (2, "swap .25")
    assert compared["difference"]["mean"] == pytest.approx(0.2)
    # Without the clean base there is nothing that a share could be of.
    assert won_back([one for one in rows if one.phrase != "clean"])[0].rows == []


def test_a_phantom_goes_through_every_backend_and_policy() -> None:
    agents = (PLAIN, "rules", "oracle", "Meta's rules")
    rows = score_study(AGENT, perfect(), case_set(), agents, ("clean", "swap .25"))
    assert len(rows) == 2 * 4 * len(CONCEPTS)
    assert not any((row.measured or {}).get(FELL) for row in rows)
    organs = [row for row in rows if row.phrase == "clean" and row.concept in ("liver", "left kidney", "right kidney")]
    assert all(row.dice == 1 for row in organs)
    assert {row.prompt for row in organs} == set(agents)


def test_spoiled_slices_are_given_to_the_model_and_the_truth_stays() -> None:
    model = perfect()
    rows = score_study(AGENT, model, case_set(), ("rules",), ("clean", "spoiled slices .33"))
    whole, changed = {one.content_hash: one for one in model.volumes}.values()
    slices = [not np.array_equal(a, b) for a, b in zip(whole.array, changed.array, strict=True)]
    # Those without organs have no organ's contrast to lose.
    assert len(slices) / 4 < sum(slices) <= round(len(slices) / 3)
    assert all(row.dice == 1 for row in rows if row.concept == "liver")


def test_a_study_that_lacks_a_name_says_which_there_are() -> None:
    with pytest.raises(InputError, match="no method 'Meta'; there is plain phrase; rules"):
        AGENT.chosen(["Meta"], [])
