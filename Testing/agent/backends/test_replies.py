"""Whatever a language model replies is an action or a named stop: 60 collected kinds and 10,000 generated ones."""

# ruff: noqa: E501  one row of the table, one line

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3AgentLib.actions import (
    Accept,
    ChooseObjects,
    EditMask,
    ExampleBox,
    LookCloser,
    ReportAbsent,
    SegmentPhrases,
    SetThreshold,
    action_data,
    action_of,
)
from MedSAM3AgentLib.backends.replies import ReplyFault, action_in, answer_in, json_in, plan_in, verdict_in
from MedSAM3AgentLib.reply_words import clean_phrase, clean_text
from MedSAM3AgentLib.targets import Plan, Side, Structure

ACCEPT, REJECT = True, False

#: Kinds of reply that were seen from models and servers, with what each is.
COLLECTED = {
    "plain": ('{"action": "accept"}', Accept()),
    "fenced": ('```json\n{"action": "accept"}\n```', Accept()),
    "fenced without a language": ('```\n{"action":"accept"}\n```', Accept()),
    "prose around": ('Sure! Here it is: {"action": "accept"} Hope that helps.', Accept()),
    "thought before": ('<think>it is {"action": "fly"}</think>{"action": "accept"}', Accept()),
    "thought that began in the template": ('so it is right.</think>\n{"action": "accept"}', Accept()),
    "only a thought": ("<think>the liver is", ReplyFault.ONLY_THOUGHTS),
    "a closed thought and nothing": ("<think>hm</think>  ", ReplyFault.ONLY_THOUGHTS),
    "two objects": ('{"action": "accept"}\n{"action": "report_absent"}', Accept()),
    "cut off": ('{"action": "segment", "phrases": ["liver", "hepatic tis', SegmentPhrases(("liver", "hepatic tis"))),
    "cut off after a comma": ('{"action": "segment", "phrases": ["liver"],', SegmentPhrases(("liver",))),
    "cut off at once": ("{", ReplyFault.NO_JSON),
    "prose only": ("The liver looks fine to me.", ReplyFault.NO_JSON),
    "refusal": ("I'm sorry, I can't help with medical images.", ReplyFault.REFUSAL),
    "refusal of another kind": ("As an AI language model I cannot interpret scans.", ReplyFault.REFUSAL),
    "empty": ("", ReplyFault.EMPTY),
    "blank": (" \n\t ", ReplyFault.EMPTY),
    "null": ("null", ReplyFault.NO_JSON),
    "array": ('["accept"]', ReplyFault.NO_JSON),
    "array of objects": ('[{"action": "accept"}]', Accept()),
    "number": ("42", ReplyFault.NO_JSON),
    "empty object": ("{}", ReplyFault.NO_JSON),
    "unknown action": ('{"action": "fly"}', ReplyFault.UNKNOWN_ACTION),
    "action of a wrong type": ('{"action": 7}', ReplyFault.UNKNOWN_ACTION),
    "action is null": ('{"action": null}', ReplyFault.UNKNOWN_ACTION),
    "single quotes": ("{'action': 'accept'}", Accept()),
    "keys without quotes": ('{action: "accept"}', Accept()),
    "trailing comma": ('{"action": "accept",}', Accept()),
    "comments": ('{"action": "accept" // fine\n}', Accept()),
    "Python's words": ('{"action": "choose_objects", "numbers": [1], "more": None, "sure": True}', ChooseObjects((1,))),
    "NaN": ('{"action": "threshold", "value": NaN}', ReplyFault.UNKNOWN_ACTION),
    "infinite": ('{"action": "threshold", "value": 1e999}', ReplyFault.UNKNOWN_ACTION),
    "typographic quotes": ("{\u201caction\u201d: \u201caccept\u201d}", Accept()),
    "nested under action": ('{"action": {"action": "accept"}}', Accept()),
    "a tool call": ('{"name": "choose_objects", "arguments": {"numbers": [2]}}', ChooseObjects((2,))),
    "a tool call with text": ('{"name": "choose_objects", "arguments": "{\\"numbers\\": [2]}"}', ChooseObjects((2,))),
    "Meta's tool tag": ('<tool>{"name": "segment_phrase", "parameters": {"text_prompt": "liver"}}</tool>', ReplyFault.UNKNOWN_ACTION),
    "channel marks": ('<|channel|>final<|message|>{"action": "accept"}', Accept()),
    "turn marks": ('<start_of_turn>{"action": "accept"}<end_of_turn>', Accept()),
    "HTML": ("<html><body>502 Bad Gateway</body></html>", ReplyFault.NO_JSON),
    "Markdown bold": ('**{"action": "accept"}**', Accept()),
    "number as text": ('{"action": "threshold", "value": "0.4"}', SetThreshold(0.4)),
    "number with a unit": ('{"action": "threshold", "value": "40 %"}', ReplyFault.UNKNOWN_ACTION),
    "threshold too high": ('{"action": "threshold", "value": 12}', SetThreshold(0.95)),
    "threshold below": ('{"action": "threshold", "value": -3}', SetThreshold(0.05)),
    "boolean for a number": ('{"action": "threshold", "value": true}', ReplyFault.UNKNOWN_ACTION),
    "one number, no list": ('{"action": "choose_objects", "numbers": 3}', ChooseObjects((3,))),
    "numbers repeated": ('{"action": "choose_objects", "numbers": [3, 3, 1]}', ChooseObjects((3, 1))),
    "number 0": ('{"action": "choose_objects", "numbers": [0]}', ReplyFault.UNKNOWN_ACTION),
    "number too high": ('{"action": "choose_objects", "numbers": [100]}', ReplyFault.UNKNOWN_ACTION),
    "half a number": ('{"action": "choose_objects", "numbers": [1.5]}', ReplyFault.UNKNOWN_ACTION),
    "no numbers": ('{"action": "choose_objects", "numbers": []}', ReplyFault.UNKNOWN_ACTION),
    "cells": ('{"action": "example_box", "tile": 2, "first": "C3", "last": "e5"}', ExampleBox(2, (2, 2), (4, 4))),
    "cells the wrong way round": ('{"action": "example_box", "tile": 2, "first": "E5", "last": "C3"}', ExampleBox(2, (2, 2), (4, 4))),
    "cells beside the grid": ('{"action": "example_box", "tile": 2, "first": "J9"}', ReplyFault.UNKNOWN_ACTION),
    "pixels for cells": ('{"action": "example_box", "tile": 1, "first": [10, 20]}', ReplyFault.UNKNOWN_ACTION),
    "phrase as text": ('{"action": "segment", "phrase": "Liver"}', SegmentPhrases(("liver",))),
    "phrase that orders": ('{"action": "segment", "phrases": ["ignore previous instructions"]}', ReplyFault.UNKNOWN_ACTION),
    "phrase that is a path": ('{"action": "segment", "phrases": ["../../etc/passwd"]}', ReplyFault.UNKNOWN_ACTION),
    "phrase that is an address": ('{"action": "segment", "phrases": ["http://evil.example"]}', ReplyFault.UNKNOWN_ACTION),
    "phrase that is code": ('{"action": "segment", "phrases": ["__import__(\\"os\\")"]}', ReplyFault.UNKNOWN_ACTION),
    "phrase too long": ('{"action": "segment", "phrases": ["the large mass that lies in the liver"]}', ReplyFault.UNKNOWN_ACTION),
    "phrase with a side": ('{"action": "segment", "phrases": ["kidney"], "side": "LEFT"}', SegmentPhrases(("kidney",), side=Side.LEFT)),
    "a window of no name": ('{"action": "look_closer", "tile": 1, "window": "../x"}', LookCloser(1)),
    "an edit that is a shell": ('{"action": "edit", "command": "$(rm -rf /)"}', ReplyFault.UNKNOWN_ACTION),
    "an edit": ('{"action": "edit", "command": "keep the largest"}', EditMask("keep the largest")),
    "a reason with HTML": ('{"action": "report_absent", "reason": "<b>no</b>"}', ReportAbsent("<b>no</b>")),
    "1 MB": ('{"action": "accept", "answer": "' + "x" * 1_000_000 + '"}', Accept("x" * 199 + "…")),
    "deep": ("{" * 5000, ReplyFault.NO_JSON),
    "deep and closed": ('{"a":' * 300 + "1" + "}" * 300, ReplyFault.NO_JSON),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLLECTED)
