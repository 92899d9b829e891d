"""Phrases: what people type, what the model is asked for it, and what they are advised."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.vocabulary.advice import advice_for
from MedSAM3SegmentLib.vocabulary.characters import plain_characters
from MedSAM3SegmentLib.vocabulary.phrases import clean_phrase, prompt_for, split_phrases
from support.vocabulary import NAMES, VOCABULARY

#: Words that mean something to the parser; phrases made of others must come through untouched.
SPOKEN = [
    "segment", "the", "a", "all", "all of the", "please", "find", "show me", "can you", "left", "right", "lt", "rt.",
    "l.", "r", "bilateral", "kidney", "kidneys", "liver", "tumour", "haemorrhage", "of", "and", "4", "iv", ",", "(",
    ")", "?", ".", "-", "_", "spine", "L1", "grey matter",
]  # fmt: skip


def test_semicolons_and_new_lines_separate_phrases():
    assert split_phrases(" liver;spleen ;; left  kidney\nliver\r\n\ttumor\n") == (
        "liver",
        "spleen",
        "left kidney",
        "tumor",
    )
    assert split_phrases("kidney, left") == ("kidney, left",)
    assert split_phrases(" ;\n; ") == ()


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(categories=("L", "Nd", "Zs")), max_size=12)),
    st.sampled_from([";", "\n", " ;\r\n", "\uff1b"]),
)
def test_every_phrase_typed_comes_back_once_and_in_order(phrases, separator):
    wanted = list(dict.fromkeys(phrase for phrase in map(clean_phrase, phrases) if phrase))
    assert list(split_phrases(separator.join(phrases))) == wanted


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("Liver", "liver"),
        ("  the   LIVER. ", "liver"),
        ("segment the liver", "liver"),
        ("please outline the left kidney", "left kidney"),
        ("Please, segment the liver, please!", "liver"),
        ("Can you show me all of the lung nodules?", "lung nodules"),
        ("Find all liver tumors", "liver tumors"),
        ("kidney, left", "left kidney"),
        ("Segment the kidney, left.", "left kidney"),
        ("kidney left", "left kidney"),
        ("kidney (left)", "left kidney"),
        ("Kidney (R)", "right kidney"),
        ("kidney, l.", "left kidney"),
        ("kidneys, bilateral", "bilateral kidneys"),
        ("lt kidney", "left kidney"),
        ("rt. adrenal gland", "right adrenal gland"),
        ("l. kidney", "left kidney"),
        ("r kidney", "right kidney"),
        ("upper lobe rt", "right upper lobe"),
        ("adrenal_gland_left", "left adrenal gland"),
        ("Lung tumour", "lung tumor"),
        ("oesophageal oedema", "esophageal edema"),
        ("Subarachnoid haemorrhage", "subarachnoid hemorrhage"),
        ("ischaemic stroke", "ischemic stroke"),
        ("grey matter", "gray matter"),
        ("(liver)", "liver"),
        ("- spleen", "spleen"),
    ],
)
def test_the_model_is_asked_the_noun_phrase(typed, asked):
    assert prompt_for(typed) == asked


@pytest.mark.parametrize(
    "phrase",
    [
        "l spine",
        "l and r kidneys",
        "segment 4",
        "segment iv",
        "liver segment 4",
        "outline of the liver",
        "a-line",
        "kidneys left and right",
        "tumor on the left",
        "left kidney, right kidney",
        "liver, spleen",
        "covid-19 infection",
        "l1 vertebra",
    ],
)
def test_what_only_looks_like_a_request_or_a_side_is_kept(phrase):
    assert prompt_for(phrase) == phrase


@settings(deadline=None)
@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(SPOKEN)).map(" ".join), st.lists(st.sampled_from(SPOKEN)).map("".join)
    )
)
def test_asking_again_changes_nothing_and_nothing_is_lost_altogether(text):
    prompt = prompt_for(text)
    assert prompt_for(prompt) == prompt
    assert bool(prompt) == bool(plain_characters(text).strip())


@settings(deadline=None)
@given(st.lists(st.text("bcdgjkmnpqsuvwxyz0123456789", min_size=3, max_size=9), min_size=1, max_size=6).map(" ".join))
def test_an_unknown_phrase_is_asked_as_it_is(phrase):
    assert prompt_for(phrase) == phrase


def test_every_name_in_the_vocabulary_is_already_what_the_model_is_asked():
    assert [name for name in NAMES if prompt_for(name) != name] == []


def test_long_phrases_and_lists_are_told_so():
    assert advice_for("the left kidney") == ()
    (advice,) = advice_for("an unheard-of thing")
    assert advice == "'unheard-of thing' is not in the vocabulary; it is looked for all the same."
    (advice,) = advice_for("Segment the large tumour in the right kidney")
    assert "'large tumor in the right kidney' has six" in advice
    assert advice.endswith("try 'right kidney tumor'.")
    (advice,) = advice_for("portal vein and splenic vein")
    assert "has five" in advice
    assert "'splenoportal axis'" in advice
    for several in ("liver, spleen", "liver and spleen", "liver & spleen"):
        (advice,) = advice_for(several)
        assert "';'" in advice
    (advice,) = advice_for(" ".join(["dark"] * 20))
    assert "has 20 and may be understood poorly." in advice


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(SPOKEN + NAMES)).map(" ".join)))
def test_advice_is_one_sentence_and_suggests_what_is_known_and_short(text):
    for advice in advice_for(text):
        assert advice.endswith((".", "?"))
        assert "\n" not in advice
        if "; try '" in advice:
            suggested = advice.rsplit("; try '", 1)[1].removesuffix("'.")
            assert VOCABULARY.find(suggested).phrase == suggested
            assert len(suggested.split()) <= 3
