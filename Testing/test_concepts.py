"""Phrases: what the model is asked for what people type, and what a segment is then called."""

from __future__ import annotations

import json
import math
import os
import shutil
import string
import subprocess
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.concepts import Vocabulary, advice_for
from MedSAM3SegmentLib.errors import InputError, ModelError
from MedSAM3SegmentLib.intensity import CT_WINDOWS
from MedSAM3SegmentLib.phrases import prompt_for, split_phrases
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.terminology import LEFT, RIGHT, Code, Concept, terminology_entry
from shared_data import DATA, needs_shared

VOCABULARY = Vocabulary.load()
LIBRARY = Path(sys.modules["MedSAM3SegmentLib"].__file__).parent
NAMES = sorted({name for concept in VOCABULARY.concepts for name in (concept.phrase, *concept.synonyms)})

#: Words that mean something to the parser; phrases made of others must come through untouched.
SPOKEN = [
    "segment", "the", "a", "all", "all of the", "please", "find", "show me", "can you", "left", "right", "lt", "rt.",
    "l.", "r", "bilateral", "kidney", "kidneys", "liver", "tumour", "haemorrhage", "of", "and", "4", "iv", ",", "(",
    ")", "?", ".", "-", "_", "spine", "L1", "grey matter",
]  # fmt: skip


# What a user types ----------------------------------------------------------------------------------------------------


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
    st.lists(st.text(st.characters(exclude_characters=";\r\n"), max_size=12)), st.sampled_from([";", "\n", " ;\r\n"])
)
def test_every_phrase_typed_comes_back_once_and_in_order(phrases, separator):
    wanted = list(dict.fromkeys(" ".join(phrase.split()) for phrase in phrases if phrase.strip()))
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
    assert bool(prompt) == bool(text.strip())


@settings(deadline=None)
@given(st.lists(st.text("bcdgjkmnpqsuvwxyz0123456789", min_size=3, max_size=9), min_size=1, max_size=6).map(" ".join))
def test_an_unknown_phrase_is_asked_as_it_is(phrase):
    assert prompt_for(phrase) == phrase


def test_every_name_in_the_vocabulary_is_already_what_the_model_is_asked():
    assert [name for name in NAMES if prompt_for(name) != name] == []


def test_long_phrases_and_lists_are_told_so():
    assert advice_for("the left kidney") == ()
    assert advice_for("an unheard-of thing") == ()
    (advice,) = advice_for("Segment the large tumour in the right kidney")
    assert "'large tumor in the right kidney' has six" in advice
    assert advice.endswith("try 'right kidney tumor'.")
    (advice,) = advice_for("portal vein and splenic vein")
    assert "has five" in advice
    assert "'splenoportal axis'" in advice
    for several in ("liver, spleen", "liver and spleen", "liver & spleen"):
        (advice,) = advice_for(several)
        assert "';'" in advice
    (advice,) = advice_for(" ".join(["qqq"] * 20))
    assert "has 20 and may be understood poorly." in advice


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(SPOKEN + NAMES)).map(" ".join)))
def test_advice_is_one_sentence_and_suggests_what_is_known_and_short(text):
    for advice in advice_for(text):
        assert advice.endswith(".")
        assert "\n" not in advice
        if "; try '" in advice:
            suggested = advice.rsplit("; try '", 1)[1].removesuffix("'.")
            assert VOCABULARY.find(suggested).phrase == suggested
            assert len(suggested.split()) <= 3


# What is in the vocabulary --------------------------------------------------------------------------------------------


def test_the_vocabulary_is_large_and_of_short_lower_case_phrases():
    entries = json.loads(resource_path("concepts.json").read_text(encoding="utf-8"))["concepts"]
    assert len(entries) >= 200
    levels = [entry for entry in entries if entry["phrase"].endswith((" vertebra", " rib"))]
    assert len(entries) - len(levels) >= 200
    findings = [entry for entry in entries if (entry.get("category") or {}).get("code") == "49755003"]
    assert len(findings) >= 60
    for concept in VOCABULARY.concepts:
        assert 1 <= len(concept.phrase.split()) <= 3, concept.phrase
        assert concept.window is None or concept.window in CT_WINDOWS
    phrases = [concept.phrase for concept in VOCABULARY.concepts]
    assert len(set(phrases)) == len(phrases)


