"""Codes of the vocabulary: well formed, meant as DICOM and Slicer mean them, and read by Slicer."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from MedSAM3SegmentLib.vocabulary.terminology import Code, terminology_entry
from support.vocabulary import VOCABULARY

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


def test_the_left_side_of_organ_and_finding_goes_where_slicer_wants_it():
    assert terminology_entry(VOCABULARY.find("left kidney")) == (
        "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney"
        "~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
    )
    assert terminology_entry(VOCABULARY.find("right kidney tumor")) == (
        "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure"
        "~SCT^108369006^Neoplasm~^^~Anatomic codes - DICOM master list~SCT^64033007^Kidney~SCT^24028007^Right"
    )
