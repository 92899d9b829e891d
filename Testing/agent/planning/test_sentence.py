"""Sentences become targets, containers, sides, exclusions and picks; what the vocabulary knows is left whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3AgentLib.planning.sentence import is_implicit_question, plan_by_rules
from MedSAM3AgentLib.planning.wordings import confusers_of, is_paired, organ_of_finding, wordings_of
from MedSAM3AgentLib.targets import Pick, Side, Structure, Target
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()
LEFT, RIGHT = Side.LEFT, Side.RIGHT


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("Segment the liver.", [Target(Structure("liver"))]),
        ("liver and spleen", [Target(Structure("liver")), Target(Structure("spleen"))]),
        ("liver; spleen\naorta", [Target(Structure(name)) for name in ("liver", "spleen", "aorta")]),
        ("left and right kidneys", [Target(Structure("kidney", LEFT)), Target(Structure("kidney", RIGHT))]),
        ("kidney, right", [Target(Structure("kidney", RIGHT))]),
        ("both kidneys", [Target(Structure("kidney"))]),
        ("the left atrium", [Target(Structure("left atrium"))]),
        ("circle of Willis", [Target(Structure("circle of willis"))]),
        (
            "the mass in the right kidney, without the cyst",
            [Target(Structure("mass"), Structure("kidney", RIGHT), (Structure("cyst"),))],
        ),
        (
            "the liver without the tumor, and the left kidney",
            [Target(Structure("liver"), None, (Structure("tumor"),)), Target(Structure("kidney", LEFT))],
        ),
        (
            "liver without vessels, tumor, and cyst",
            [Target(Structure("liver"), None, (Structure("vessel"), Structure("tumor"), Structure("cyst")))],
        ),
        (
            "liver without tumor, and right kidney without cyst",
            [
                Target(Structure("liver"), None, (Structure("tumor"),)),
                Target(Structure("kidney", RIGHT), None, (Structure("cyst"),)),
            ],
        ),
        ("the largest lesion of the liver", [Target(Structure("lesion"), Structure("liver"), (), Pick.LARGEST)]),
        ("two largest liver metastases", [Target(Structure("liver metastasis"), None, (), Pick.LARGEST, 2)]),
        ("is there a tumour in the liver?", [Target(Structure("tumor"), Structure("liver"))]),
        ("head of the pancreas", [Target(Structure("head"), Structure("pancreas"))]),
        ("please find all lymph nodes", [Target(Structure("lymph node"))]),
        ("a stone on the right", [Target(Structure("stone", RIGHT))]),
        (
            "the tumor and the cyst in the left kidney",
            [Target(Structure(name), Structure("kidney", LEFT)) for name in ("tumor", "cyst")],
        ),
    ],
)
def test_sentences(text: str, targets: list[Target]) -> None:
    assert list(plan_by_rules(text, VOCABULARY).targets) == targets


@pytest.mark.parametrize(
    "text", ["What explains the pain on the right?", "why is she jaundiced", "what is abnormal here"]
)
def test_questions_are_known_as_such(text: str) -> None:
    assert is_implicit_question(text, VOCABULARY)
    assert not is_implicit_question("where is the spleen", VOCABULARY)


@given(st.text(max_size=60))
def test_any_text_is_planned_or_refused(text: str) -> None:
    try:
        plan = plan_by_rules(text, VOCABULARY)
    except InputError:
        return
    assert plan.targets
    assert len({target.name for target in plan.targets}) == len(plan.targets)


@pytest.mark.parametrize("phrase", [concept.phrase for concept in VOCABULARY.concepts])
def test_wordings_begin_with_what_was_typed_and_never_name_the_other_side(phrase: str) -> None:
    (target,) = plan_by_rules(phrase, VOCABULARY).targets
    wordings = wordings_of(target.structure, None, VOCABULARY)
    assert wordings[0] == phrase
    other = {LEFT: "right ", RIGHT: "left "}.get(target.structure.side) if target.structure.side else None
    assert other is None or not any(word.startswith(other) for word in wordings)
    assert not set(wordings) & set(confusers_of(target.structure, VOCABULARY))


def test_what_the_vocabulary_says_of_pairs_and_organs() -> None:
    assert is_paired("kidney", VOCABULARY)
    assert not is_paired("atrium", VOCABULARY)
    assert organ_of_finding("liver tumor", VOCABULARY) == "liver"
    assert organ_of_finding("liver", VOCABULARY) == ""