@pytest.mark.parametrize(
    "phrase",
    ["liver", "spleen", "left kidney", "right kidney", "kidney", "spine", "aorta", "stomach", "tumor", "liver tumor"],
)
def test_one_pass_of_the_image_encoder_serves_the_whole_abdomen(phrase):
    assert VOCABULARY.find(phrase).phrase == phrase
    assert VOCABULARY.window_for(phrase) == "soft-tissue"


@pytest.mark.parametrize(
    ("phrase", "window"),
    [
        ("left lung", "lung"),
        ("lung nodule", "lung"),
        ("pneumothorax", "lung"),
        ("L3 vertebra", "bone"),
        ("left ribs", "bone"),
        ("brain tumor", "brain"),
        ("ischemic stroke lesion", "stroke"),
        ("subdural hematoma", "subdural"),
        ("coronary arteries", "angiography"),
        ("optic disc", None),
        ("something unheard of", None),
    ],
)
def test_concepts_bring_the_window_they_are_read_in(phrase, window):
    assert VOCABULARY.window_for(phrase) == window


@pytest.mark.parametrize(
    "phrase",
    [
        "lung infection", "breast tumor", "optic cup", "optic disc", "skin lesion", "polyp", "nuclei", "cell",
        "liver tumor", "prostate", "ischemic stroke lesion", "pulmonary artery", "retinal blood vessel",
        "thyroid nodule", "fetal head",
    ],
)  # fmt: skip
def test_the_phrases_that_medical_sam3_models_were_trained_and_tested_on_are_known(phrase):
    assert VOCABULARY.find(phrase) is not None


@needs_shared
def test_every_label_of_the_real_images_is_known():
    names = [label["name"] for path in DATA.glob("*/labels.json") for label in json.loads(path.read_text()).values()]
    names += [path.stem.rsplit("_", 1)[1] for path in (DATA / "images_2d").glob("*_*_*_*.png")]
    assert len(names) > 100
    assert [name for name in names if VOCABULARY.find(name) is None] == []


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Segment the kidney, left", "left kidney"),
        ("kidneys", "kidney"),
        ("rib_left_7", "left seventh rib"),
        ("lung, left upper lobe", "left upper lobe"),
        ("left-adrenal-gland", "left adrenal gland"),
        ("IVC", "inferior vena cava"),
        ("renal masses", "kidney tumor"),
        ("tumour", "tumor"),
        ("right renal cell carcinoma", "right kidney tumor"),
        ("coronary arteries", "coronary artery"),
    ],
)
def test_a_concept_is_found_however_it_is_written(text, phrase):
    assert VOCABULARY.find(text).phrase == phrase


@pytest.mark.parametrize("text", ["", " ", "banana", "left", "the", "kidneys left and right"])
def test_what_is_not_in_the_vocabulary_is_not_found(text):
    assert VOCABULARY.find(text) is None


@settings(deadline=None)
@given(st.sampled_from(VOCABULARY.concepts), st.sampled_from(["{}", "Segment the {}.", "all of the {}", "{}?"]))
def test_every_phrase_and_synonym_leads_to_its_concept(concept, wording):
    for name in (concept.phrase, *concept.synonyms):
        assert VOCABULARY.find(wording.format(name.upper())) is concept


def test_left_and_right_are_two_concepts_that_differ_in_laterality_alone():
    sided = [
        concept
        for concept in VOCABULARY.concepts
        if concept.phrase.startswith("left ") and LEFT in vars(concept).values()
    ]
    assert len(sided) > 60
    for left in sided:
        right = VOCABULARY.find(left.phrase.replace("left", "right", 1))
        assert RIGHT in (right.type_modifier, right.anatomic_region_modifier)
        assert terminology_entry(left).replace(str(LEFT), str(RIGHT)) == terminology_entry(right)


