"""COCO's JSON, as MedSAM-3 and Meta read it for training: polygons or run lengths, names of categories as phrases.

Every category of the file is a concept of every image, so that an image without an annotation of it teaches that it is
absent (``include_negatives`` of Meta's sam3/train/data/coco_json_loaders.py). Regions of a crowd are not learnt from.
Masks of one category are joined. LVIS' lists of what nobody looked for are honored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError, PackageError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .findings import Findings, listed
from .labelled_case import CaseLabels, LabelledCase, LabelledDataset
from .manifest import read_json

#: The file as MedSAM-3 and Roboflow call it, and folders of splits.
ANNOTATIONS = "_annotations.coco.json"
SPLIT_FOLDERS = {"train": "train", "valid": "val", "val": "val", "test": "test"}

#: A polygon of fewer numbers, two for each point, has no area.
_LEAST_NUMBERS = 6


@dataclass(frozen=True, eq=False)
class _Image:
    """An image with its annotations, and the names of the concepts that somebody looked for."""

    file: Path
    path: Path
    size: tuple[int, int]
    annotations: Sequence[Mapping[str, Any]]
    names: Mapping[int, str]
    concepts: tuple[str, ...]


def is_coco(document: Any) -> bool:
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def find_annotations(folder: Path) -> dict[Path, str]:
    """The annotation files in a folder or in its folders of splits, with their splits."""
    if (folder / ANNOTATIONS).is_file():
        return {folder / ANNOTATIONS: ""}
    files = {folder / name / ANNOTATIONS: split for name, split in SPLIT_FOLDERS.items()}
    return {file: split for file, split in files.items() if file.is_file()}


def coco_dataset(path: Path, findings: Findings) -> LabelledDataset:
    """The images of an annotation file, or of a folder with one for each split.

    Raises:
        InputError: nothing of it can be used.
        PackageError: pycocotools is not installed.
    """
    check_coco_package()
    files = {path: ""} if path.is_file() else find_annotations(path)
    cases: list[LabelledCase] = []
    for file, split in files.items():
        cases += [
            LabelledCase(
                # As Roboflow calls an image in its own split; images of one name in two splits are told apart there.
                image.path.name if not split else f"{file.parent.name}/{image.path.name}",
                image.path,
                image.concepts,
                partial(_read, image),
                split=split,
            )
            for image in _images(file, findings)
        ]
    return LabelledDataset(path, "COCO's JSON", cases)


def check_coco_package() -> None:
    """Make sure that masks can be read.

    Raises:
        PackageError: the package is not installed.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise PackageError(
            "The package pycocotools, which reads the masks of COCO's JSON, is not installed; run "
            "pip install 'medsam3-slicer[coco]'."
        ) from None


def _images(file: Path, findings: Findings) -> list[_Image]:
    """The images of a file.

    Raises:
        InputError: it is none of COCO.
    """
    document = read_json(file, "COCO's file")
    images, annotations, categories = (_list(document, key, file) for key in ("images", "annotations", "categories"))
    names = _names(file, categories, annotations, findings)
    by_image: dict[Any, list[Mapping[str, Any]]] = {}
    for image in images:
        if image.get("id") in by_image:
            findings.refuse(f"{file} has two images with the id {image.get('id')}; export it again.")
        by_image.setdefault(image.get("id"), [])
    for annotation in annotations:
        if annotation.get("image_id") not in by_image:
            findings.refuse(
                f"The annotation {annotation.get('id')} of {file} is of the image {annotation.get('image_id')}, which "
                "is not in the list of images; correct it."
            )
        elif annotation.get("category_id") not in names:
            findings.refuse(
                f"The annotation {annotation.get('id')} of {file} has the category {annotation.get('category_id')}, "
                "which is not in the list of categories; correct it."
            )
        else:
            by_image[annotation["image_id"]].append(annotation)
    found = []
    for image in sorted(images, key=lambda one: str(one.get("file_name"))):
        path, size = _file_of(file, image), (image.get("height"), image.get("width"))
        if path is None:
            findings.refuse(f"The image {image.get('file_name')} of {file} does not exist beside it; add it.")
        elif not all(isinstance(one, int) and one > 0 for one in size):
            findings.refuse(f"The image {path.name} has no width and height in {file}; export it again.")
        else:
            listed_here = by_image[image.get("id")]
            concepts = _looked_for(image, names, listed_here)
            found.append(_Image(file, path, size, listed_here, names, concepts))  # type: ignore[arg-type]
    return found


