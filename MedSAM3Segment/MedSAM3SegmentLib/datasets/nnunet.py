"""nnU-Net raw folders: ``dataset.json`` with labels or regions, ``imagesTr``, ``labelsTr``, ``splits_final.json``.

After nnU-Net's documentation/dataset_format.md; the format of its first version, with labels by number, is read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .findings import Findings, listed
from .label_files import find_segments, join_masks, read_labels, stem_of
from .labelled_case import CaseLabels, LabelledCase, LabelledDataset, check_values, place_on_image
from .manifest import read_json

#: Of a label that is neither learnt nor scored.
IGNORE = "ignore"

#: Folders of images and labels by split.
FOLDERS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}

DESCRIPTION = "dataset.json"
SPLITS_FILE = "splits_final.json"


@dataclass(frozen=True)
class NnunetDescription:
    """What ``dataset.json`` says.

    Attributes:
        values: by name; of a region several.
        ignored: values that are neither learnt nor scored.
        ending: of the files.
        channels: how many images a case has.
    """

    folder: Path
    name: str
    values: Mapping[str, tuple[int, ...]]
    ignored: tuple[int, ...]
    ending: str
    channels: int

    def image(self, images: str, name: str, channel: int) -> Path:
        return self.folder / images / f"{name}_{channel:04d}{self.ending}"

    def label_files(self, labels: str) -> dict[str, Path]:
        """Label maps by case.

        Raises:
            InputError: there is none.
        """
        folder = self.folder / labels
        found = sorted(folder.glob(f"*{self.ending}")) if folder.is_dir() else []
        if not found:
            raise InputError(f"{folder} holds no label map that ends in {self.ending}; check the folder and --split.")
        return {path.name[: -len(self.ending)] or stem_of(path): path for path in found}


def read_description(folder: Path) -> NnunetDescription:
    """Read ``dataset.json``.

    Raises:
        InputError: it is missing or cannot be understood.
    """
    file = folder / DESCRIPTION
    description = read_folder_json(file)
    stored = description.get("labels") if isinstance(description, dict) else None
    if not isinstance(stored, dict) or not stored:
        raise InputError(f'{file} has no object "labels"; see nnU-Net\'s dataset format.')
    if all(str(key).isdecimal() and isinstance(name, str) for key, name in stored.items()):
        stored = {name: int(key) for key, name in stored.items()}  # as the first version had it
    values: dict[str, tuple[int, ...]] = {}
    for name, given in stored.items():
        numbers = given if isinstance(given, list) else [given]
        if not numbers or any(isinstance(one, bool) or not isinstance(one, int) for one in numbers):
            raise InputError(f"{file} gives '{name}' {given!r}, which is no label; correct it.")
        values[name] = tuple(numbers)
    ignored = values.pop(IGNORE, ())
    kept = {name: numbers for name, numbers in values.items() if any(numbers)}  # the background is no concept
    if not kept:
        raise InputError(f"{file} names the background alone; add what is labelled.")
    channels = description.get("channel_names", description.get("modality", {}))
    return NnunetDescription(
        folder,
        str(description.get("name", folder.name)),
        kept,
        ignored,
        str(description.get("file_ending", ".nii.gz")),
        len(channels) if isinstance(channels, dict | list) else 1,
    )


def read_folder_json(file: Path) -> Any:
    """A JSON file that nnU-Net wrote.

    Raises:
        InputError: it is missing or cannot be read.
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist; give the raw folder of an nnU-Net data set.")
    return read_json(file, "The file of nnU-Net")


def read_fold(folder: Path, number: int) -> tuple[list[str], list[str]]:
    """The names of the training and of the validation cases of a fold.

    Raises:
        InputError: there is no such fold.
    """
    file = folder / SPLITS_FILE
    folds = read_folder_json(file)
    if not isinstance(folds, list) or not 0 <= number < len(folds):
        last = len(folds) - 1 if isinstance(folds, list) else 0
        raise InputError(f"{file} has no fold{number}; give fold0 to fold{last}.")
    parts = []
    for key in ("train", "val"):
        names = folds[number].get(key) if isinstance(folds[number], dict) else None
        if not isinstance(names, list) or not names:
            raise InputError(f'{file} has no list "{key}" in fold{number}; take the file that nnU-Net wrote.')
        parts.append([str(name) for name in names])
    return parts[0], parts[1]


def nnunet_dataset(
    folder: Path,
    findings: Findings,
    fold: int | None = None,
    channel: int = 0,
) -> LabelledDataset:
    """The labelled cases of a raw folder.

    Args:
        findings: where faults of single cases are kept.
        fold: which of ``splits_final.json`` says what validates; None for none.
        channel: which of several images of a case is learnt from.

    Raises:
        InputError: something is missing or cannot be understood.
    """
    description = read_description(folder)
    if not 0 <= channel < max(1, description.channels):
        raise InputError(f"{folder} has {description.channels} channels and no number {channel}; count from 0.")
    if description.channels > 1:
        findings.note(f"Of {description.channels} channels number {channel} alone is learnt from.")
    if description.ignored:
        findings.note(f"Voxels with the label '{IGNORE}' teach nothing.")
    split_of: dict[str, str] = {}
    if fold is not None:
        train, val = read_fold(folder, fold)
        for name in sorted(set(train) & set(val)):
            findings.refuse(
                f"The case {name} is in training and validation of fold{fold} in {folder / SPLITS_FILE}; take it out "
                "of one of them."
            )
        split_of = {**dict.fromkeys(train, "train"), **dict.fromkeys(val, "val")}
    cases = []
    for split, (images, labels) in FOLDERS.items():
        if split == "test" and not (folder / labels).is_dir():
            continue
        files = description.label_files(labels)
        if split == "train":
            for name in sorted(set(split_of) - set(files)):
                findings.refuse(f"{folder / labels} has no labels of {name}, which fold{fold} names; add them.")
            _note_unlabelled(description, images, set(files), findings)
        for name, path in files.items():
            image = description.image(images, name, channel)
            if not image.is_file():
                findings.refuse(f"{path} has no image {image.name} in {image.parent}; add it, or take the labels out.")
                continue
            if split == "train" and split_of and name not in split_of:
                findings.note(f"is in no part of fold{fold} and was left out.", name)
                continue
            cases.append(
                LabelledCase(
                    name,
                    image,
                    tuple(description.values),
                    partial(_read, description, path, image),
                    split=split if split == "test" else split_of.get(name, ""),
                )
            )
    return LabelledDataset(folder, "an nnU-Net raw folder", cases)


def _note_unlabelled(description: NnunetDescription, images: str, labelled: set[str], findings: Findings) -> None:
    folder = description.folder / images
    ending = f"_0000{description.ending}"
    found = sorted(path.name[: -len(ending)] for path in folder.glob(f"*{ending}")) if folder.is_dir() else []
    without = [name for name in found if name not in labelled]
    if without:
        findings.note(f"{folder} has images without labels, which were left out: {listed(without)}.")


def _read(description: NnunetDescription, path: Path, image: Path, grid: VoxelGrid, findings: Findings) -> CaseLabels:
    file = read_labels(path)
    known = {number for numbers in (*description.values.values(), description.ignored) for number in numbers}
    check_values(file, known, DESCRIPTION, findings)
    shape = file.grid.shape

    def placed(values: tuple[int, ...]) -> Any:
        return place_on_image(join_masks(find_segments(file, "", values), shape), file, grid, image)

    masks = {name: placed(values) for name, values in description.values.items()}
    return CaseLabels(masks, placed(description.ignored) if description.ignored else None)
