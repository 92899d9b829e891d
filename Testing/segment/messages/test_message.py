"""A message is its English sentence, and still knows what it was made of, wherever it goes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedSAM3SceneLib.translation import translate
from MedSAM3SceneLib.translation.translate import translated
from MedSAM3SegmentLib.errors import Cancelled, InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.messages.message import (
    Message,
    as_message,
    from_plain,
    joined,
    message,
    to_plain,
)
from support.slicer_modules import install_base_classes
from support.translations import speak

SAID = message("Found on slice {first}; the best score is {score:.2f}.", first=np.int64(3), score=np.float32(0.875))


def test_a_message_is_its_english_sentence():
    assert SAID == "Found on slice 3; the best score is 0.88."
    assert json.dumps([SAID]) == '["Found on slice 3; the best score is 0.88."]'
    assert f"{SAID}" == "".join([SAID]) == SAID
    assert (SAID.template, SAID.facts) == (
        "Found on slice {first}; the best score is {score:.2f}.",
        {"first": 3, "score": 0.875},
    )
    assert [type(fact) for fact in SAID.facts.values()] == [int, float]


def test_facts_read_as_in_an_f_string():
    facts = {"flag": True, "nothing": None, "plane": Plane.AXIAL, "path": Path("a") / "b", "shape": (1, 2)}

    said = message("{flag} {nothing} {plane} {path} {shape}", **facts)

    assert said == "True None axial {} (1, 2)".format(Path("a") / "b")


@pytest.mark.parametrize("by", [copy.copy, copy.deepcopy, lambda said: pickle.loads(pickle.dumps(said)), str])
def test_a_message_stays_one_when_it_is_copied(by):
    again = by(SAID)

    assert isinstance(again, Message)
    assert (again, again.template, again.facts) == (SAID, SAID.template, SAID.facts)


def test_what_str_makes_of_an_error_keeps_the_facts():
    error = InputError("'{name}' holds no image.", name="braces {0} in a name")

    assert str(error) == "'braces {0} in a name' holds no image."
    assert str(error).facts == error.message.facts == {"name": "braces {0} in a name"}
    assert str(InputError("What {is} not filled.")) == "What {is} not filled."
    assert str(InputError(SAID)).facts == SAID.facts
    assert str(Cancelled()) == Cancelled().message == "The segmentation was cancelled; nothing was written."


@pytest.mark.parametrize(
    "template",
    [
        "{name.__class__}", "{name[0]}", "{name!r}", "{name:>1000000000}", "{name:{name}}", "{name:.99f}", "{}", "{0}",
        "{other}", "{name", "}", "{name:d}",
    ],
)  # fmt: skip
def test_a_template_can_name_facts_and_nothing_else(template):
    with pytest.raises(ValueError, match=r"."):
        Message(template, {"name": "x", "0": "y", "": "z"})


def test_sentences_are_joined_without_losing_what_they_are():
    both = joined([SAID, "Plain {text}."])

    assert both == "Found on slice 3; the best score is 0.88. Plain {text}."
    assert both.in_language(lambda text: text.replace("Found on slice", "Auf Schicht")).startswith("Auf Schicht 3;")
    assert joined([SAID]) is SAID
    assert joined([]) == ""


_texts = st.text(max_size=8)
_facts = _texts | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
_messages = st.recursive(
    st.builds(lambda text: as_message(text), _texts) | st.builds(lambda one: message("{one} is.", one=one), _facts),
    lambda inner: st.builds(lambda one, two: message("{one} of {two:g}", one=one, two=two), inner, st.floats(0, 9)),
    max_leaves=4,
)


@given(_messages)
def test_a_message_comes_back_from_json(said):
    again = from_plain(json.loads(json.dumps(to_plain(said))))

    assert type(again) is Message
    assert (again, again.template, again.facts) == (said, said.template, said.facts)


_INNER = {"text": "x", "template": "x", "facts": {}}


def _nested(depth):
    return {"text": "x", "template": "{a}", "facts": {"a": _nested(depth - 1) if depth else "x"}}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"template": "Another text {first} {score:.2f}."},
        {"template": "{first.real} {score}"},
        {"template": "{first:>2000000000}"},
        {"template": 7},
        {"template": "x" * 10**5},
        {"template": None},
        {"facts": {}},
        {"facts": {"first": [3], "score": 0.875}},
        {"facts": {"first": True, "score": 0.875}},
        {"facts": {"first": 3, "score": "much"}},
        {"facts": {"first": {"text": "3"}, "score": 0.875}},
        {"facts": dict.fromkeys(map(str, range(1000)), "x") | {"first": 3, "score": 0.875}},
        {"facts": [["first", 3]]},
        {"facts": None},
        {"facts": {"first": _nested(50), "score": 10**400}},
    ],
)
def test_what_does_not_fit_together_is_plain_text(spoiled):
    again = from_plain(to_plain(SAID) | spoiled)

    assert again == SAID
    assert again.facts == {}
    assert again.in_language(lambda text: text) == SAID


def test_messages_within_each_other_have_an_end():
    assert from_plain(_nested(3)).facts
    assert not from_plain(_nested(30)).facts


@pytest.mark.parametrize("plain", [None, 3, [], {}, {"text": None}, {"text": 3, "template": "3", "facts": {}}])
def test_what_has_no_text_is_refused(plain):
    with pytest.raises(ValueError, match="no text"):
        from_plain(plain)


@pytest.fixture
def german(monkeypatch, scene):
    """A language whose words a test gives."""
    import slicer

    del scene
    install_base_classes(slicer)
    return speak(monkeypatch, slicer.app)


RANGE = "The slice range {first}:{end} is not inside the {count} {plane} slices 0:{count}."


def range_error():
    return message(RANGE, first=3, end=99, count=24, plane=Plane.AXIAL.words)


def test_a_sentence_is_translated_with_its_facts_in_the_languages_order(german):
    german.words[RANGE] = "Von den {count} {plane} Schichten liegen {first} bis {end} nicht alle in 0:{count}."
    german.words["axial"] = "axialen"

    assert translated(range_error()) == "Von den 24 axialen Schichten liegen 3 bis 99 nicht alle in 0:24."
    assert {context for context, _ in german.asked} == {translate.CONTEXT}
    assert range_error() == "The slice range 3:99 is not inside the 24 axial slices 0:24."


@pytest.mark.parametrize("wrong", ["{first}:{end} {anzahl} {plane}", "Ohne Angaben.", "{first", "{first:>9999999999}"])
def test_a_translation_that_cannot_be_filled_leaves_english(german, wrong):
    german.words[RANGE] = wrong

    assert translated(range_error()) == "The slice range 3:99 is not inside the 24 axial slices 0:24."


def test_typed_text_and_sentences_of_others_are_not_translated(german):
    german.words["axial"] = german.words["A stranger's {name}."] = "FALSCH"

    assert translated(message("'{concept}' is not in the result; choose one of its concepts.", concept="axial")) == (
        "'axial' is not in the result; choose one of its concepts."
    )
    assert translated(message("A stranger's {name}.", name="x")) == "A stranger's x."
    assert translated("axial") == "axial"
    assert "A stranger's {name}." not in [text for _, text in german.asked]
