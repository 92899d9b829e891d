"""A user's own vocabulary is read, or refused in one sentence that names what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.vocabulary.terminology import (
    LEFT,
    Code,
    Concept,
    terminology_entry,
)
from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary


def _write(folder: Path, *entries: object) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps({"concepts": entries}), encoding="utf-8")
    return path


def test_a_users_vocabulary_is_read(tmp_path):
    code = {"scheme": "99MINE", "code": "1", "meaning": "Thing"}
    path = _write(
        tmp_path,
        {"phrase": "The Thing", "colour": [1, 2, 3], "category": code, "type": code, "sides": True, "window": "lung"},
        {"phrase": "other", "colour": [0, 0, 255]},
    )
    mine = Vocabulary.load(path)
    assert [concept.phrase for concept in mine.concepts] == ["thing", "left thing", "right thing", "other"]
    assert mine.find("thing, left").type_modifier == LEFT
    assert mine.find("things") == Concept("thing", (), Code(**code), Code(**code), window="lung", color=(1, 2, 3))
    assert mine.find("liver") is None


GOOD = {"phrase": "thing", "colour": [1, 2, 3]}


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (7, "entry 2 must be an object"),
        ({"colour": [1, 2, 3]}, "entry 2 needs a 'phrase'"),
        ({"phrase": " ", "colour": [1, 2, 3]}, "entry 2 (' ') needs a 'phrase'"),
        ({"phrase": "other"}, "entry 2 ('other') needs 'colour' as three whole numbers from 0 to 255"),
        ({**GOOD, "phrase": "other", "colour": [1, 2, 256]}, "needs 'colour'"),
        ({**GOOD, "phrase": "other", "colour": [1, 2, True]}, "needs 'colour'"),
        ({**GOOD, "phrase": "other", "color": [1, 2, 3]}, "has an unknown field 'color'"),
        ({**GOOD, "phrase": "other", "synonyms": "x"}, "needs 'synonyms' as a list of words"),
        ({**GOOD, "phrase": "other", "synonyms": [""]}, "needs 'synonyms' as a list of words"),
        ({**GOOD, "phrase": "other", "window": "wide"}, "needs 'window' as null or one of soft-tissue"),
        ({**GOOD, "phrase": "other", "window": []}, "needs 'window'"),
        ({**GOOD, "phrase": "other", "sides": "both"}, "needs 'sides' as true or false"),
        ({**GOOD, "phrase": "other", "type": "SCT"}, "needs 'type' as an object"),
        (
            {**GOOD, "phrase": "other", "type": {"scheme": "SCT", "code": 1, "meaning": "x"}},
            "needs 'type' as an object",
        ),
        (
            {**GOOD, "phrase": "other", "type": {"scheme": "SCT", "code": "1~2", "meaning": "x"}},
            "free of ~ and ^",
        ),
        (
            {**GOOD, "phrase": "other", "type": {"scheme": "SCT", "code": "1", "meaning": "x"}},
            "needs 'category' and 'type' both, or neither",
        ),
        ({**GOOD, "phrase": "things"}, "means both 'thing' and 'things'"),
    ],
)
def test_a_wrong_entry_is_named_in_one_sentence(tmp_path, entry, complaint):
    path = _write(tmp_path, GOOD, entry)
    with pytest.raises(InputError) as caught:
        Vocabulary.load(path)
    message = str(caught.value)
    assert complaint in message
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"concepts": {}}', "[" * 100_000, "\ufeff{}"])
def test_a_file_that_is_no_vocabulary_is_refused_by_name(tmp_path, text):
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json") as caught:
        Vocabulary.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json cannot be read: No such file or directory\."):
        Vocabulary.load(tmp_path / "absent.json")
    (tmp_path / "latin.json").write_bytes('{"concepts": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.json is not valid JSON"):
        Vocabulary.load(tmp_path / "latin.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


FIELDS = ["synonyms", "sides", "category", "type", "anatomic_region", "window", "colour", "modalities"]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda entry: {**GOOD, **entry}) | JSON, max_size=3))
def test_any_json_is_a_vocabulary_or_an_input_error(tmp_path_factory, entries):
    path = _write(tmp_path_factory.getbasetemp(), *entries)
    try:
        vocabulary = Vocabulary.load(path)
    except InputError as error:
        vocabulary = Vocabulary([])
        complaint = str(error)
    else:
        complaint = ""
    assert not complaint or ("mine.json" in complaint and complaint.endswith("."))
    for concept in vocabulary.concepts:
        assert vocabulary.find(concept.phrase) is concept
        assert terminology_entry(concept).count("~") == 6