def _list(document: Any, key: str, file: Path) -> list[dict[str, Any]]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f'{file} has no list "{key}" of objects; export it as COCO again.')
    return found


def _names(
    file: Path,
    categories: Sequence[Mapping[str, Any]],
    annotations: Sequence[Mapping[str, Any]],
    findings: Findings,
) -> dict[int, str]:
    """Names by category; without a root that groups the others and has no annotation, as Roboflow adds one."""
    used = {annotation.get("category_id") for annotation in annotations}
    groups = {str(one.get("supercategory", "")).casefold() for one in categories}
    names: dict[int, str] = {}
    for category in categories:
        number, name = category.get("id"), str(category.get("name", "")).strip()
        if number not in used and name and name.casefold() in groups:
            findings.note(f"The category '{name}' of {file} only groups others and was left out.")
        elif number in names:
            findings.refuse(f"{file} has two categories with the id {number}; export it again.")
        elif name.casefold() in {one.casefold() for one in names.values()}:
            findings.refuse(f"{file} has two categories called '{name}'; join them.")
        else:
            names[number] = name  # type: ignore[index]
    return names


def _file_of(file: Path, image: Mapping[str, Any]) -> Path | None:
    name = str(image.get("file_name", "")).replace("\\", "/")
    places = [file.parent / name, file.parent / "images" / name, file.parent.parent / "images" / name]
    return next((path for path in places if name and path.is_file()), None)


def _looked_for(
    image: Mapping[str, Any], names: Mapping[int, str], annotations: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The concepts that are known to be there or not: all, or as LVIS lists them for each image."""
    if "neg_category_ids" not in image:
        return tuple(names.values())
    unsure = set(image.get("not_exhaustive_category_ids", ()))
    known = {one["category_id"] for one in annotations} | set(image["neg_category_ids"])
    return tuple(name for number, name in names.items() if number in known - unsure)


def _read(image: _Image, grid: VoxelGrid, findings: Findings) -> CaseLabels:
    if grid.shape != (1, *image.size):
        rows, columns = image.size
        raise InputError(
            f"{image.path} has {grid.shape[2]} x {grid.shape[1]} pixels and {image.file.name} says {columns} x {rows}; "
            "give the images that were annotated."
        )
    masks = {name: np.zeros(grid.shape, bool) for name in image.concepts}
    crowd = np.zeros(grid.shape, bool)
    faults: list[str] = []
    for annotation in image.annotations:
        name = image.names[annotation["category_id"]]
        mask = _mask_of(annotation, image.size)
        if isinstance(mask, str):
            faults.append(f"{annotation.get('id')} ('{name}') {mask}")
        elif annotation.get("iscrowd"):
            crowd[0] |= mask
        elif name in masks:
            masks[name][0] |= mask
            if not mask.any():
                findings.note("annotations without a pixel were left out.", image.path.name)
    if faults:
        findings.refuse(
            f"Annotations of {image.path.name} in {image.file} cannot be learnt from: {listed(faults)}; without them "
            "what they show would be learnt as absent, so correct them or take the image out."
        )
    if crowd.any():
        findings.note("regions of a crowd teach nothing.", image.path.name)
    return CaseLabels(masks, crowd if crowd.any() else None)


def _mask_of(annotation: Mapping[str, Any], size: tuple[int, int]) -> BoolMask | str:
    """The mask ``[row, column]`` of an annotation, or what is wrong with it."""
    from pycocotools import mask as coco_mask

    stored = annotation.get("segmentation")
    if not stored or stored == [""]:
        return "has no mask"
    try:
        if isinstance(stored, list):
            if any(len(polygon) < _LEAST_NUMBERS or len(polygon) % 2 for polygon in stored):
                return "has an outline of fewer than three points"
            if not np.isfinite(np.concatenate([np.asarray(polygon, float) for polygon in stored])).all():
                return "has an outline whose points are no numbers"
            lengths = coco_mask.merge(coco_mask.frPyObjects(stored, *size))
        else:
            if list(stored["size"]) != list(size):
                return "has a mask of another size than its image"
            counts = stored["counts"]
            if isinstance(counts, list):
                if sum(counts) != size[0] * size[1] or min(counts) < 0:
                    return "has run lengths that do not fill its image"
                lengths = coco_mask.frPyObjects(stored, *size)
            else:
                lengths = {"size": list(size), "counts": counts}
        return np.asarray(coco_mask.decode(lengths), bool)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return "has a mask that cannot be read"
