"""Cases of an nnU-Net raw folder, which ``datasets.nnunet`` reads, to evaluate on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib.datasets.findings import Findings, listed
from MedSAM3SegmentLib.datasets.label_files import find_segments, join_masks, read_labels
from MedSAM3SegmentLib.datasets.labelled_case import check_values
from MedSAM3SegmentLib.datasets.nnunet import DESCRIPTION, FOLDERS, IGNORE, read_description, read_fold
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .case import CaseSet, EvaluationCase, Reference


def nnunet_cases(folder: Path, split: str | None, channel: int = 0) -> CaseSet:
    """The labelled cases of a raw folder.

    Args:
        split: ``train`` or ``test``, or ``foldN`` for the validation cases of a fold in ``splits_final.json`` beside
            ``dataset.json``; None for ``train``.
        channel: which of several images of a case a model segments.

    Raises:
        InputError: something is missing or cannot be understood.
    """
    description = read_description(folder)
    wanted: list[str] | None = None
    if split is not None and split.startswith("fold") and split.removeprefix("fold").isdecimal():
        wanted = read_fold(folder, int(split.removeprefix("fold")))[1]
    elif split not in (None, *FOLDERS):
        raise InputError(f"An nnU-Net folder has no split '{split}'; give train, test, or fold0 for a validation fold.")
    images, labels = FOLDERS["test" if split == "test" else "train"]
    cases = []
    for name, path in description.label_files(labels).items():
        if wanted is not None and name not in wanted:
            continue
        image = description.image(images, name, channel)
        read = partial(_read, path, description.values, description.ignored)
        cases.append(EvaluationCase(name, read, (path,), image if image.is_file() else None))
    missing = sorted(set(wanted or ()) - {case.name for case in cases})
    if missing:
        raise InputError(f"{folder / labels} has no labels of {listed(missing)}, which {split} names; add them.")
    channels = description.channels
    notes = () if channels < 2 else (f"Of {channels} channels a model segments number {channel} alone.",)
    if description.ignored:
        notes = (*notes, f"Voxels with the label '{IGNORE}' count on neither side.")
    concepts = {name: prompt_for(name) for name in description.values}
    chosen = f"{labels}{'' if wanted is None else f', {split}'}"
    return CaseSet(description.name, concepts, cases, description.values, notes, split=chosen)


def _read(
    path: Path, values: Mapping[str, tuple[int, ...]], ignored: tuple[int, ...], grid: VoxelGrid | None
) -> dict[str, Reference]:
    del grid
    file = read_labels(path)
    check_values(
        file, {number for numbers in (*values.values(), ignored) for number in numbers}, DESCRIPTION, Findings()
    )
    shape = file.grid.shape
    scored = ~join_masks(find_segments(file, IGNORE, ignored), shape) if ignored else None
    return {
        name: Reference(
            join_masks(find_segments(file, name, numbers), shape), file.grid, file.is_picture, scored=scored
        )
        for name, numbers in values.items()
    }
