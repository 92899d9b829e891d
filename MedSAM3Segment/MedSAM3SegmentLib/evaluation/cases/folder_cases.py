"""Two folders: references and predictions of any tool, matched by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib.datasets.label_files import (
    find_label_files,
    find_segments,
    join_masks,
    read_labels,
    read_object_map,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.image_sequence import natural_order

from .case import CaseSet, EvaluationCase, Reference

#: What is in a mask that says nothing of it.
MASK = "mask"


def folder_cases(
    folder: Path, values: Mapping[str, tuple[int | str, ...]], *, of_objects: bool = False, of_frames: bool = False
) -> CaseSet:
    """The label maps of a folder as references.

    Args:
        values: by concept the numbers or names that it has; empty to take what the files say: their names, ``Label N``
            where a number has none, or one ``mask`` where no file holds more than one number and none has a name.
        of_objects: whether each number is an object of one concept.
        of_frames: whether the files of a folder are frames of one film.

    Raises:
        InputError: the folder holds none, or a file cannot be read.
    """
    files = find_label_files(folder)
    notes: tuple[str, ...] = ()
    if of_objects:
        name = next(iter(values), MASK)
        cases = _cases(files, partial(_read_objects, name=name), folder, of_frames)
        return CaseSet(folder.name, {name: name}, cases, {name: ()})
    if not values:
        values = _values_found(files)
        if values == {MASK: ()}:
            notes = ("The references hold one value each and no name: whatever is not zero is taken for one mask.",)
    cases = _cases(files, partial(_read, values=values), folder, of_frames)
    return CaseSet(folder.name, {name: name for name in values}, cases, values, notes)


def _values_found(files: Mapping[str, Path]) -> dict[str, tuple[int | str, ...]]:
    """What all files hold together: values by name."""
    values: dict[str, set[int | str]] = {}
    is_single, numbers = True, set()
    for path in files.values():
        seen: dict[str, int] = {}

        def note(name: str, label: int, seen: dict[str, int] = seen) -> bool:
            seen[name] = label
            return False

        read_labels(path, note)
        is_single &= len(seen) <= 1 and all(name == f"Label {label}" for name, label in seen.items())
        for name, label in seen.items():
            numbers.add(label)
            values.setdefault(name, set()).add(label if name == f"Label {label}" else name)
    if not values:
        raise InputError("Every reference is empty, so that there is nothing to evaluate; check the folder.")
    if is_single and (len(numbers) == 1 or numbers <= {1, 255}):
        return {MASK: ()}
    return {name: tuple(sorted(found, key=str)) for name, found in sorted(values.items())}


def _cases(
    files: Mapping[str, Path], read: Callable[..., dict[str, Reference]], folder: Path, of_frames: bool
) -> list[EvaluationCase]:
    cases = []
    for name in sorted(files, key=natural_order) if of_frames else files:
        film = (name.rpartition("/")[0] or folder.name) if of_frames else ""
        references = _ReadFile(read, files[name])
        cases.append(EvaluationCase(name, references, (files[name],), unit=film, sequence=film))
    return cases


@dataclass(frozen=True, eq=False)
class _ReadFile:
    """Reads the references of one file."""

    read: Callable[..., dict[str, Reference]]
    path: Path

    def __call__(self, grid: VoxelGrid | None) -> dict[str, Reference]:
        del grid  # there is no image
        return self.read(self.path)


def _read(path: Path, values: Mapping[str, tuple[int | str, ...]]) -> dict[str, Reference]:
    file = read_labels(path)
    if values == {MASK: ()}:
        return {MASK: Reference(join_masks(file.segments, file.grid.shape), file.grid, file.is_picture)}
    return {
        name: Reference(join_masks(find_segments(file, name, wanted), file.grid.shape), file.grid, file.is_picture)
        for name, wanted in values.items()
    }


def _read_objects(path: Path, name: str) -> dict[str, Reference]:
    objects, own, is_picture = read_object_map(path)
    return {name: Reference(objects != 0, own, is_picture, objects)}
