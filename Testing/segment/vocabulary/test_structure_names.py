"""Names of structures, as contours and label files have them, in words."""

# ruff: noqa: E501 - what people paste, one per line would be long

from __future__ import annotations

import pytest

from MedSAM3SegmentLib.vocabulary.advice import advice_for
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for, split_phrases
from support.vocabulary import VOCABULARY


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("Kidney_L", "left kidney"), ("kidney L", "left kidney"), ("kidney_left", "left kidney"), ("KIDNEY_LT", "left kidney"),
        ("L_Kidney", "left kidney"), ("KidneyL", "left kidney"), ("LKidney", "left kidney"), ("Kidney-R", "right kidney"),
        ("(R) kidney", "right kidney"), ("left-sided kidney", "left kidney"), ("Lung_R", "right lung"), ("Lungs", "lungs"),
        ("Kidneys_Bilateral", "kidneys"), ("lung_lower_lobe_left", "left lower lobe"), ("Lung_LUL", "left upper lobe"),
        ("A_Aorta", "aorta"), ("A_Carotid_L", "left carotid artery"), ("V_Venacava_I", "inferior vena cava"), ("V_Portal", "portal vein"),
        ("SpinalCord", "spinal cord"), ("spinal_cord", "spinal cord"), ("Femur_Head_L", "left femoral head"), ("Glnd_Thyroid", "thyroid gland"),
        ("Glnd_Submand_R", "right submandibular gland"), ("Glnd_Adrenal_L", "left adrenal gland"), ("Bone_Mandible", "mandible"),
        ("Bone_Hyoid", "hyoid bone"), ("VB_L1", "l1 vertebra"), ("vertebrae_T12", "t12 vertebra"), ("rib_left_7", "left seventh rib"),
        ("OpticNrv_L", "left optic nerve"), ("OpticChiasm", "optic chiasm"), ("BrachialPlex_R", "right brachial plexus"),
        ("Bowel_Small", "small bowel"), ("Colon_Sigmoid", "sigmoid colon"), ("Cavity_Oral", "oral cavity"), ("heart_atrium_left", "left atrium"),
        ("Ventricle_L", "left ventricle"), ("iliac_vena_left", "left iliac vein"), ("autochthon_right", "right erector spinae"),
        ("clavicula_left", "left clavicle"), ("portal_vein_and_splenic_vein", "splenoportal axis"), ("SpinalCord_PRV05", "spinal cord"),
        ("Brainstem_PRV", "brainstem"), ("Lungs-GTV", "lungs"), ("zLiver", "liver"), ("~Brain", "brain"), ("Lobe_Temporal_L", "left temporal lobe"),
    ],
)  # fmt: skip
def test_names_of_structures_are_asked_in_words(typed, asked):
    assert prompt_for(typed) == asked
    assert VOCABULARY.find(typed) is not None
    assert split_phrases(f"1. {typed};") == (typed.lstrip("~"),), "the segment keeps the name that was given"


@pytest.mark.parametrize("phrase", ["mcburney point", "l1 vertebra", "t2 flair", "kidney", "ph"])
def test_words_are_no_names_of_structures(phrase):
    assert prompt_for(phrase.title().replace("Mcb", "McB")) == phrase


def test_margins_and_targets_are_told_so():
    assert advice_for("SpinalCord_PRV05") == (
        "'spinal cord' is looked for; the model adds no margin and takes nothing away, as '_PRV05' asks.",
    )
    assert "as '-GTV' asks" in advice_for("Lungs-GTV")[0]
    for target in ("PTV_6000", "GTVp", "ctv", "ITV_2", "PTV High"):
        (advice,) = advice_for(target)
        assert "not seen in an image" in advice