def test_completion_offers_the_beginning_before_the_word_before_the_synonym():
    offered = VOCABULARY.complete("kidney", limit=100)
    assert offered[0] == "kidney"
    assert offered.index("kidney tumor") < offered.index("left kidney")
    assert VOCABULARY.complete("Segment the oesoph")[0] == "esophagus"
    assert "kidney tumor" in VOCABULARY.complete("renal", limit=100)
    assert VOCABULARY.complete("renal", limit=100).index("renal pelvis") < VOCABULARY.complete("renal", 100).index(
        "kidney"
    )
    assert VOCABULARY.complete("left k", limit=1) == ("left kidney",)
    assert VOCABULARY.complete("", limit=3) == ("liver", "spleen", "kidney")
    assert VOCABULARY.complete("zzz") == ()
    assert VOCABULARY.complete("liver", limit=0) == ()


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 8), st.integers(-1, 20))
def test_completion_offers_known_phrases_only_each_once(name, length, limit):
    offered = VOCABULARY.complete(name[:length], limit)
    assert len(offered) <= max(limit, 0)
    assert len(set(offered)) == len(offered)
    assert all(VOCABULARY.find(phrase).phrase == phrase for phrase in offered)


def test_a_whole_phrase_is_its_own_first_completion():
    phrases = [concept.phrase for concept in VOCABULARY.concepts]
    assert [phrase for phrase in phrases if VOCABULARY.complete(phrase, limit=1) != (phrase,)] == []


def test_colours_are_the_concepts_or_the_phrases_own():
    assert VOCABULARY.colour_for("Livers") == tuple(value / 255 for value in VOCABULARY.find("liver").colour)
    unknown = VOCABULARY.colour_for("quux")
    assert unknown == VOCABULARY.colour_for("segment the Quux")
    assert len({VOCABULARY.colour_for(f"quux {letter}") for letter in string.ascii_lowercase}) == 26
    # written in a scene, so the same in every process and release
    assert unknown == pytest.approx((0.8988, 0.2291, 0.1364), abs=1e-4)


#: What is often looked for together, and must be told apart where it is drawn side by side.
OFTEN_TOGETHER = (
    "liver, spleen, kidney, pancreas, gallbladder, stomach, duodenum, small bowel, colon, esophagus, adrenal gland,"
    " aorta, inferior vena cava, portal vein, urinary bladder, prostate, uterus, spine,"
    " tumor, liver tumor, kidney tumor"
).split(", ")


