"""Training data as people bring it: other label values, Slicer's segmentations, text files of Windows, twins."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from MedSAM3SegmentLib.cli.main import main
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.read_dataset import read_dataset
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid
from MedSAM3SegmentLib.training.dataset import LabelledStack, read_stacks
from support.external_data import SHARED, needs_shared
from support.images import image_on_grid

GRID = tilted_grid((5, 8, 7), (1.0, 1.5, 4.0), (4.0, -3.0, 5.0))
CASES = SHARED / "cases"


def block(first: int, end: int) -> NDArray[np.bool_]:
    mask = np.zeros(GRID.shape, bool)
    mask[1:4, first:end, 2:6] = True
    return mask


LIVER, SPLEEN = block(0, 3), block(4, 7)


def write(path: Path, array: NDArray[Any], grid: VoxelGrid = GRID) -> None:
    SimpleITK.WriteImage(image_on_grid(array, grid), str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image, and label maps of it: liver 1 and spleen 2."""
    rng = np.random.default_rng(3)
    write(tmp_path / "ct.nii.gz", rng.integers(-900, 900, GRID.shape).astype(np.int16))
    write(tmp_path / "labels.nii.gz", LIVER.astype(np.uint8) + 2 * SPLEEN.astype(np.uint8))
    return tmp_path


def case_of(concepts: object, labels: str = "labels.nii.gz", **more: object) -> dict[str, object]:
    return {"image": "ct.nii.gz", "labels": labels, "concepts": concepts, **more}


def read(folder: Path, *cases: object, content: bytes | None = None) -> tuple[list[LabelledStack], list[str]]:
    path = folder / "cases.json"
    path.write_bytes(json.dumps({"cases": cases}).encode() if content is None else content)
    findings = Findings()
    stacks = list(read_stacks(read_dataset(path, findings), findings))
    return stacks, findings.sentences()


def masks_of(stack: LabelledStack) -> dict[str, NDArray[np.bool_]]:
    """Where each concept is, ``[k, j, i]``."""
    own = SliceStack.along(GRID)
    return {
        name: own.insert(np.stack([stack.mask(index, name) for index in range(len(stack.slices))]))
        for name in stack.concepts
    }


def test_labels_are_taken_as_the_manifest_names_them(folder: Path) -> None:
    ((stack,), said) = read(folder, case_of({"liver": [1], "spleen": 2, "both": [1, 2.0], "gallstone": []}))
    masks = masks_of(stack)
    assert np.array_equal(masks["liver"], LIVER)
    assert np.array_equal(masks["spleen"], SPLEEN)
    assert np.array_equal(masks["both"], LIVER | SPLEEN)
    assert not masks["gallstone"].any()
    assert said == []


def test_labels_of_16_bits_are_taken(folder: Path) -> None:
    write(folder / "wide.nii.gz", LIVER.astype(np.uint16) * 60000)
    ((stack,), said) = read(folder, case_of({"liver": [60000]}, "wide.nii.gz"))
    assert np.array_equal(masks_of(stack)["liver"], LIVER)
    assert said == []


@pytest.mark.parametrize("concepts", [{"liver": [1]}, {"liver": [1], "tumor": [7, 8]}, {"liver": ["Liver"]}])
def test_a_value_that_is_not_there_beside_one_that_nobody_names_is_no_absence(
    folder: Path, concepts: dict[str, list[int]]
) -> None:
    write(folder / "other.nii.gz", LIVER.astype(np.uint8) * 255)
    with pytest.raises(InputError, match=r"holds 255, which no concept names.*: \[\] where it is absent"):
        read(folder, case_of(concepts, "other.nii.gz"))


def test_what_is_learnt_as_absent_and_what_is_left_out_is_said_once(folder: Path) -> None:
    write(folder / "only.nii.gz", LIVER.astype(np.uint8))
    stacks, said = read(
        folder,
        case_of({"liver": [1], "tumor": [3]}, "only.nii.gz"),
        case_of({"liver": [1], "tumor": [2]}, plane="coronal"),
        case_of({"liver": [1]}, plane="sagittal"),
    )
    assert len(stacks) == 3
    assert said == [
        "only.nii.gz: 'tumor' (3) is nowhere in the labels, so it counts as absent.",
        "labels.nii.gz: the labels 2 are named by no concept and were left out.",
    ]


def segmentation(folder: Path, *segments: tuple[str, NDArray[np.bool_]], name: str = "drawn.seg.nrrd") -> None:
    write_segmentation(folder / name, [Segment(called, mask, (1, 0, 0)) for called, mask in segments], GRID, {})


@pytest.mark.parametrize("values", [["Liver"], ["liver "], "liver", [2], 2])
def test_segments_of_slicer_are_taken_by_name_or_number(folder: Path, values: object) -> None:
    segmentation(folder, ("Spleen", SPLEEN), ("Liver", LIVER))
    ((stack,), said) = read(folder, case_of({"the liver": values}, "drawn.seg.nrrd"))
    assert np.array_equal(masks_of(stack)["liver"], LIVER)
    assert said == ["drawn.seg.nrrd: the labels 1 ('Spleen') are named by no concept and were left out."]