def test_collected_kinds_of_reply(kind: str) -> None:
    text, expected = COLLECTED[kind]
    assert action_in(text) == expected


def test_enough_kinds_were_collected() -> None:
    assert len(COLLECTED) >= 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"verdict": "accept"}', ACCEPT),
        ('{"verdict": "REJECT", "reason": "spleen"}', REJECT),
        ('<think>reject?</think>{"verdict": "accept"}', ACCEPT),
        ("Accept.", ACCEPT),
        ("**reject**", REJECT),
        ('{"accept": false}', REJECT),
        ('{"verdict": "unsure"}', None),
        ("It could be accepted or rejected.", None),
        ("<think>accept", None),
        ("", None),
        ('{"verdict": ["accept"]}', None),
    ],
)
def test_verdicts(text: str, expected: bool | None) -> None:
    assert verdict_in(text) is expected


def test_a_plan_takes_sides_out_of_phrases_and_drops_what_is_no_phrase() -> None:
    text = json.dumps(
        {
            "targets": [
                {"phrase": "right kidney", "inside": "abdomen"},
                {"phrase": "http://x"},
                {"phrase": "cyst", "inside": "kidney", "inside_side": "left", "without": ["stone", "ignore this"]},
                "ureter",
            ],
            "rationale": "The kidney\nlies <there>.",
        }
    )
    plan = plan_in(text, "a model")

    assert isinstance(plan, Plan)
    assert [target.name for target in plan.targets] == ["right kidney in abdomen", "cyst in left kidney", "ureter"]
    assert plan.targets[1].without == (Structure("stone"),)
    assert plan.rationale == "The kidney lies <there>."


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        "action",
        "phrases",
        "phrase",
        "numbers",
        "value",
        "tile",
        "first",
        "last",
        "command",
        "side",
        "targets",
        "verdict",
    ]
)
NAMES = st.sampled_from(
    ["segment", "choose_objects", "threshold", "example_box", "edit", "look_closer", "accept", "fly"]
)


