"""What is said of phrases that the vocabulary does not know, and of words that the model does not understand."""

# ruff: noqa: E501 - what people paste, one per line would be long

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.vocabulary.advice import advice_for, advise
from support.vocabulary import NAMES, VOCABULARY


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lver", "liver"), ("livre", "liver"), ("kidny", "kidney"), ("left kideny", "left kidney"), ("pancras", "pancreas"),
        ("gallblader", "gallbladder"), ("spinalcord", "spinal cord"), ("leftkidney", "left kidney"), ("prostat", "prostate"),
        ("oesophagous", "esophagus"), ("adrenal glnad", "adrenal gland"), ("Leber", "liver"), ("LEBER", "liver"), ("linke Niere", "left kidney"),
        ("foie", "liver"), ("rein gauche", "left kidney"), ("hígado", "liver"), ("higado", "liver"), ("fígado", "liver"), ("fegato", "liver"),
        ("lever", "liver"), ("milt", "spleen"), ("肝臓", "liver"), ("肝脏", "liver"), ("左肾", "left kidney"), ("右 腎臓", "right kidney"),
        ("간", "liver"), ("печень", "liver"), ("левая почка", "left kidney"), ("máj", "liver"), ("karaciğer", "liver"), ("sağ böbrek", "right kidney"),
        ("wątroba", "liver"), ("hepar", "liver"), ("ήπαρ", "liver"),
    ],
)  # fmt: skip
def test_what_is_not_known_gets_the_nearest_that_is(typed, meant):
    (advice,) = advise(typed)
    assert "is not in the vocabulary and is looked for all the same; did you mean" in advice.sentence
    assert advice.suggestions[0] == meant
    assert f"'{meant}'" in advice.sentence


@pytest.mark.parametrize(
    "phrase", ["large liver tumor", "hypodense liver lesion", "left lung base", "bilateral kidneys", "Kidney_L"]
)
def test_known_words_need_no_advice(phrase):
    assert advice_for(phrase) == ()


@pytest.mark.parametrize("phrase", ["cochlea", "banana", "hydronephrosis"])
def test_nothing_is_offered_where_nothing_is_near(phrase):
    assert advice_for(phrase) == (f"'{phrase}' is not in the vocabulary; it is looked for all the same.",)


@settings(deadline=None)
@given(st.sampled_from([name for name in NAMES if len(name) > 6 and name.isalpha()]), st.data())
def test_a_slip_in_a_long_name_offers_the_name(name, data):
    place = data.draw(st.integers(1, len(name) - 2))
    typed = name[:place] + name[place + 1 :]
    if VOCABULARY.find(typed) is None:
        assert any(VOCABULARY.find(name).phrase in advice.suggestions for advice in advise(typed))


def test_translations_lead_to_known_concepts():
    document = json.loads(resource_path("concept_translations.json").read_text(encoding="utf-8"))
    assert {"de", "fr", "es", "pt", "it", "nl", "zh", "ja", "ko", "ru", "hu", "tr"} <= document["words"].keys()
    targets = {concept for concepts in document["words"].values() for concept in concepts}
    assert [
        concept for concept in targets if VOCABULARY.find(concept) is None or VOCABULARY.find(concept).phrase != concept
    ] == []
    for language, concepts in document["words"].items():
        names = [name.casefold() for names in concepts.values() for name in names.split("/")]
        assert all(name.strip() == name and name for name in names)
        assert [name for name, count in Counter(names).items() if count > 1] == [], language


@pytest.mark.parametrize(
    ("typed", "negation", "named"),
    [
        ("no tumor", "no", "tumor"), ("No tumour.", "no", "tumor"), ("liver without tumor", "without", "liver"),
        ("not the liver", "not", "liver"), ("lung except tumor", "except", "lung"), ("non-tumor", "non", "tumor"), ("ohne Tumor", "ohne", "tumor"),
        ("liver w/o cyst", "w/o", "liver"),
    ],
)  # fmt: skip
def test_negation_is_told_so(typed, negation, named):
    (advice,) = advise(typed)
    assert f"finds what is named and does not understand '{negation}'" in advice.sentence
    assert advice.suggestions == (named,)


def test_a_nonenhancing_tumor_is_no_negation():
    assert advice_for("nonenhancing tumor") == advice_for("non enhancing tumor") == ()
