"""Cases of an nnU-Net raw folder: ``dataset.json`` with labels or regions, ``imagesTr``, ``labelsTr`` and so on.

After nnU-Net's documentation/dataset_format.md; the format of its first version, with labels by number, is read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .case import CaseSet, EvaluationCase, Reference, listed
from .label_files import find_segments, join_masks, read_labels, stem_of

#: Of a label that is neither learnt nor scored.
_IGNORE = "ignore"

#: Folders of images and labels by split.
_FOLDERS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}


def nnunet_cases(folder: Path, split: str | None, channel: int = 0) -> CaseSet:
    """The labelled cases of a raw folder.

    Args:
        split: ``train`` or ``test``, or ``foldN`` for the validation cases of a fold in ``splits_final.json`` beside
            ``dataset.json``; None for ``train``.
        channel: which of several images of a case a model segments.

    Raises:
        InputError: something is missing or cannot be understood.
    """
    description = _read_json(folder / "dataset.json")
    values, ignored = _labels_of(description, folder)
    wanted: list[str] | None = None
    if split is not None and split.startswith("fold"):
        wanted = _fold(folder, split)
    elif split not in (None, *_FOLDERS):
        raise InputError(f"An nnU-Net folder has no split '{split}'; give train, test, or fold0 for a validation fold.")
    images, labels = _FOLDERS["test" if split == "test" else "train"]
    ending = str(description.get("file_ending", ".nii.gz"))
    found = sorted((folder / labels).glob(f"*{ending}")) if (folder / labels).is_dir() else []
    if not found:
        raise InputError(f"{folder / labels} holds no label map that ends in {ending}; check the folder and --split.")
    cases = []
    for path in found:
        name = path.name[: -len(ending)] or stem_of(path)
        if wanted is not None and name not in wanted:
            continue
        image = folder / images / f"{name}_{channel:04d}{ending}"
        read = partial(_read, path, values, ignored)
        cases.append(EvaluationCase(name, read, (path,), image if image.is_file() else None))
    missing = sorted(set(wanted or ()) - {case.name for case in cases})
    if missing:
        raise InputError(f"{folder / labels} has no labels of {listed(missing)}, which {split} names; add them.")
    channels = description.get("channel_names", description.get("modality", {}))
    notes = () if len(channels) < 2 else (f"Of {len(channels)} channels a model segments number {channel} alone.",)
    if ignored:
        notes = (*notes, f"Voxels with the label '{_IGNORE}' count on neither side.")
    title = str(description.get("name", folder.name))
    concepts = {name: prompt_for(name) for name in values}
    return CaseSet(title, concepts, cases, values, notes, split=f"{labels}{'' if wanted is None else f', {split}'}")


def _labels_of(
    description: Mapping[str, Any], folder: Path
) -> tuple[dict[str, tuple[int | str, ...]], tuple[int | str, ...]]:
    """Values by name, regions joined, and the values that are ignored.

    Raises:
        InputError: there are none, or they are none.
    """
    stored = description.get("labels")
    if not isinstance(stored, dict) or not stored:
        raise InputError(f'{folder / "dataset.json"} has no object "labels"; see nnU-Net\'s dataset format.')
    if all(str(key).isdecimal() and isinstance(name, str) for key, name in stored.items()):
        stored = {name: int(key) for key, name in stored.items()}  # as the first version had it
    values: dict[str, tuple[int | str, ...]] = {}
    for name, given in stored.items():
        numbers = given if isinstance(given, list) else [given]
        if not numbers or any(isinstance(one, bool) or not isinstance(one, int) for one in numbers):
            raise InputError(f"{folder / 'dataset.json'} gives '{name}' {given!r}, which is no label; correct it.")
        values[name] = tuple(numbers)
    ignored = values.pop(_IGNORE, ())
    kept = {name: numbers for name, numbers in values.items() if any(numbers)}  # the background is no concept
    if not kept:
        raise InputError(f"{folder / 'dataset.json'} names the background alone; add what is labelled.")
    return kept, ignored


def _read(
    path: Path, values: Mapping[str, tuple[int | str, ...]], ignored: tuple[int | str, ...], grid: VoxelGrid | None
) -> dict[str, Reference]:
    del grid
    file = read_labels(path)
    known = {number for numbers in (*values.values(), ignored) for number in numbers}
    strange = [one.name for one in file.segments if one.label not in known]
    if strange:
        raise InputError(f"{path} holds {listed(strange)}, which dataset.json does not name; correct one of them.")
    shape = file.grid.shape
    scored = ~join_masks(find_segments(file, _IGNORE, ignored), shape) if ignored else None
    return {
        name: Reference(
            join_masks(find_segments(file, name, numbers), shape), file.grid, file.is_picture, scored=scored
        )
        for name, numbers in values.items()
    }


def _fold(folder: Path, split: str) -> list[str]:
    """The validation cases of a fold.

    Raises:
        InputError: there is no such fold.
    """
    file = folder / "splits_final.json"
    folds = _read_json(file)
    number = split.removeprefix("fold")
    if not isinstance(folds, list) or not number.isdecimal() or int(number) >= len(folds):
        raise InputError(f"{file} has no {split}; give fold0 to fold{len(folds) - 1}.")
    names = folds[int(number)].get("val") if isinstance(folds[int(number)], dict) else None
    if not isinstance(names, list) or not names:
        raise InputError(f'{file} has no list "val" in {split}; take the file that nnU-Net wrote.')
    return [str(name) for name in names]


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file} does not exist; give the raw folder of an nnU-Net data set.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read ({error}); correct it.") from None
