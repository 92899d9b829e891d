"""Every format gives the same stacks from the same images, whatever order its axes have."""

from __future__ import annotations

import json
import sys
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.read_dataset import DatasetOptions, read_dataset
from MedSAM3SegmentLib.errors import InputError, PackageError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_volume
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid
from MedSAM3SegmentLib.training.dataset import read_stacks, stack_with_labels
from MedSAM3SegmentLib.volume import Volume
from support.external_data import DATA, needs_shared
from support.labelled_datasets import (
    as_coco,
    as_manifest,
    as_mask_folders,
    as_nnunet,
    as_segmentations,
    content_hash,
    label_map,
    read_all,
    write_image,
)

GRID = tilted_grid((6, 9, 11), (1.0, 1.5, 4.0), (4.0, -3.0, 5.0))


def volumes() -> list[tuple[NDArray[Any], dict[str, NDArray[np.bool_]]]]:
    """Two CTs with a liver and a spleen."""
    rng = np.random.default_rng(5)
    cases = []
    for shift in (0, 1):
        liver, spleen = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
        liver[1:4, 1 : 4 + shift, 2:6] = True
        spleen[2:5, 6:8, 4 : 8 + shift] = True
        cases.append((rng.integers(-900, 900, GRID.shape).astype(np.int16), {"spleen": spleen, "liver": liver}))
    return cases


def pictures() -> list[tuple[NDArray[Any], dict[str, NDArray[np.bool_]]]]:
    """Two gray pictures; the second shows no disc."""
    rng = np.random.default_rng(6)
    cases = []
    for number in (0, 1):
        cup, disc = np.zeros((20, 24), bool), np.zeros((20, 24), bool)
        cup[4 : 9 + number, 5:12] = True
        disc[12:17, 8:20] = number == 0
        cases.append((rng.integers(0, 255, (20, 24)).astype(np.uint8), {"optic disc": disc, "cup": cup}))
    return cases


def hashes(path: Path) -> list[str]:
    return [content_hash(stack) for stack in read_all(path)]


def test_volumes_of_every_format_are_the_same_stacks(tmp_path: Path) -> None:
    writers = (as_manifest, as_nnunet, as_segmentations, as_mask_folders)
    found = [hashes(write(tmp_path / write.__name__, volumes(), GRID, ".nii.gz")) for write in writers]
    assert len(set(found[0])) == 2
    assert all(one == found[0] for one in found)


def test_pictures_of_every_format_are_the_same_stacks(tmp_path: Path) -> None:
    first = pictures()
    writers = (as_manifest, as_nnunet, as_mask_folders)
    found = [hashes(write(tmp_path / write.__name__, first, None, ".png")) for write in writers]
    found.append(hashes(as_coco(tmp_path / "runs", first)))
    found.append(hashes(as_coco(tmp_path / "polygons", first, polygons=True)))
    assert len(set(found[0])) == 2
    assert all(one == found[0] for one in found)


def test_segmentations_of_slicer_teach_what_they_name_alone(tmp_path: Path) -> None:
    """An empty segment does not say that anybody looked; the rest is as in the other formats."""
    stacks = read_all(as_segmentations(tmp_path / "a", pictures(), None, ".png"))
    assert [stack.concepts for stack in stacks] == [("cup", "optic disc"), ("cup",)]
    assert content_hash(stacks[0]) == hashes(as_coco(tmp_path / "b", pictures()))[0]


def in_other_order(
    array: NDArray[Any], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[NDArray[Any], VoxelGrid]:
    """The same voxels ``[k, j, i]`` stored along other axes, and where they lie."""
    turned = array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    matrix = np.eye(4)
    for new_axis in range(3):  # array axes of the new file
        old = 2 - axes[new_axis]
        column = GRID.ijk_to_ras[:3, old] * (-1 if flips[new_axis] else 1)
        matrix[:3, 2 - new_axis] = column
    start = np.zeros(3)
    for new_axis, flip in enumerate(flips):
        if flip:
            start[2 - axes[new_axis]] = array.shape[axes[new_axis]] - 1
    matrix[:3, 3] = GRID.to_ras(start)
    return np.ascontiguousarray(turned), VoxelGrid(turned.shape, matrix)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(permutations(range(3)))), st.sampled_from(list(product((False, True), repeat=3))))