def test_an_empty_segment_is_nothing_that_was_left_out(folder: Path) -> None:
    segmentation(folder, ("Spleen", SPLEEN & LIVER), ("Liver", LIVER))
    ((stack,), said) = read(folder, case_of({"liver": ["liver"]}, "drawn.seg.nrrd"))
    assert np.array_equal(masks_of(stack)["liver"], LIVER)
    assert said == []


def test_a_concept_that_no_case_has_is_refused_unless_it_is_said_to_be_absent(folder: Path) -> None:
    segmentation(folder, ("Liver", LIVER))
    with pytest.raises(InputError, match="No case has a voxel of 'tumor'"):
        read(folder, case_of({"liver": ["liver"], "tumor": ["tumor"]}, "drawn.seg.nrrd"))
    ((stack,), said) = read(folder, case_of({"liver": ["liver"], "tumor": []}, "drawn.seg.nrrd"))
    assert stack.concepts == ("liver", "tumor")
    assert said == []


def test_segments_that_overlap_stay_whole(folder: Path) -> None:
    organ = LIVER | SPLEEN
    segmentation(folder, ("organ", organ), ("tumor", LIVER))
    ((stack,), _) = read(folder, case_of({"organ": ["organ"], "tumor": ["tumor"]}, "drawn.seg.nrrd"))
    assert np.array_equal(masks_of(stack)["organ"], organ)
    assert np.array_equal(masks_of(stack)["tumor"], LIVER)


def test_a_segmentation_that_slicer_cropped_lies_where_it_was_drawn(folder: Path) -> None:
    corner = GRID.ijk_to_ras.copy()
    corner[:3, 3] += corner[:3, :3] @ np.array([2, 0, 1])
    cropped = VoxelGrid((3, 3, 4), corner)
    write_segmentation(folder / "c.seg.nrrd", [Segment("liver", np.ones((3, 3, 4), bool), (1, 0, 0))], cropped, {})
    ((stack,), _) = read(folder, case_of({"liver": ["liver"]}, "c.seg.nrrd"))
    assert np.array_equal(masks_of(stack)["liver"], LIVER)


@pytest.mark.parametrize(
    ("segments", "concepts", "says"),
    [
        ([("spleen", SPLEEN), ("liver", LIVER)], {"liver": [1]}, r"is 'spleen' .*\"liver\": \[\"liver\"\]"),
        ([("spleen", SPLEEN), ("liver", LIVER)], {"liver": []}, r"says that 'liver' is absent"),
        ([("spleen", SPLEEN)], {"liver": ["lever"]}, r"holds 1 \('spleen'\), which no concept names, and no lever"),
    ],
)
def test_names_that_contradict_the_manifest_are_no_labels(
    folder: Path, segments: list[tuple[str, NDArray[np.bool_]]], concepts: dict[str, list[object]], says: str
) -> None:
    segmentation(folder, *segments)
    with pytest.raises(InputError, match=says):
        read(folder, case_of(concepts, "drawn.seg.nrrd"))


def test_labels_elsewhere_are_not_moved(folder: Path) -> None:
    shifted = GRID.ijk_to_ras.copy()
    shifted[:3, 3] += shifted[:3, :3] @ np.array([0.5, 0, 0])
    write(folder / "shifted.nii.gz", LIVER.astype(np.uint8), VoxelGrid(GRID.shape, shifted))
    with pytest.raises(InputError, match="do not lie on the grid"):
        read(folder, case_of({"liver": [1]}, "shifted.nii.gz"))
    write(folder / "part.nii.gz", LIVER[:4].astype(np.uint8), VoxelGrid((4, *GRID.shape[1:]), GRID.ijk_to_ras))
    with pytest.raises(InputError, match=r"7 x 8 x 4 voxels .* 7 x 8 x 5"):
        read(folder, case_of({"liver": [1]}, "part.nii.gz"))
    outside = GRID.ijk_to_ras.copy()
    outside[:3, 3] += outside[:3, :3] @ np.array([0, 0, 3])
    lies = [Segment("liver", LIVER, (1, 0, 0))]
    write_segmentation(folder / "outside.seg.nrrd", lies, VoxelGrid(GRID.shape, outside), {})
    with pytest.raises(InputError, match="lies outside of"):
        read(folder, case_of({"liver": ["liver"]}, "outside.seg.nrrd"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "ä"])
def test_a_manifest_is_read_as_any_editor_saves_it(folder: Path, encoding: str, mark: str) -> None:
    segmentation(folder, (f"leber{mark}", LIVER), ("milz", SPLEEN))
    text = json.dumps({"cases": [case_of({"liver": [f"Leber{mark}"], "spleen": ["milz"]}, "drawn.seg.nrrd")]})
    ((stack,), said) = read(folder, content=text.replace("\n", "\r\n").encode(encoding))
    assert np.array_equal(masks_of(stack)["liver"], LIVER)
    assert said == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_names_beside_a_label_map_are_read_as_any_editor_saves_them(folder: Path, encoding: str) -> None:
    names = {"labels": {"1": "Leber", "2": "Milz"}}
    (folder / "labels.labels.json").write_bytes(json.dumps(names).encode(encoding))
    ((stack,), _) = read(folder, case_of({"liver": ["leber"], "spleen": ["Milz"]}))
    assert np.array_equal(masks_of(stack)["spleen"], SPLEEN)


