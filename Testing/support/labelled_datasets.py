"""The same labelled images written in every format that training reads, and what stacks hold; for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.read_dataset import DatasetOptions, read_dataset
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_stored
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.training.dataset import LabelledStack, read_stacks
from support.images import image_on_grid

Masks = Mapping[str, NDArray[np.bool_]]


def write_image(path: Path, array: NDArray[Any], grid: VoxelGrid | None = None) -> Path:
    """A volume ``[k, j, i]`` on its grid, or a picture ``[row, column]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if grid is None:
        Image.fromarray(array).save(path)
    else:
        SimpleITK.WriteImage(image_on_grid(array, grid), str(path))
    return path


def label_map(masks: Masks) -> NDArray[np.uint8]:
    """Values from 1 in the order of the masks; a later one covers an earlier one."""
    shape = next(iter(masks.values())).shape
    labels = np.zeros(shape, np.uint8)
    for value, mask in enumerate(masks.values(), start=1):
        labels[mask] = value
    return labels


def as_manifest(root: Path, cases: Sequence[tuple[NDArray[Any], Masks]], grid: VoxelGrid | None, ending: str) -> Path:
    entries = []
    for number, (array, masks) in enumerate(cases):
        write_image(root / f"{number}{ending}", array, grid)
        write_image(root / f"{number}-labels{ending}", label_map(masks), grid)
        concepts = {name: [value] if mask.any() else [] for value, (name, mask) in enumerate(masks.items(), start=1)}
        entries.append({"image": f"{number}{ending}", "labels": f"{number}-labels{ending}", "concepts": concepts})
    (root / "cases.json").write_text(json.dumps({"cases": entries}))
    return root / "cases.json"


def as_nnunet(root: Path, cases: Sequence[tuple[NDArray[Any], Masks]], grid: VoxelGrid | None, ending: str) -> Path:
    for number, (array, masks) in enumerate(cases):
        write_image(root / "imagesTr" / f"case_{number}_0000{ending}", array, grid)
        write_image(root / "labelsTr" / f"case_{number}{ending}", label_map(masks), grid)
    labels = {"background": 0} | {name: value for value, name in enumerate(cases[0][1], start=1)}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(cases), "file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def as_segmentations(
    root: Path, cases: Sequence[tuple[NDArray[Any], Masks]], grid: VoxelGrid | None, ending: str
) -> Path:
    for number, (array, masks) in enumerate(cases):
        path = write_image(root / f"{number}{ending}", array, grid)
        own = read_stored(path).grid
        segments = [
            Segment(name, mask if grid is not None else mask[None], (1.0, 0.0, 0.0)) for name, mask in masks.items()
        ]
        write_segmentation(root / f"{number}.seg.nrrd", segments, own, {})
    return root


def as_mask_folders(
    root: Path, cases: Sequence[tuple[NDArray[Any], Masks]], grid: VoxelGrid | None, ending: str
) -> Path:
    for number, (array, masks) in enumerate(cases):
        write_image(root / "images" / f"{number}{ending}", array, grid)
        for name, mask in masks.items():
            write_image(root / "masks" / name / f"{number}{ending}", mask.astype(np.uint8) * 255, grid)
    return root


def as_coco(root: Path, cases: Sequence[tuple[NDArray[Any], Masks]], polygons: bool = False) -> Path:
    """Pictures; each mask as one annotation in run lengths of pycocotools, or rectangles as polygons."""
    from pycocotools import mask as coco_mask

    images, annotations = [], []
    categories = {name: number for number, name in enumerate(cases[0][1], start=1)}
    for number, (array, masks) in enumerate(cases):
        write_image(root / f"{number}.png", array)
        images.append({"id": number, "file_name": f"{number}.png", "width": array.shape[1], "height": array.shape[0]})
        for name, mask in masks.items():
            if not mask.any():
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            x0, y0, x1, y1 = (int(one) for one in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            segmentation: Any = {"size": list(packed["size"]), "counts": packed["counts"].decode()}
            if polygons:
                segmentation = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": categories[name],
                    "iscrowd": 0,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()),
                    "segmentation": segmentation,
                }
            )
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    (root / "_annotations.coco.json").write_text(json.dumps(document))
    return root


def read_all(path: Path, options: DatasetOptions | None = None, split: str | None = None) -> list[LabelledStack]:
    """Every stack; the first fault is raised."""
    findings = Findings()
    return list(read_stacks(read_dataset(path, findings, options), findings, split))


def faults_of(path: Path, options: DatasetOptions | None = None) -> tuple[list[str], list[str]]:
    """All faults of a data set, and what else is said of it."""
    findings = Findings(faults=[])
    dataset = read_dataset(path, findings, options)
    if dataset.cases:
        list(read_stacks(dataset, findings))
    return findings.faults or [], findings.sentences()


def content_hash(stack: LabelledStack) -> str:
    """SHA-256 over all that a stack holds."""
    digest = hashlib.sha256()
    digest.update(
        repr((stack.slices.dtype.str, stack.slices.shape, stack.window, stack.is_ct, stack.concepts)).encode()
    )
    for array in (stack.slices, stack.codes, stack.known, stack.ignored):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
