"""Data sets that would teach nonsense: each fault is named, all in one go, and nothing is trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.datasets.read_dataset import DatasetOptions
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid
from support.labelled_datasets import as_coco, as_manifest, as_mask_folders, as_nnunet, faults_of, read_all, write_image

GRID = tilted_grid((9, 10, 12), (1.0, 1.5, 4.0), (4.0, -3.0, 5.0))


def block(first: int, end: int, rows: slice) -> np.ndarray[Any, Any]:
    mask = np.zeros(GRID.shape, bool)
    mask[first:end, rows, 3:9] = True
    return mask


def cases() -> list[tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]]:
    rng = np.random.default_rng(4)
    return [
        (
            rng.integers(-900, 900, GRID.shape).astype(np.int16),
            {"liver": block(1, 5 + shift, slice(0, 4)), "spleen": block(2, 7, slice(6, 9))},
        )
        for shift in (0, 1)
    ]


def pictures() -> list[tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]]:
    rng = np.random.default_rng(8)
    made = []
    for shift in (0, 3):
        mask = np.zeros((20, 24), bool)
        mask[4:9, 5 + shift : 12] = True
        made.append((rng.integers(0, 255, (20, 24)).astype(np.uint8), {"polyp": mask}))
    return made


def edited(file: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads(file.read_text())
    edit(document)
    file.write_text(json.dumps(document))


def manifest(root: Path, edit: Callable[[Any], None] = lambda _: None) -> Path:
    path = as_manifest(root, cases(), GRID, ".nii.gz")
    edited(path, lambda document: edit(document["cases"]))
    return path


def nnunet(root: Path, edit: Callable[[Any], None] = lambda _: None) -> Path:
    folder = as_nnunet(root, cases(), GRID, ".nii.gz")
    edited(folder / "dataset.json", edit)
    return folder


def coco(root: Path, edit: Callable[[Any], None]) -> Path:
    folder = as_coco(root, pictures())
    edited(folder / "_annotations.coco.json", edit)
    return folder


def new_concepts(concepts: Any) -> Callable[[Any], None]:
    def edit(entries: Any) -> None:
        for entry in entries:
            entry["concepts"] = concepts

    return edit


def moved_labels(root: Path, shape: tuple[int, int, int], shift: tuple[float, float, float]) -> Path:
    path = manifest(root)
    matrix = GRID.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ np.array(shift)
    labels = np.ones(shape, np.uint8)
    labels[0] = 0
    labels[1] = 2
    write_image(root / "0-labels.nii.gz", labels, VoxelGrid(shape, matrix))
    return path


def written(root: Path, name: str, array: np.ndarray[Any, Any], path: Path) -> Path:
    write_image(root / name, array, GRID)
    return path


def overwritten(path: Path, file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return path


def without(path: Path, file: Path) -> Path:
    file.unlink()
    return path


def sparse(root: Path, step: int) -> Path:
    path = manifest(root)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[::step, 2:5, 3:9] = 1
    labels[1:8, 6:9, 3:9] = 2
    return written(root, "0-labels.nii.gz", labels, path)


def twins(root: Path, split: str, *, same: bool) -> Path:
    """The same image twice, in files of their own."""
    path = manifest(root)
    array = cases()[0][0][::-1]
    turned = GRID.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, GRID.shape[0] - 1], [0, 0, 0, 1.0]])
    write_image(root / "1.nii.gz", np.ascontiguousarray(array), VoxelGrid(GRID.shape, turned))
    if same:
        shutil.copy(root / "0-labels.nii.gz", root / "1-labels.nii.gz")
    edited(path, lambda document: document["cases"][1].update(split=split))
    return path


def segments(root: Path, *named: tuple[str, np.ndarray[Any, Any]], with_image: bool = True) -> Path:
    if with_image:
        write_image(root / "ct.nrrd", cases()[0][0], GRID)
    root.mkdir(exist_ok=True)
    write_segmentation(root / "ct.seg.nrrd", [Segment(name, mask, (1.0, 0.0, 0.0)) for name, mask in named], GRID, {})
    return root


def coco_splits(root: Path) -> Path:
    one, other = pictures()
    as_coco(root / "train", [one])
    as_coco(root / "valid", [one, other])
    return root


def fold_of(train: list[str], val: list[str]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        folder = nnunet(root)
        (folder / "splits_final.json").write_text(json.dumps([{"train": train, "val": val}]))
        return folder

    return make


def folders(root: Path, edit: Callable[[Path], object]) -> Path:
    as_mask_folders(root, pictures(), None, ".png")
    edit(root)
    return root


def lone_map(root: Path) -> Path:
    (array, masks), *_ = pictures()
    write_image(root / "images" / "a.png", array)
    write_image(root / "masks" / "a.png", masks["polyp"].astype(np.uint8) * 255)
    return root


LIVER = block(1, 5, slice(0, 4))

#: What is wrong, how it is made, and what is said of it.
FAULTY: dict[str, tuple[Callable[[Path], Path], str]] = {
    # A manifest.
    "a value that no concept names and none that one does": (
        lambda root: written(root, "0-labels.nii.gz", LIVER.astype(np.uint8) * 255, manifest(root)),
        r"0-labels\.nii\.gz holds 255, which no concept names, and no 1 for 'liver'",
    ),
    "a concept without a voxel": (
        lambda root: manifest(root, new_concepts({"liver": [1], "spleen": [2], "tumor": [3]})),
        "No case has a voxel of 'tumor', which would be learnt as never there",
    ),
    "a name of a segment that is not there": (
        lambda root: manifest(root, new_concepts({"liver": ["Leber"], "spleen": [2]})),
        r"0-labels\.nii\.gz holds 1, which no concept names, and no Leber for 'liver'",
    ),
    "grids of another size": (
        lambda root: moved_labels(root, (8, 10, 12), (0, 0, 0)),
        r"12 x 10 x 8 voxels and .*0\.nii\.gz 12 x 10 x 9; resample",
    ),
    "grids that differ by half a voxel": (
        lambda root: moved_labels(root, GRID.shape, (0.5, 0, 0)),
        r"0-labels\.nii\.gz do not lie on the grid of",
    ),
    "labels that lie outside of the image": (
        lambda root: moved_labels(root, GRID.shape, (0, 0, 3)),
        "lies outside of .* in part",
    ),
    "an empty phrase": (
        lambda root: manifest(root, new_concepts({" ": [1]})),
        "Case 1 .*a concept has no name",
    ),
    "a phrase without a word": (
        lambda root: manifest(root, new_concepts({"---": [1]})),
        "The concept '---' has no word in it",
    ),
    "a name that a program gave": (
        lambda root: manifest(root, new_concepts({"Segment_1": [1]})),
        "The concept 'Segment_1' is a name that a program gave",
    ),
    "two names of one concept in a case": (
        lambda root: manifest(root, new_concepts({"liver": [1], "The Liver": [2]})),
        "Case 2 .*'liver' and 'The Liver' mean the same",
    ),
    "one concept labelled twice in one image": (
        lambda root: manifest(root, lambda entries: entries.append(dict(entries[0]))),
        "says twice where 'liver' is in 0.nii.gz, in the cases 1 and 3",
    ),
    "the background as a concept": (
        lambda root: manifest(root, new_concepts({"liver": [0]})),
        "Case 1 .*0, which is the background",
    ),
    "an image that is not there": (
        lambda root: manifest(root, lambda entries: entries[1].update(image="gone.nii.gz")),
        r"Case 2 .*gone\.nii\.gz does not exist",
    ),
    "an image that cannot be read": (
        lambda root: overwritten(manifest(root), root / "1.nii.gz", b"not an image at all"),
        r"1\.nii\.gz",
    ),
    "labels that cannot be read": (
        lambda root: overwritten(manifest(root), root / "1-labels.nii.gz", b""),
        r"1-labels\.nii\.gz is an empty file",
    ),
    "labels that are no whole numbers": (
        lambda root: written(root, "0-labels.nii.gz", np.full(GRID.shape, 0.5, np.float32), manifest(root)),
        r"0-labels\.nii\.gz .*not whole numbers",
    ),
    "labels that are the image": (
        lambda root: manifest(root, lambda entries: entries[0].update(labels="0.nii.gz")),
        "Case 1 .*its labels are the image itself",
    ),
    "every third slice labelled": (
        lambda root: sparse(root, 3),
        "'liver' of '0' is labelled on 3 slices and never on two neighbors",
    ),
    "every other slice labelled": (
        lambda root: sparse(root, 2),
        "'liver' of '0' is labelled on 5 slices and never on two neighbors",
    ),
    "a labelled slice that the image does not have": (
        lambda root: manifest(root, lambda entries: entries[0].update(labelled_slices=[2, 9])),
        "has slices 0 to 8 and no slice 9",
    ),
    "labelled slices that are none": (
        lambda root: manifest(root, lambda entries: entries[0].update(labelled_slices=[])),
        'Case 1 .*"labelled_slices" is empty',
    ),
    "a range of slices that runs backwards": (
        lambda root: manifest(root, lambda entries: entries[0].update(labelled_slices=["5:2"])),
        "Case 1 .*'5:2', which is neither the number of a slice nor a range",
    ),
    "a value that is ignored and a concept": (
        lambda root: manifest(root, lambda entries: entries[0].update(ignore=[2])),
        "Case 1 .*\"ignore\" and 'spleen' both have 2",
    ),
    "nothing that is not ignored": (
        lambda root: written(
            root,
            "0-labels.nii.gz",
            np.full(GRID.shape, 9, np.uint8),
            manifest(root, lambda entries: entries[0].update(ignore=[9], concepts={"liver": []})),
        ),
        "'0' has no slice that somebody looked at",
    ),
    "a concept that is everything": (
        lambda root: written(root, "0-labels.nii.gz", np.ones(GRID.shape, np.uint8), manifest(root)),
        "'liver' is every voxel of '0'",
    ),
    "a split that there is not": (
        lambda root: manifest(root, lambda entries: entries[0].update(split="training")),
        "Case 1 .*\"split\" is 'training' and none of train, val, test",
    ),
    "the same image in two splits": (
        lambda root: twins(root, "val", same=True),
        "'0' of the split train and '1' of val are the same image",
    ),
    "the same image with other labels": (
        lambda root: twins(root, "train", same=False),
        "'0' and '1' are the same image, and 'liver' is elsewhere in each",
    ),
    # nnU-Net.
    "a value that dataset.json does not name": (
        lambda root: nnunet(root, lambda document: document["labels"].pop("spleen")),
        r"case_0\.nii\.gz holds Label 2, which dataset\.json does not name",
    ),
    "a label map without an image": (
        lambda root: without(nnunet(root), root / "imagesTr" / "case_1_0000.nii.gz"),
        r"case_1\.nii\.gz has no image case_1_0000\.nii\.gz",
    ),
    "a label of nnU-Net that no case has": (
        lambda root: nnunet(root, lambda document: document["labels"].update(tumor=3)),
        "No case has a voxel of 'tumor'",
    ),
    "a case that a fold trains on and validates": (
        fold_of(["case_0", "case_1"], ["case_1"]),
        "The case case_1 is in training and validation of fold0",
    ),
    "a case of a fold without labels": (fold_of(["case_0"], ["case_1", "case_7"]), "no labels of case_7"),
    # COCO.
    "an annotation without a mask": (
        lambda root: coco(root, lambda document: document["annotations"][0].update(segmentation=[])),
        r"0\.png in .* cannot be learnt from: 1 \('polyp'\) has no mask",
    ),
    "an outline of two points": (
        lambda root: coco(root, lambda document: document["annotations"][0].update(segmentation=[[1, 2, 3, 4]])),
        r"1 \('polyp'\) has an outline of fewer than three points",
    ),
    "a mask of another size": (
        lambda root: coco(
            root, lambda document: document["annotations"][0].update(segmentation={"size": [5, 5], "counts": [25]})
        ),
        r"1 \('polyp'\) has a mask of another size",
    ),
    "run lengths that are too short": (
        lambda root: coco(
            root, lambda document: document["annotations"][0].update(segmentation={"size": [20, 24], "counts": [25]})
        ),
        r"1 \('polyp'\) has run lengths that do not fill its image",
    ),
    "an image of another size than COCO says": (
        lambda root: coco(root, lambda document: document["images"][0].update(width=48)),
        r"0\.png has 24 x 20 pixels and _annotations\.coco\.json says 48 x 20",
    ),
    "a category that is not in the list": (
        lambda root: coco(root, lambda document: document["annotations"][0].update(category_id=7)),
        "The annotation 1 of .* has the category 7",
    ),
    "an annotation of no image": (
        lambda root: coco(root, lambda document: document["annotations"][0].update(image_id=70)),
        "The annotation 1 of .* is of the image 70",
    ),
    "an image of COCO that is not there": (
        lambda root: without(coco(root, lambda _: None), root / "1.png"),
        r"The image 1\.png of .* does not exist beside it",
    ),
    "two categories of one name": (
        lambda root: coco(root, lambda document: document["categories"].append({"id": 2, "name": "Polyp"})),
        "two categories called 'Polyp'",
    ),
    "a category without an annotation": (
        lambda root: coco(root, lambda document: document["categories"].append({"id": 2, "name": "instrument"})),
        "No case has a voxel of 'instrument'",
    ),
    "an image in two splits of COCO": (coco_splits, r"'train/0\.png' of the split train and 'valid/0\.png' of val"),
    # Slicer's segmentations.
    "a segmentation without an image": (
        lambda root: segments(root / "a", ("liver", LIVER), with_image=False),
        r"ct\.seg\.nrrd has no image of its name beside it",
    ),
    "segments with the name that Slicer gives": (
        lambda root: segments(root, ("Segment_1", LIVER)),
        "The concept 'Segment_1' is a name that a program gave",
    ),
    "two segments of one name": (
        lambda root: segments(root, ("liver", LIVER), ("Liver", block(5, 7, slice(6, 9)))),
        r"ct\.seg\.nrrd has several segments called",
    ),
    "a segmentation without a voxel": (
        lambda root: segments(root, ("liver", LIVER & False)),
        r"ct\.seg\.nrrd holds no segment with a voxel",
    ),
    # Folders of images and masks.
    "labels that nothing names": (lone_map, r"Nothing says what the labels of .*a\.png mean; give --label"),
    "a mask without an image": (
        lambda root: folders(root, lambda made: (made / "images" / "1.png").unlink()),
        r"masks/polyp/1\.png has no image of its name",
    ),
    "an image without a mask": (
        lambda root: folders(root, lambda made: (made / "masks" / "polyp" / "1.png").unlink()),
        r"images/1\.png has no mask of its name",
    ),
    "a mask with smoothed edges": (
        lambda root: folders(
            root,
            lambda made: write_image(
                made / "masks" / "polyp" / "1.png", np.arange(480, dtype=np.uint16).reshape(20, 24).astype(np.uint8)
            ),
        ),
        r"1\.png holds the values 1, 2, 3, 4 and should be one mask of 'polyp'",
    ),
    "a mask of another size than its image": (
        lambda root: folders(
            root, lambda made: write_image(made / "masks" / "polyp" / "1.png", np.full((10, 12), 255, np.uint8))
        ),
        r"1\.png has 12 x 10 pixels and .*1\.png 24 x 20",
    ),
}


def options_for(name: str) -> DatasetOptions:
    return DatasetOptions(fold=0) if "fold" in name else DatasetOptions()


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_named(tmp_path: Path, name: str) -> None:
    make, says = FAULTY[name]
    path = make(tmp_path)
    faults, _ = faults_of(path, options_for(name))
    matching = [fault for fault in faults if re.search(says, fault)]
    assert len(matching) == 1, faults
    assert all(fault.endswith(".") and "\n" not in fault for fault in faults)
    with pytest.raises(InputError):
        read_all(path, options_for(name))


def test_good_data_sets_have_no_fault(tmp_path: Path) -> None:
    for make in (manifest, nnunet, lambda root: coco(root, lambda _: None), lambda root: folders(root, lambda _: None)):
        root = tmp_path / str(id(make))
        root.mkdir()
        assert faults_of(make(root))[0] == []
    assert faults_of(segments(tmp_path / "slicer", ("liver", LIVER)))[0] == []


def test_long_phrases_and_names_that_differ_a_little_are_said(tmp_path: Path) -> None:
    path = manifest(tmp_path, new_concepts({"left lower lobe of lung": [1], "kidney": [2]}))
    edited(
        path, lambda document: document["cases"][1].update(concepts={"left lower lobe of lung": [1], "kidneys": [2]})
    )
    faults, notes = faults_of(path)
    assert faults == []
    assert notes == [
        "The phrase 'left lower lobe of lung' has 5 words; MedSAM-3 learnt at most 3, so shorten it.",
        "'kidney' and 'kidneys' are learnt as two concepts; write one name where they are one.",
    ]


@pytest.mark.parametrize(("given", "known"), [("drawn", 8), ("all", None)])
def test_sparse_labels_are_learnt_as_somebody_says(tmp_path: Path, given: str, known: int | None) -> None:
    path = sparse(tmp_path, 3)
    edited(path, lambda document: document["cases"][0].update(labelled_slices=given))
    stack = read_all(path)[0]
    assert (None if stack.known is None else int(stack.known.sum())) == known


def test_sparse_labels_of_other_formats_are_learnt_as_the_option_says(tmp_path: Path) -> None:
    folder = nnunet(tmp_path)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[::3, 2:5, 3:9], labels[::3, 6:9, 3:9] = 1, 2
    write_image(folder / "labelsTr" / "case_0.nii.gz", labels, GRID)
    with pytest.raises(InputError, match="--labelled-slices drawn"):
        read_all(folder)
    stack = read_all(folder, DatasetOptions(labelled_slices="drawn"))[0]
    assert stack.known is not None
    assert stack.known.tolist() == [index % 3 == 0 for index in range(9)]


def test_all_faults_are_listed_in_one_go_and_nothing_is_trained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sparse(here, 3)
    entries = json.loads(path.read_text())["cases"]
    entries[1]["concepts"] = {"liver": [1], "Segment_2": [2], "tumor": [5]}
    entries.append({"image": "gone.nii.gz", "labels": "0-labels.nii.gz", "concepts": {"liver": [1]}})
    path.write_text(json.dumps({"cases": entries}))
    before = sorted(here.iterdir())
    assert main(["train", "--check-data", "--data", str(path)]) == 2
    said = capsys.readouterr()
    told = " ".join((said.out + said.err).split())
    for words in (
        "gone.nii.gz does not exist",
        "'liver' of '0' is labelled on 3 slices",
        "'Segment_2' is a name that a program gave",
        "No case has a voxel of 'tumor'",
        "has 4 faults, listed above",
    ):
        assert words in told
    assert sorted(here.iterdir()) == before


def test_good_data_are_said_to_be_good(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = manifest(here)
    assert main(["train", "--check-data", "--data", str(path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "can be trained on: 2 cases, 18 labelled slices, 2 concepts (liver, spleen)" in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--check-data"], "--check-data is for labelled images; name them with --data"),
        (["--label", "polyp=1", "--phantoms", "1"], "--label is for labelled images"),
        (["--check-data", "--data", "gone"], "The training data gone does not exist"),
        (["--check-data", "--data", "cases.json", "--fold", "0"], "--fold is for nnU-Net raw folders"),
        (["--data", "cases.json"], "--output is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    manifest(here)
    assert main(["train", *words]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