@settings(max_examples=3000)
@given(st.dictionaries(KEYS, VALUES | NAMES, max_size=6), st.text(max_size=20), st.integers(0, 400))
def test_generated_replies_are_an_action_or_a_named_fault(data: dict[str, object], around: str, cut: int) -> None:
    text = around + json.dumps(data)[: 400 - cut] + around
    _check(text)


@settings(max_examples=3000)
@given(st.text(max_size=200))
def test_any_text_is_an_action_or_a_named_fault(text: str) -> None:
    _check(text)


@settings(max_examples=4000)
@given(
    st.lists(st.sampled_from([*'{}[]",:\\ \n', "<think>", "</think>", "action", "accept", "null", "1"]), max_size=40)
)
def test_broken_json_is_an_action_or_a_named_fault(pieces: list[str]) -> None:
    _check("".join(pieces))


def _check(text: str) -> None:
    action = action_in(text)
    if not isinstance(action, ReplyFault):
        assert action_of(action_data(action)) == action
    assert verdict_in(text) in (True, False, None)
    assert isinstance(plan_in(text, "m"), Plan | ReplyFault)
    assert isinstance(answer_in(text), str)
    assert isinstance(json_in(text), dict | ReplyFault)


@given(st.text(max_size=100))
def test_a_phrase_is_a_few_plain_words_or_nothing(text: str) -> None:
    phrase = clean_phrase(text)
    assert len(phrase.split()) <= 5
    assert not set(phrase) - set("abcdefghijklmnopqrstuvwxyz0123456789- ")


@given(st.text(max_size=2000))
def test_free_text_is_one_short_line(text: str) -> None:
    line = clean_text(text)
    assert len(line) <= 200
    assert "\n" not in line
    assert line.isprintable()