def test_the_same_voxels_in_another_axis_order_are_the_same_stack(
    axes: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    array, masks = volumes()[0]
    straight = stack_with_labels(Volume(array, GRID, "CT"), masks)
    turned, grid = in_other_order(array, axes, flips)
    moved = {name: in_other_order(mask, axes, flips)[0] for name, mask in masks.items()}
    assert content_hash(stack_with_labels(Volume(turned, grid, "CT"), moved)) == content_hash(straight)


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (True, False, False)), ((2, 0, 1), (False, True, True))])
@pytest.mark.parametrize("turns", ["image", "labels"])
def test_files_whose_axes_have_another_order_are_the_same_stack(
    tmp_path: Path, axes: tuple[int, ...], flips: tuple[bool, ...], turns: str
) -> None:
    array, masks = volumes()[0]
    straight = hashes(as_nnunet(tmp_path / "straight", [(array, masks)], GRID, ".nii.gz"))
    folder = as_nnunet(tmp_path / "turned", [(array, masks)], GRID, ".nii.gz")
    if turns == "image":
        write_image(folder / "imagesTr" / "case_0_0000.nii.gz", *in_other_order(array, axes, flips))
    else:
        write_image(folder / "labelsTr" / "case_0.nii.gz", *in_other_order(label_map(masks), axes, flips))
    assert hashes(folder) == straight


def test_labelled_slices_are_those_of_the_file_in_whatever_order(tmp_path: Path) -> None:
    array, masks = volumes()[0]
    manifest = as_manifest(tmp_path / "a", [(array, masks)], GRID, ".nii.gz")
    document = json.loads(manifest.read_text())
    document["cases"][0]["labelled_slices"] = [0, "3:5"]
    manifest.write_text(json.dumps(document))
    (stack,) = read_all(manifest)
    assert stack.known is not None
    assert stack.known.tolist() == [True, False, False, True, True, False]
    write_image(tmp_path / "a" / "0.nii.gz", *in_other_order(array, (0, 1, 2), (True, False, False)))
    document["cases"][0]["labelled_slices"] = [5, 1, 2]
    manifest.write_text(json.dumps(document))
    (turned,) = read_all(manifest)
    assert content_hash(turned) == content_hash(stack)


def test_regions_ignored_labels_and_folds_of_nnunet(tmp_path: Path) -> None:
    cases = volumes()
    folder = as_nnunet(tmp_path, cases, GRID, ".nii.gz")
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"] = {"background": 0, "abdominal organ": [1, 2], "liver": 2, "ignore": 3}
    (folder / "dataset.json").write_text(json.dumps(description))
    labels = label_map(cases[0][1])
    labels[1, 7:9, :3], labels[5] = 3, 3
    write_image(folder / "labelsTr" / "case_0.nii.gz", labels, GRID)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["case_0"], "val": ["case_1"]}]))
    (stack,) = read_all(folder, DatasetOptions(fold=0), "train")
    assert stack.concepts == ("abdominal organ", "liver")
    both = (labels == 1) | (labels == 2)
    assert [int((stack.codes >> np.uint32(bit) & 1).sum()) for bit in (0, 1)] == [both.sum(), (labels == 2).sum()]
    assert stack.ignored is not None
    assert int(stack.ignored.sum()) == int((labels == 3).sum())
    assert [stack.is_known(index) for index in range(6)] == [True] * 5 + [False]
    (other,) = read_all(folder, DatasetOptions(fold=0), "val")
    assert content_hash(other) != content_hash(stack)
    assert len(read_all(folder)) == 2


