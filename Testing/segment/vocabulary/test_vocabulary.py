"""The vocabulary: which concepts there are, how they are found, completed, windowed and colored, and where it lies."""

from __future__ import annotations

import json
import math
import shutil
import string
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MedSAM3SegmentLib.errors import ModelError
from MedSAM3SegmentLib.preprocessing.windowing import CT_WINDOWS
from MedSAM3SegmentLib.resources import resource_path
from MedSAM3SegmentLib.vocabulary.terminology import LEFT, RIGHT, terminology_entry
from support.external_data import DATA, needs_shared
from support.vocabulary import NAMES, VOCABULARY

LIBRARY = Path(sys.modules["MedSAM3SegmentLib"].__file__).parent


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
def test_the_phrases_medical_sam3_models_were_trained_on_are_known(phrase):
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


def test_completion_offers_the_beginning_then_the_word_then_the_synonym():
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


def test_colors_are_the_concepts_or_the_phrases_own():
    assert VOCABULARY.color_for("Livers") == tuple(value / 255 for value in VOCABULARY.find("liver").color)
    unknown = VOCABULARY.color_for("quux")
    assert unknown == VOCABULARY.color_for("segment the Quux")
    assert len({VOCABULARY.color_for(f"quux {letter}") for letter in string.ascii_lowercase}) == 26
    # written in a scene, so the same in every process and release
    assert unknown == pytest.approx((0.8988, 0.2291, 0.1364), abs=1e-4)


#: What is often looked for together, and must be told apart where it is drawn side by side.
OFTEN_TOGETHER = (
    "liver, spleen, kidney, pancreas, gallbladder, stomach, duodenum, small bowel, colon, esophagus, adrenal gland,"
    " aorta, inferior vena cava, portal vein, urinary bladder, prostate, uterus, spine,"
    " tumor, liver tumor, kidney tumor"
).split(", ")


def lab_of(color):
    """CIE 1976 L*a*b* (D65) of an sRGB color, 0 to 1; a distance of about 2 can just be seen."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color]
    weights = ((0.4124, 0.3576, 0.1805, 0.9505), (0.2126, 0.7152, 0.0722, 1.0), (0.0193, 0.1192, 0.9505, 1.0888))
    xyz = [sum(a * b for a, b in zip(linear, row, strict=False)) / row[3] for row in weights]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_organs_that_are_drawn_side_by_side_differ_in_color():
    places = {name: lab_of(VOCABULARY.color_for(name)) for name in OFTEN_TOGETHER}
    alike = [pair for pair in combinations(OFTEN_TOGETHER, 2) if math.dist(*(places[name] for name in pair)) < 20]
    assert alike == []


@settings(deadline=None)
@given(st.text())
def test_every_text_has_a_color_that_can_be_seen(text):
    color = VOCABULARY.color_for(text)
    assert all(0 <= value <= 1 for value in color)
    assert max(color) >= 0.5


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
        "from MedSAM3SegmentLib.vocabulary.vocabulary import Vocabulary\n"
        "from MedSAM3SegmentLib.resources import resource_path\n"
        "print(Vocabulary.load().find('liver').phrase, resource_path('concepts.json'))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["liver", str(installed / "Resources" / "concepts.json")]


def test_importing_costs_nothing_heavy_and_reads_no_file():
    script = (
        "import sys\n"
        "from MedSAM3SegmentLib.vocabulary import vocabulary\n"
        "heavy = {'torch', 'transformers', 'scipy', 'SimpleITK', 'PIL'} & set(sys.modules)\n"
        "print(sorted(heavy), vocabulary._shipped.cache_info().currsize)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=LIBRARY.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] 0"