def lab_of(colour):
    """CIE 1976 L*a*b* (D65) of an sRGB colour, 0 to 1; a distance of about 2 can just be seen."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    weights = ((0.4124, 0.3576, 0.1805, 0.9505), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.0888))
    xyz = [sum(a * b for a, b in zip(linear, row, strict=False)) / row[3] for row in weights]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_organs_that_are_drawn_side_by_side_differ_in_colour():
    places = {name: lab_of(VOCABULARY.colour_for(name)) for name in OFTEN_TOGETHER}
    alike = [pair for pair in combinations(OFTEN_TOGETHER, 2) if math.dist(*(places[name] for name in pair)) < 20]
    assert alike == []


@settings(deadline=None)
@given(st.text())
def test_every_text_has_a_colour_that_can_be_seen(text):
    colour = VOCABULARY.colour_for(text)
    assert all(0 <= value <= 1 for value in colour)
    assert max(colour) >= 0.5


# Codes ----------------------------------------------------------------------------------------------------------------

CODES = sorted(
    {
        code
        for concept in VOCABULARY.concepts
        for code in (
            concept.category,
            concept.type,
            concept.type_modifier,
            concept.anatomic_region,
            concept.anatomic_region_modifier,
        )
        if code
    },
    key=str,
)

#: Codes that DICOM PS3.16 words differently, or does not list: as in 3D Slicer's terminologies, in TotalSegmentator's
#: mapping to SNOMED CT, and in the international edition of SNOMED CT itself (calculus, fracture).
NOT_AS_IN_DICOM = {
    "SCT^123037004^Anatomical Structure", "SCT^49755003^Morphologically Altered Structure", "SCT^51185008^Chest",
    "SCT^43799004^Thoracic cavity", "SCT^113345001^Abdomen", "SCT^52731004^Abdominal cavity", "SCT^12921003^Pelvis",
    "SCT^195879000^Abdominal wall muscle", "SCT^248300009^Body fat", "SCT^23583003^Inflammation",
    "SCT^360955006^Naso pharynx", "SCT^56381008^Calculus", "SCT^72704001^Fracture", "SCT^74281007^Myocardium",
    "SCT^110765007^Portal vein and splenic vein", "SCT^360499006^Intervertebral disc", "SCT^65985001^S1 vertebra",
    "SCT^68455001^Iliopsoas muscle", "SCT^181674001^Gluteus maximus muscle", "SCT^78333006^Gluteus medius muscle",
    "SCT^75297007^Gluteus minimus muscle", "SCT^48535007^First rib", "SCT^78247007^Second rib",
    "SCT^25888004^Third rib",
    "SCT^25523003^Fourth rib", "SCT^15339008^Fifth rib", "SCT^59558009^Sixth rib", "SCT^24915002^Seventh rib",
    "SCT^5953002^Eighth rib", "SCT^22565002^Ninth rib", "SCT^77644006^Tenth rib", "SCT^58830002^Eleventh rib",
    "SCT^43993008^Twelfth rib",
}  # fmt: skip


def _has_valid_check_digit(identifier: str) -> bool:
    """Verhoeff's check over a SNOMED CT identifier: products and an eightfold permutation in the dihedral group D5."""

    def product(a: int, b: int) -> int:
        turned = (a + b if a < 5 else a - b) % 5
        return turned + (5 if (a < 5) != (b < 5) else 0)

    permutation = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    total = 0
    for place, digit in enumerate(map(int, reversed(identifier))):
        for _ in range(place % 8):
            digit = permutation[digit]
        total = product(total, digit)
    return total == 0


def test_snomed_codes_are_well_formed():
    assert _has_valid_check_digit("10200004")
    assert not _has_valid_check_digit("10200005")
    wrong = [str(code) for code in CODES if code.scheme == "SCT" and not _has_valid_check_digit(code.code)]
    assert wrong == []
    assert {code.scheme for code in CODES} == {"SCT", "DCM", "NCIt"}


def test_codes_mean_what_dicom_says_they_mean():
    schemes = pytest.importorskip("pydicom.sr._concepts_dict").concepts
    meanings = defaultdict(set)
    for scheme in ("SCT", "DCM", "NCIt"):
        for codes in schemes[scheme].values():
            for code, (meaning, _) in codes.items():
                meanings[scheme, code].add(meaning.lower())
    unlike = {str(code) for code in CODES if code.meaning.lower() not in meanings[code.scheme, code.code]}
    assert unlike == NOT_AS_IN_DICOM


def _slicer_terminologies() -> Path | None:
    """Slicer's folder of terminology files: of an installed slicer-core that has them, or named by the environment."""
    if folder := os.environ.get("SLICER_TERMINOLOGIES"):
        return Path(folder)
    slicer_core = pytest.importorskip("slicer_core")
    found = Path(slicer_core.__file__).parent.rglob("SegmentationCategoryTypeModifier-DICOM-Master.json")
    return next((path.parent for path in found), None)


