"""Phrases as they are pasted: in quotes, from lists, with what is not seen, from other keyboards; any text at all."""

# ruff: noqa: E501, RUF001 - what people paste, one per line would be long

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.vocabulary.advice import advice_for, advise
from MedSAM3SegmentLib.vocabulary.phrases import clean_phrase, has_word, prompt_for, split_phrases
from support.external_data import DATA, SHARED
from support.vocabulary import NAMES, VOCABULARY

CASES = SHARED / "cases"

SPOKEN = [
    "segment",
    "the",
    "all of the",
    "please",
    "left",
    "rt.",
    "l.",
    "bilateral",
    "kidneys",
    "of",
    "4",
    ",",
    "(",
    ")",
    "-",
    "_",
    "L1",
]

QUOTES = [
    "“{}”",
    "„{}“",
    "«{}»",
    "« {} »",
    "‘{}’",
    "‚{}‘",
    "‹{}›",
    "「{}」",
    "『{}』",
    "《{}》",
    "【{}】",
    '"{}"',
    "'{}'",
    "`{}`",
    "＂{}＂",
]
INVISIBLE = [
    "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069",
    "\u061c", "\ufe0f", "\u034f", "\u3164", "\U000e0020",
]  # fmt: skip
MARKERS = [
    "1. ", "12. ", "2) ", "(3) ", "4: ", "5 - ", "1.", "１．", "1、", "- ", "– ", "— ", "* ", "+ ", "• ", "◦ ", "▪ ", "‣ ", "· ", "● ",
    "→ ", "> ", "✓ ", "a) ", "(b) ", "iv) ", "[ ] ", "- [x] ", "① ", "❷ ", "# ", "**",
]  # fmt: skip
SPACES = [" ", "\u00a0", "\u2009", "\u202f", "\u3000", "\t", "\x00", "\x1f"]
ENDS = ["", ",", ".", ";", ":", "…", "、", "。", " ", "\u00a0", "\ufeff", "!", " *", "**"]
SEMICOLONS = [
    ";",
    "；",
    "﹔",
    "︔",
    "\u037e",
    "؛",
    "⁏",
    "፤",
    "\u0387",
    "\n",
    "\r\n",
    "\u2028",
    "\u2029",
    "\x0b",
    "\x0c",
    "\x85",
]
COMMAS = [",", "，", "﹐", "︐", "、", "､", "،", "՝", "፣", "⹁"]


@pytest.mark.parametrize("form", [*QUOTES, *(f"{marker}{{}}" for marker in MARKERS), *(f"{{}}{end}" for end in ENDS)])
def test_what_marks_a_phrase_in_a_text_is_no_part_of_it(form):
    assert split_phrases(form.format("left kidney")) == ("left kidney",)
    assert prompt_for(form.format("Left Kidney")) == "left kidney"


@pytest.mark.parametrize("unseen", INVISIBLE)
def test_what_is_not_seen_is_not_asked(unseen):
    for typed in (f"liver{unseen}", f"{unseen}liver", f"li{unseen}ver", f"“{unseen}liver”"):
        assert split_phrases(typed) == ("liver",)
        assert prompt_for(typed) == "liver"


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_one(space):
    assert split_phrases(f"left{space}kidney{space}") == ("left kidney",)


@pytest.mark.parametrize("semicolon", SEMICOLONS)
def test_the_semicolons_of_all_keyboards_and_all_line_ends_separate(semicolon):
    assert split_phrases(f"liver{semicolon}spleen{semicolon}") == ("liver", "spleen")


@pytest.mark.parametrize("comma", COMMAS)
def test_the_commas_of_all_keyboards_are_one(comma):
    assert prompt_for(f"kidney{comma} left") == prompt_for(f"kidney{comma}left") == "left kidney"
    (advice,) = advice_for(f"liver{comma} spleen")
    assert "separate concepts with ';'" in advice


def test_a_pasted_list_is_its_lines():
    assert split_phrases("1. liver\n2. “Spleen”\n\n3) left kidney;") == ("liver", "Spleen", "left kidney")
    assert split_phrases("• liver\r\n• liver\u200b\r\n") == ("liver",)