def test_names_that_cannot_be_read_are_not_lost_without_a_word(folder: Path) -> None:
    (folder / "labels.labels.json").write_bytes(b'{"labels": {"1": "Leber"')
    with pytest.raises(InputError, match=r"labels\.labels\.json, which names the labels of"):
        read(folder, case_of({"liver": [1], "spleen": [2]}))


def test_paths_are_relative_to_the_manifest_and_may_be_of_windows(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (folder / "masks").mkdir()
    (folder / "labels.nii.gz").rename(folder / "masks" / "labels.nii.gz")
    for labels in ("masks/labels.nii.gz", "masks\\labels.nii.gz", str(folder / "masks" / "labels.nii.gz")):
        ((stack,), _) = read(folder, case_of({"liver": [1], "spleen": [2]}, labels))
        assert np.array_equal(masks_of(stack)["liver"], LIVER)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (codecs.BOM_UTF8, "cannot be read"),
        (b"\xff\xfe{", "cannot be read"),
        ('{"cases": [{"image": "Müller.nii"}]}'.encode("latin-1"), "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", 'no list "cases"'),
        (b'{"cases": {}}', 'no list "cases"'),
        (b'{"cases": []}', "names no case"),
        (b'{"cases": [7]}', "Case 1 .* no object"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_a_sentence(folder: Path, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(folder, content=content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": "absent.nii.gz"}, r"absent\.nii\.gz does not exist \(paths are relative"),
        ({"labels": None}, 'no "labels" with a path'),
        ({"labels": "ct.nii.gz"}, "its labels are the image itself"),
        ({"concepts": {}}, 'no object "concepts"'),
        ({"concepts": {"liver": [0]}}, "0, which is the background"),
        ({"concepts": {"liver": [1.5]}}, "1.5, which is neither"),
        ({"concepts": {"liver": [True]}}, "True, which is neither"),
        ({"concepts": {"liver": [None]}}, "None, which is neither"),
        ({"concepts": {"liver": [1], "The Liver": [2]}}, "'liver' and 'The Liver' mean the same"),
        ({"plane": "oblique"}, "'oblique' and none of acquired, axial"),
    ],
)
def test_a_case_that_cannot_be_meant_is_refused_with_its_number(
    folder: Path, change: dict[str, object], says: str
) -> None:
    good = case_of({"spleen": [2]}, plane="axial")
    with pytest.raises(InputError, match=f"Case 2 .*{says}"):
        read(folder, good, case_of({"liver": [1]}) | change)


def test_what_is_said_twice_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"says twice where 'Liver' is in ct\.nii\.gz, in the cases 1 and 2"):
        read(folder, case_of({"liver": [1]}), case_of({"Liver": [2]}))
    names = b'"image": "ct.nii.gz", "labels": "labels.nii.gz"'
    twice = b'{"cases": [{' + names + b', "concepts": {"liver": [1], "liver": [2]}}]}'
    with pytest.raises(InputError, match='"liver" is there twice'):
        read(folder, content=twice)


@needs_shared
@pytest.mark.parametrize("concepts", [None, {"spine": ["Spine"], "liver": ["liver"]}])
def test_labels_as_slicer_saves_them_are_those_of_their_names(
    tmp_path: Path, concepts: dict[str, list[str]] | None
) -> None:
    from MedSAM3SegmentLib.io.segmentation import read_segmentation

    source = CASES / "training-seg-nrrd"
    case = json.loads((source / "cases.json").read_text())["cases"][0]
    case |= {"image": str(source / case["image"]), "labels": str(source / case["labels"])}
    if concepts is not None:
        case["concepts"] = concepts
    ((stack,), _) = read(tmp_path, case)
    truth = {segment.name: segment for segment in read_segmentation(source / "truth.seg.nrrd")[0]}
    for name in stack.concepts:
        drawn = sum(int(stack.mask(index, name).sum()) for index in range(len(stack.slices)))
        assert drawn == int(truth[name].mask.sum()) > 0


@needs_shared
def test_labels_that_are_not_there_are_refused_by_the_shell(
    here: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--manifest", str(CASES / "training-labels-not-there" / "cases.json"), "--base", str(tiny_model_folder)]
    assert main(["train", "--output", "model", *words, "--steps", "1"]) == 2
    assert "holds 255, which no concept names, and no 1 for 'liver'" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@needs_shared
@pytest.mark.parametrize("case", ["training-manifest-with-bom", "training-seg-nrrd"])
def test_manifests_that_people_bring_are_trained_on(here: Path, tiny_model_folder: Path, case: str) -> None:
    words = ["--manifest", str(CASES / case / "cases.json"), "--base", str(tiny_model_folder), "--steps", "1"]
    assert main(["train", "--output", "model", *words]) == 0
    assert (here / "model" / "model.safetensors").is_file()