def test_codes_are_in_slicers_own_terminologies():
    folder = _slicer_terminologies()
    if folder is None:
        pytest.skip("slicer-core has no terminology files; set SLICER_TERMINOLOGIES to Slicer's folder of them")
    types, sided, regions, sided_regions = set(), set(), set(), set()

    def code(entry: dict[str, str]) -> Code:
        return Code(entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"])

    for path in folder.glob("SegmentationCategoryTypeModifier-*.json"):
        for category in json.loads(path.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]:
            for kind in category["Type"]:
                types.add((code(category), code(kind)))
                sided |= {(code(category), code(kind), code(modifier)) for modifier in kind.get("Modifier", [])}
    for path in folder.glob("AnatomicRegionAndModifier-*.json"):
        for region in json.loads(path.read_text(encoding="utf-8"))["AnatomicCodes"]["AnatomicRegion"]:
            regions.add(code(region))
            sided_regions |= {(code(region), code(modifier)) for modifier in region.get("Modifier", [])}
    codes = {(category.code, kind.code) for category, kind in types}
    listed = unlisted = 0
    for concept in VOCABULARY.concepts:
        if concept.anatomic_region:
            assert concept.anatomic_region in regions, concept.phrase
        if concept.anatomic_region_modifier:
            assert (concept.anatomic_region, concept.anatomic_region_modifier) in sided_regions, concept.phrase
        if concept.type is None:
            continue
        if (concept.category.code, concept.type.code) in codes:
            listed += 1
            assert (concept.category, concept.type) in types, concept.phrase
            if concept.type_modifier:
                assert (concept.category, concept.type, concept.type_modifier) in sided, concept.phrase
        else:
            unlisted += 1
    print(f"{listed} concepts with types that Slicer lists, {unlisted} with others")
    assert listed > 400


def test_slicer_reads_every_entry_as_it_was_meant():
    slicer = pytest.importorskip("slicer")
    logic = slicer.vtkSlicerTerminologiesModuleLogic
    for concept in VOCABULARY.concepts:
        text = terminology_entry(concept)
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(text, entry), text
        assert logic.SerializeTerminologyEntry(entry) == text
        if concept.type:
            assert entry.GetTypeObject().GetCodeMeaning() == concept.type.meaning
        if concept.type_modifier:
            assert entry.GetTypeModifierObject().GetCodeValue() == concept.type_modifier.code
        if concept.anatomic_region:
            assert entry.GetRegionObject().GetCodeValue() == concept.anatomic_region.code


def test_what_has_no_code_is_a_tissue_to_slicer():
    tissue = (
        "Segmentation category and type - DICOM master list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^"
        "~Anatomic codes - DICOM master list~^^~^^"
    )
    assert terminology_entry(None) == tissue
    assert terminology_entry(VOCABULARY.find("optic cup")) == tissue
    uncoded = [concept for concept in VOCABULARY.concepts if concept.type is None]
    assert len(uncoded) < 15


def test_the_left_side_of_an_organ_and_of_a_finding_go_where_slicer_wants_them():
    assert terminology_entry(VOCABULARY.find("left kidney")) == (
        "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney"
        "~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
    )
    assert terminology_entry(VOCABULARY.find("right kidney tumor")) == (
        "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure"
        "~SCT^108369006^Neoplasm~^^~Anatomic codes - DICOM master list~SCT^64033007^Kidney~SCT^24028007^Right"
    )


# A user's own vocabulary ----------------------------------------------------------------------------------------------


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
    assert mine.find("things") == Concept("thing", (), Code(**code), Code(**code), window="lung", colour=(1, 2, 3))
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


# Shipped files and import ---------------------------------------------------------------------------------------------


def test_shipped_files_are_found_and_missing_ones_named():
    assert resource_path("concepts.json").is_file()
    with pytest.raises(ModelError, match=r"^Resources/no/such\.file, which .* is missing .*\.$"):
        resource_path("no", "such.file")


def test_shipped_files_are_found_beside_an_installed_library(tmp_path):
    installed = tmp_path / "MedSAM3SegmentLib"
    shutil.copytree(LIBRARY, installed, ignore=shutil.ignore_patterns("__pycache__"))
    (installed / "Resources").mkdir()
    shutil.copy(resource_path("concepts.json"), installed / "Resources")
    script = (
        "from MedSAM3SegmentLib.concepts import Vocabulary\n"
        "from MedSAM3SegmentLib.resources import resource_path\n"
        "print(Vocabulary.load().find('liver').phrase, resource_path('concepts.json'))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["liver", str(installed / "Resources" / "concepts.json")]


def test_importing_costs_nothing_heavy_and_reads_no_file():
    script = (
        "import sys\n"
        "from MedSAM3SegmentLib import concepts\n"
        "heavy = {'torch', 'transformers', 'scipy', 'SimpleITK', 'PIL'} & set(sys.modules)\n"
        "print(sorted(heavy), concepts._shipped.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=LIBRARY.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] 0"