@pytest.mark.parametrize(
    "phrase",
    [
        "1.5 cm nodule",
        "2-chamber view",
        "a. carotis",
        "covid-19 infection",
        "t1-weighted",
        "<5 mm nodule",
        "l1",
        "4. ventricle",
        "किडनी",
    ],
)
def test_what_only_looks_like_a_marker_is_kept(phrase):
    assert split_phrases(phrase) == (phrase,)
    assert prompt_for(phrase) == phrase


@settings(deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from(["{}", *QUOTES]),
    st.sampled_from(["", *MARKERS]),
    st.sampled_from(ENDS),
    st.sampled_from(["", *INVISIBLE]),
)
def test_a_decorated_name_asks_what_the_plain_one_does(name, quote, marker, end, unseen):
    typed = f"{unseen}{marker}{quote.format(name)}{end}{unseen}"
    assert prompt_for(typed) == prompt_for(name)
    assert split_phrases(typed) == (name,)
    assert VOCABULARY.find(typed) is VOCABULARY.find(name)
    assert clean_phrase(clean_phrase(typed)) == clean_phrase(typed)


ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(
        st.sampled_from([*SPOKEN, *MARKERS, *ENDS, *INVISIBLE, *SEMICOLONS, "\ud800", "\udcfc", "_", "PRV", "-GTV"])
    ).map("".join),
)


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_text_at_all_is_phrases_or_one_sentence(text):
    phrases = split_phrases(text)
    assert all(split_phrases(phrase) == (phrase,) for phrase in phrases)
    for phrase in (text, *phrases):
        assert prompt_for(prompt_for(phrase)) == prompt_for(phrase)
        prompt_for(phrase).encode()
        VOCABULARY.find(phrase)
        VOCABULARY.color_for(phrase)
        assert all(advice.endswith((".", "?")) and "\n" not in advice for advice in advice_for(phrase))
    if not phrases or any("\ufffd" in phrase or not has_word(phrase) for phrase in phrases):
        with pytest.raises(InputError, match=r"\.$"):
            SegmentRequest(phrases)
    else:
        assert SegmentRequest(phrases).concepts == phrases


@pytest.mark.parametrize("typed", ["--", "-", "...", "• ", "“”", "()", "？", "—", "✓", "__"])
def test_punctuation_alone_is_no_phrase(typed):
    with pytest.raises(InputError, match=r"^There is no word in the concept '.+'; type a phrase, such as 'liver'\.$"):
        SegmentRequest(split_phrases(typed))


@pytest.mark.parametrize("typed", ["M\udcfcller", "Fu\udcdf", "\udcd6sophagus"])
def test_bytes_that_are_no_utf_8_are_told_so(typed):
    """Wherever they stand: at an end they are no punctuation that could be left out."""
    with pytest.raises(InputError, match="it is not UTF-8; type it again"):
        SegmentRequest(split_phrases(typed))


@pytest.mark.skipif(not CASES.is_dir(), reason=f"needs the real images in {DATA}, which are not here")
def test_the_phrases_of_the_cases_do_what_stands_beside_them():
    lines = (CASES / "phrases" / "phrases.tsv").read_text(encoding="utf-8").splitlines()[1:]
    checked = 0
    for typed, rule in (line.replace("\\u200b", "\u200b").split("\t") for line in lines):
        if asked := re.search(r"asks (?:the model )?'([\w ]+)'", rule):
            assert prompt_for(typed) == asked[1]
        if called := re.search(r"called '(\w+)'", rule):
            assert split_phrases(typed) == (called[1],)
        if offered := re.search(r"offers '(\w+)'", rule):
            (advice,) = advise(typed)
            assert advice.suggestions[0] == offered[1]
            assert "is not in the vocabulary" in advice.sentence
        if rule.startswith("two concepts"):
            assert split_phrases(typed) == ("liver", "spleen")
        if "does not understand 'no'" in rule:
            assert "does not understand 'no'" in advice_for(typed)[0]
        if rule.startswith("refused"):
            with pytest.raises(InputError):
                SegmentRequest(split_phrases(typed))
        checked += any(word in rule for word in ("asks", "offers", "two concepts", "'no'", "refused"))
    assert checked >= len(lines) - 1, "what the model cuts off is tested with a model"
