"""Miniature trees in the official layouts: each trap of each data set, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet, Reference, check_names
from MedSAM3SegmentLib.evaluation.cases.dataset_catalog import find_described, read_catalog
from MedSAM3SegmentLib.evaluation.cases.described_cases import described_cases
from support.evaluation_files import square, write_picture, write_volume

GRAY = np.full((40, 40), 90, np.uint8)


def cases_in(name: str, root: Path, split: str = "all", *, partial: bool = True) -> CaseSet:
    case_set = described_cases(find_described(name), root, split, partial=partial)
    check_names(case_set.cases)
    return case_set


def references_in(name: str, root: Path, split: str = "all") -> dict[tuple[str, str], Reference]:
    """By case and concept."""
    return {
        (case.name, concept): reference
        for case in cases_in(name, root, split).cases
        for concept, reference in case.read_references(None).items()
    }


def voxels(reference: Reference) -> int:
    return int(reference.mask.sum())


def refusal(name: str, root: Path, split: str = "all", *, partial: bool = True) -> str:
    with pytest.raises(InputError) as caught:
        described_cases(find_described(name), root, split, partial=partial)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def write_busi(root: Path, group: str, number: int, *masks: np.ndarray[Any, Any], fill: int = 0) -> None:
    write_picture(root / group / f"{group} ({number}).png", GRAY + np.uint8(fill or number))
    for n, mask in enumerate(masks):
        write_picture(root / group / f"{group} ({number})_mask{f'_{n}' if n else ''}.png", mask)


class TestBusi:
    def test_several_masks_are_joined_and_normal_is_absent(self, tmp_path: Path) -> None:
        root = tmp_path / "Dataset_BUSI_with_GT"
        write_busi(root, "benign", 1, square(length=5), square(length=5, first=20), square(length=3, first=30))
        write_busi(root, "normal", 2, np.zeros((40, 40), bool))
        found = references_in("busi", tmp_path)
        assert voxels(found["benign (1)", "breast tumor"]) == 25 + 25 + 9
        assert voxels(found["normal (2)", "breast tumor"]) == 0
        groups = {case.name: case.group for case in cases_in("busi", tmp_path).cases}
        assert groups == {"benign (1)": "benign", "normal (2)": "normal"}

    def test_masks_in_color_and_with_transparency_are_read(self, tmp_path: Path) -> None:
        write_busi(tmp_path, "benign", 1)
        color = np.zeros((40, 40, 4), np.uint8)
        color[..., 3] = 255
        color[5:10, 5:10, :3] = 255
        Image.fromarray(color).save(tmp_path / "benign" / "benign (1)_mask.png")
        write_busi(tmp_path, "benign", 2)
        color[..., 3] = 0
        color[20:22, 20:22, 3] = 255
        Image.fromarray(color).save(tmp_path / "benign" / "benign (2)_mask.png")
        found = references_in("busi", tmp_path)
        assert [voxels(found[f"benign ({n})", "breast tumor"]) for n in (1, 2)] == [25, 0]

    def test_copies_of_an_image_stay_on_one_side(self, tmp_path: Path) -> None:
        for number in range(1, 41):
            # Two and two are the same file.
            write_busi(tmp_path, "benign", number, square(), fill=(number + 1) // 2)
        test = {case.name for case in cases_in("busi", tmp_path, "test").cases}
        train = {case.name for case in cases_in("busi", tmp_path, "train").cases}
        assert test | train == {f"benign ({n})" for n in range(1, 41)}
        assert not test & train
        assert len(test) == 8
        for number in range(1, 41, 2):
            assert len({f"benign ({number})", f"benign ({number + 1})"} & test) != 1
        assert any("20 images are the same file" in note for note in cases_in("busi", tmp_path, "test").notes)

    def test_the_split_does_not_depend_on_the_machine(self, tmp_path: Path) -> None:
        for number in range(1, 11):
            write_busi(tmp_path, "benign", number, square())
        # The lowest two of ten by SHA-256 of "busi", a new line and the name, from another program.
        chosen = cases_in("busi", tmp_path, "test")
        assert [case.name for case in chosen.cases] == ["benign (4)", "benign (8)"]
        assert "none is official" in chosen.split


def write_rim(root: Path, *, split: str = "test_set", index: int = 1) -> None:
    images, masks = root / "RIM-ONE_DL_images", root / "RIM-ONE_DL_reference_segmentations"
    for by in ("partitioned_randomly", "partitioned_by_hospital"):
        write_picture(images / by / split / "glaucoma" / "r1_Im001.png", GRAY)
    write_picture(masks / "glaucoma" / f"r1_Im001-{index}-Cup-T.png", square(length=6))
    write_picture(masks / "glaucoma" / f"r1_Im001-{index}-Disc-T.png", square(length=12))


@pytest.mark.parametrize("index", [1, 3])
def test_rim_one_cup_in_disc_whatever_the_index_and_each_image_once(tmp_path: Path, index: int) -> None:
    write_rim(tmp_path, index=index)
    found = references_in("rim-one", tmp_path, "test")
    assert {key: voxels(one) for key, one in found.items()} == {
        ("r1_Im001", "optic cup"): 36,
        ("r1_Im001", "optic disc"): 144,
    }
    assert described_cases(find_described("rim-one"), tmp_path, "train", partial=True).cases == []


def test_isic_has_its_own_split_and_other_files_beside(tmp_path: Path) -> None:
    for split in ("Training", "Test"):
        folder = tmp_path / f"ISIC2018_Task1-2_{split}_Input"
        write_picture(folder / f"ISIC_000000{len(split)}.jpg", GRAY + np.uint8(len(split)))
        (folder / "ATTRIBUTION.txt").write_text("by")
        truth = tmp_path / f"ISIC2018_Task1_{split}_GroundTruth"
        write_picture(truth / f"ISIC_000000{len(split)}_segmentation.png", square(length=len(split)))
        (truth / "LICENSE.txt").write_text("NC")
    assert voxels(references_in("isic2018", tmp_path, "test")["ISIC_0000004", "skin lesion"]) == 16
    assert voxels(references_in("isic2018", tmp_path, "train")["ISIC_0000008", "skin lesion"]) == 64
    assert "holds 1 of 1000 images in 'Test'" in refusal("isic2018", tmp_path, "test", partial=False)


def test_an_image_in_two_official_splits_is_said(tmp_path: Path) -> None:
    for split in ("Training", "Test"):
        write_picture(tmp_path / f"ISIC2018_Task1-2_{split}_Input" / f"ISIC_{len(split)}.jpg", GRAY)
        write_picture(
            tmp_path / f"ISIC2018_Task1_{split}_GroundTruth" / f"ISIC_{len(split)}_segmentation.png", square()
        )
    notes = cases_in("isic2018", tmp_path, "test").notes
    assert any("1 of these images are, as the same file, in another official split" in note for note in notes)


def test_kvasir_masks_are_jpeg(tmp_path: Path) -> None:
    write_picture(tmp_path / "Kvasir-SEG" / "images" / "a.jpg", np.repeat(GRAY[..., None], 3, axis=2))
    mask = np.repeat(square()[..., None], 3, axis=2).astype(np.uint8) * 255
    path = tmp_path / "Kvasir-SEG" / "masks" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(mask).save(path, quality=40)
    stored = np.asarray(Image.open(path))
    assert 0 < (stored > 0).sum() / 3 != 400  # what a threshold of 0 would give
    assert abs(voxels(references_in("kvasir-seg", tmp_path)["a", "polyp"]) - 400) <= 8


def write_covid(root: Path) -> None:
    for kind in ("Infection", "Lung"):
        for group in ("COVID-19", "Normal"):
            folder = root / f"{kind} Segmentation Data" / f"{kind} Segmentation Data" / "Test" / group
            write_picture(folder / "images" / "x_1.png", GRAY + np.uint8(len(group)))
            write_picture(folder / "lung masks" / "x_1.png", square(length=9))
            if kind == "Infection":
                mask = square(length=4) if group == "COVID-19" else np.zeros((40, 40), bool)
                write_picture(folder / "infection masks" / "x_1.png", mask)


@pytest.mark.parametrize("below", ["", "Infection Segmentation Data"])
def test_covid_folders_are_doubled_and_hold_blanks(tmp_path: Path, below: str) -> None:
    write_covid(tmp_path)
    found = references_in("covid-qu-ex", tmp_path / below, "test")
    assert {name: voxels(one) for (name, _), one in found.items()} == {"COVID-19/x_1": 16, "Normal/x_1": 0}


def dsb_id(number: int) -> str:
    return f"{number:064x}"


def write_nuclei(root: Path, number: int, nuclei: int) -> None:
    folder = root / "stage1_train" / dsb_id(number)
    image = np.full((64, 64, 4), 255, np.uint8)
    image[..., :3] = number
    write_picture(folder / "images" / f"{dsb_id(number)}.png", image)
    for n in range(nuclei):
        mask = np.zeros((64, 64), bool)
        mask[3 * (n // 20) : 3 * (n // 20) + 2, 3 * (n % 20) : 3 * (n % 20) + 2] = True
        write_picture(folder / "masks" / f"{dsb_id(1000 * number + n)}.png", mask)


def test_dsb_has_a_file_for_each_of_375_nuclei(tmp_path: Path) -> None:
    write_nuclei(tmp_path, 1, 375)
    write_nuclei(tmp_path, 2, 1)
    (tmp_path / "__MACOSX" / "stage1_train").mkdir(parents=True)
    found = references_in("dsb2018", tmp_path)
    many = found[dsb_id(1), "nuclei"]
    assert many.objects is not None
    assert len(np.unique(many.objects)) == 376
    assert voxels(many) == 4 * 375
    assert voxels(found[dsb_id(2), "nuclei"]) == 4


def test_goals_where_zero_is_foreground(tmp_path: Path) -> None:
    layers = np.full((40, 40), 255, np.uint8)
    layers[5:10], layers[10:12], layers[20:30] = 0, 80, 160
    write_picture(tmp_path / "Train" / "Image" / "0001.png", GRAY)
    write_picture(tmp_path / "Train" / "Layer_Masks" / "0001.png", layers)
    found = {concept: voxels(one) for (_, concept), one in references_in("goals", tmp_path).items()}
    assert found == {"retinal nerve fiber layer": 200, "ganglion cell layer": 80, "choroid": 400}


def test_ravir_has_arteries_at_128_and_veins_at_255(tmp_path: Path) -> None:
    vessels = np.zeros((40, 40), np.uint8)
    vessels[5], vessels[8:10] = 128, 255
    write_picture(tmp_path / "RAVIR Dataset" / "train" / "training_images" / "IR_1.png", GRAY)
    write_picture(tmp_path / "RAVIR Dataset" / "train" / "training_masks" / "IR_1.png", vessels)
    write_picture(tmp_path / "RAVIR Dataset" / "test" / "IR_2.png", GRAY)
    found = {concept: voxels(one) for (_, concept), one in references_in("ravir", tmp_path).items()}
    assert found == {"artery": 40, "vein": 80, "vessel": 120}


@pytest.mark.parametrize(
    ("name", "folders"),
    [("goals", "Train/Image Train/Layer_Masks"), ("ravir", "train/training_images train/training_masks")],
)
def test_values_that_the_data_set_does_not_have_are_refused(tmp_path: Path, name: str, folders: str) -> None:
    for folder, array in zip(folders.split(), (GRAY, GRAY), strict=True):
        write_picture(tmp_path / folder / "0001.png", array)
    with pytest.raises(InputError, match=r"0001\.png holds 90"):
        cases_in(name, tmp_path).cases[0].read_references(None)


def outlines_of(*polygons: list[tuple[float, float]]) -> str:
    regions = "".join(
        "<Region><Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points) + "</Vertices></Region>"
        for points in polygons
    )
    return f'<?xml version="1.0"?><Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>'


def box(x: float, y: float, size: float) -> list[tuple[float, float]]:
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]


def test_monuseg_outlines_overlap_leave_the_tile_and_degenerate(tmp_path: Path) -> None:
    write_picture(tmp_path / "MoNuSegTestData" / "T-1.tif", np.repeat(GRAY[..., None], 3, axis=2))
    text = outlines_of(box(2, 2, 9), box(6, 6, 9), [(20, 20), (25, 25)], box(35, 35, 20))
    (tmp_path / "MoNuSegTestData" / "T-1.xml").write_text(text)
    reference = references_in("monuseg", tmp_path, "test")["T-1", "nuclei"]
    assert reference.objects is not None
    # Outlines run through pixels, which belong to the nucleus.
    assert [int((reference.objects == n).sum()) for n in (1, 2, 3)] == [100 - 36, 100, 25]
    assert reference.objects.max() == 3


def test_outlines_that_declare_entities_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "MoNuSegTestData" / "T-1.tif", GRAY)
    (tmp_path / "MoNuSegTestData" / "T-1.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><Annotations/>')
    with pytest.raises(InputError, match="entities"):
        references_in("monuseg", tmp_path, "test")


def write_polypgen(root: Path) -> None:
    still = np.repeat(GRAY[..., None], 3, axis=2)
    for number in range(1, 11):
        folder = root / "sequenceData" / "positive" / f"seq{number}"
        for frame in range(3):
            name = f"{number}_endocv_{frame}"
            write_picture(folder / f"images_seq{number}" / f"{name}.jpg", still + np.uint8(4 * number + frame))
            write_picture(folder / f"masks_seq{number}" / f"{name}{'_mask' * (number % 2)}.jpg", square())
    write_picture(root / "sequenceData" / "negativeOnly" / "seq1_neg" / "n_1.jpg", still)
    write_picture(root / "data_C6" / "images_C6" / "EndoCV_1.jpg", still + np.uint8(4 * 3 + 1))  # a frame of seq3
    write_picture(root / "data_C6" / "masks_C6" / "EndoCV_1_mask.jpg", square())
    write_picture(root / "imagesAll_positive" / "EndoCV_1.jpg", still)


def test_polypgen_frames_of_a_sequence_are_not_divided(tmp_path: Path) -> None:
    write_polypgen(tmp_path)
    everything = cases_in("polypgen", tmp_path)
    assert len(everything.cases) == 32
    assert {case.group for case in everything.cases} == {"stills", "positive sequences", "negative sequences"}
    found = references_in("polypgen", tmp_path)
    assert voxels(found["seq1_neg/n_1", "polyp"]) == 0
    assert abs(voxels(found["seq2/2_endocv_1", "polyp"]) - 400) <= 8
    sides = {}
    for split in ("train", "test"):
        for case in cases_in("polypgen", tmp_path, split).cases:
            sides[case.name] = split
    for number in range(1, 11):
        assert len({sides[f"seq{number}/{number}_endocv_{frame}"] for frame in range(3)}) == 1
    assert sides["C6/EndoCV_1"] == sides["seq3/3_endocv_1"]
    assert set(sides.values()) == {"train", "test"}


def test_parse_and_isles_volumes(tmp_path: Path) -> None:
    label = np.zeros((4, 6, 6), np.uint8)
    label[1:3, 2:5, 2:5] = 1
    write_volume(tmp_path / "p" / "train" / "PA000005" / "image" / "PA000005.nii.gz", label)
    write_volume(tmp_path / "p" / "train" / "PA000005" / "label" / "PA000005.nii.gz", label, (0.5, 0.5, 2))
    reference = references_in("parse2022", tmp_path / "p")["PA000005", "pulmonary artery"]
    assert (voxels(reference), reference.spacing, reference.unit) == (18, (2.0, 0.5, 0.5), "mm")
    for case, image, lesion in (
        (
            "sub-stroke0001",
            "train/raw_data/{}/ses-01/{}_ses-01_ncct",
            "train/derivatives/{}/ses-02/{}_ses-02_lesion-msk",
        ),
        (
            "sub-strokecase0001",
            "rawdata/{}/ses-0001/{}_ses-0001_ncct",
            "derivatives/{}/ses-0002/{}_ses-0002_lesion-msk",
        ),
    ):
        root = tmp_path / case
        write_volume(root / f"{image.format(case, case)}.nii.gz", label)
        path = root / f"{lesion.format(case, case)}.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(label.T.astype(np.float32), np.eye(4)), path)
        assert voxels(references_in("isles24", root)[case, "ischemic stroke lesion"]) == 18


def test_promise_in_parts_beside_test_images_without_labels(tmp_path: Path) -> None:
    label = np.zeros((4, 6, 6), np.uint8)
    label[1:3, 2:5, 2:5] = 1
    for folder, number in (("TrainingData_Part1", 0), ("TrainingData_Part2", 1), ("TestData", 0)):
        write_volume(tmp_path / folder / f"Case{number:02d}.mhd", label)
        if folder != "TestData":
            write_volume(tmp_path / folder / f"Case{number:02d}_segmentation.mhd", label)
    found = references_in("promise12", tmp_path)
    assert {name: voxels(one) for (name, _), one in found.items()} == {"Case00": 18, "Case01": 18}


def test_lits_48_to_52_lie_on_their_volume_whatever_their_header_says(tmp_path: Path) -> None:
    label = np.zeros((6, 6, 4), np.uint8)
    label[1:4, 1:5, 1:3], label[2, 2, 1] = 1, 2
    image, other = np.diag([-1.0, -1.0, 2.0, 1.0]), np.diag([1.0, 1.0, 2.0, 1.0])
    for number, affine in ((47, image), (48, other), (52, other)):
        folder = tmp_path / f"Training Batch {1 if number < 50 else 2}"
        folder.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(label.astype(np.int16), image), folder / f"volume-{number}.nii")
        nibabel.save(nibabel.Nifti1Image(label, affine), folder / f"segmentation-{number}.nii")
    found = references_in("lits", tmp_path)
    for number in (47, 48, 52):
        liver, tumor = (found[f"volume-{number}", concept] for concept in ("liver", "liver tumor"))
        assert (voxels(liver), voxels(tumor)) == (24, 1)
        assert np.allclose(tumor.grid.ijk_to_ras, image)


def test_what_is_laid_out_otherwise_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    write_picture(tmp_path / "benign" / "picture.png", GRAY)
    for name, dataset in read_catalog().items():
        if name not in ("kvasir-seg",):
            text = refusal(name, tmp_path)
            assert dataset.layout in text
            assert dataset.source in text
    assert "no folder" in refusal("busi", tmp_path / "nowhere")


def test_a_set_that_is_not_complete_is_refused_unless_asked(tmp_path: Path) -> None:
    write_busi(tmp_path, "benign", 1, square())
    assert "1 of 780" in refusal("busi", tmp_path, partial=False)
    assert any("Only 1 images" in note for note in cases_in("busi", tmp_path).notes)


def test_images_without_reference_are_named(tmp_path: Path) -> None:
    write_busi(tmp_path, "benign", 1, square())
    write_busi(tmp_path, "benign", 2)
    text = refusal("busi", tmp_path)
    assert "benign (2)" in text
    assert "benign (1)" not in text


def test_two_copies_of_a_set_are_refused(tmp_path: Path) -> None:
    for copy in ("BUSI", "backup/BUSI"):
        write_busi(tmp_path / copy, "benign", 1, square())
    assert "twice" in refusal("busi", tmp_path)


def test_a_list_of_cases_and_what_it_tears_apart(tmp_path: Path) -> None:
    write_polypgen(tmp_path)
    names = tmp_path / "mine.txt"
    names.write_text("seq1/1_endocv_0\n\nC6/EndoCV_1\n", encoding="utf-8-sig")
    chosen = cases_in("polypgen", tmp_path, str(names))
    assert {case.name for case in chosen.cases} == {"seq1/1_endocv_0", "C6/EndoCV_1"}
    assert any("5 images that are not in the list" in note for note in chosen.notes)
    names.write_text("nobody")
    assert "nobody" in refusal("polypgen", tmp_path, str(names))
    assert "no split 'training'" in refusal("polypgen", tmp_path, "training")


def test_the_catalog_names_a_license_a_source_and_published_rows() -> None:
    catalog = read_catalog()
    assert len(catalog) == 14  # RIM-ONE is two of the paper's fifteen rows
    for dataset in catalog.values():
        assert dataset.license
        assert dataset.source
        assert dataset.layout
        assert sum(dataset.expected.values()) > 0
        assert all(0 <= row["dice"] <= 1 for row in dataset.published)
    assert {row["concept"] for row in catalog["rim-one"].published} == {"optic cup", "optic disc"}
    with pytest.raises(InputError, match="no data set 'imagenet'"):
        find_described("imagenet")