def test_crowds_and_what_lvis_did_not_look_for_are_not_learnt(tmp_path: Path) -> None:
    folder = as_coco(tmp_path, pictures())
    file = folder / "_annotations.coco.json"
    document = json.loads(file.read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 1)
    document["images"][1]["neg_category_ids"] = []
    file.write_text(json.dumps(document))
    findings = Findings(faults=[])
    first, second = read_stacks(read_dataset(folder, findings), findings)
    assert first.ignored is not None
    assert int(first.ignored.sum()) == 5 * 12
    assert first.present(0) == ("cup",)
    assert second.concepts == ("cup",)


def test_splits_are_folders_of_coco_and_of_masks_and_words_of_a_manifest(tmp_path: Path) -> None:
    one, other = pictures()
    as_coco(tmp_path / "coco" / "train", [one])
    as_coco(tmp_path / "coco" / "valid", [other])
    findings = Findings(faults=[])
    dataset = read_dataset(tmp_path / "coco", findings)
    assert dataset.splits == ("train", "val")
    assert [stack.present(0) for stack in read_stacks(dataset, findings, "val")] == [("cup",)]
    manifest = as_manifest(tmp_path / "manifest", [one, other], None, ".png")
    document = json.loads(manifest.read_text())
    document["cases"][1]["split"] = "test"
    manifest.write_text(json.dumps(document))
    dataset = read_dataset(manifest)
    assert [len(dataset.cases_of(split)) for split in ("train", "test", None)] == [1, 1, 2]
    with pytest.raises(InputError, match="no case of the split 'val'; there are test"):
        dataset.cases_of("val")


def test_label_maps_in_a_folder_mean_what_label_or_the_file_beside_them_says(tmp_path: Path) -> None:
    (array, masks), _ = pictures()
    write_image(tmp_path / "images" / "a.png", array)
    write_image(tmp_path / "masks" / "a_mask.png", label_map(masks) * 100)
    with pytest.raises(InputError, match=r"Nothing says what the labels of .*a_mask\.png mean; give --label"):
        read_all(tmp_path)
    (given,) = read_all(tmp_path, DatasetOptions({"cup": (200,), "optic disc": (100,)}))
    (expected, _) = read_all(as_coco(tmp_path / "coco", pictures()))
    assert content_hash(given) == content_hash(expected)
    with pytest.raises(InputError, match="holds Label 200, which --label does not name"):
        read_all(tmp_path, DatasetOptions({"optic disc": (100,)}))


@pytest.mark.parametrize("name", ["case.txt", "case.nii.gz"])
def test_what_is_no_data_set_is_refused_with_what_there_could_be(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(InputError, match="no data set that is known: give a manifest, an nnU-Net raw folder"):
            read_dataset(path)
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "elsewhere")


def test_without_pycocotools_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_coco(tmp_path, pictures())
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(PackageError, match=r"pycocotools, .*pip install 'medsam3-slicer\[coco\]'"):
        read_dataset(folder)


@needs_shared
def test_a_real_ct_is_the_same_stack_from_a_manifest_and_from_segments(tmp_path: Path) -> None:
    source = DATA / "ct_abdomen"
    images = sorted(path for path in source.iterdir() if path.name.endswith((".nii.gz", ".nrrd")))
    image = next(path for path in images if "label" not in path.name and "seg" not in path.name)
    volume = read_volume(image)
    mask = np.zeros(volume.grid.shape, bool)
    mask[2:6, 10:40, 12:50] = True
    cases = [(volume.array, {"liver": mask})]
    found = [
        hashes(write(tmp_path / write.__name__, cases, volume.grid, ".nii.gz"))
        for write in (as_manifest, as_nnunet, as_segmentations, as_mask_folders)
    ]
    assert all(one == found[0] for one in found)
