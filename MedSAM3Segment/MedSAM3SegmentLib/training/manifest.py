"""Training data of a user's own: a JSON file that names images, what is labelled in each, and what labels mean.

Nothing is learnt as absent by mistake: values that are nowhere, labels that no concept names, and names that two
concepts share are refused or said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .dataset import LabelledStack, stack_with_labels

#: Given what the user should know, one sentence at a time.
Say = Callable[[str], None]


@dataclass(frozen=True)
class ManifestCase:
    """One image with labels.

    Attributes:
        concepts: by concept, its labels (numbers) or the names of its segments; none where it is absent.
    """

    image: Path
    labels: Path
    concepts: dict[str, tuple[int | str, ...]]
    plane: Plane


@dataclass
class CaseNotes:
    """What is said once for all cases, with the files that it is true of."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, sentence: str, path: Path) -> None:
        self.files.setdefault(sentence, []).append(path.name)

    def say(self, say: Say) -> None:
        for sentence, names in self.files.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            say(f"{names[0]}{more}: {sentence}")


def manifest_stacks(path: Path, say: Say = lambda _sentence: None) -> Iterator[LabelledStack]:
    """The volumes of a manifest, as ``read_manifest`` understands it.

    Args:
        path: of the manifest.
        say: told, behind the last volume, what was learnt as absent and what labels are not used.

    Raises:
        InputError: the manifest or a file it names cannot be used.
    """
    from MedSAM3SegmentLib.io.read_volume import read_volume

    notes = CaseNotes()
    for case in read_manifest(path):
        volume = read_volume(case.image)
        for message in volume.messages:
            notes.add(message, case.image)
        yield stack_with_labels(volume, read_masks(case, volume.grid, notes), case.plane)
    notes.say(say)


def read_manifest(path: Path) -> list[ManifestCase]:
    """The cases of a manifest; that their files are there is checked, and nothing is read yet.

    A manifest is a JSON file: ``{"cases": [{"image": "a.nii.gz", "labels": "a-labels.nii.gz",
    "concepts": {"liver": [1], "kidney": [2, 3], "spleen": ["Spleen"]}}, ...]}``, in UTF-8 or UTF-16. Paths are relative
    to the manifest; a concept lists the values it has in the label map, or the names of its segments in a
    ``.seg.nrrd``, and an empty list says that it is absent. ``"plane"`` may name another plane.

    Raises:
        InputError: it cannot be understood, says one thing twice, or names a file that is not there.
    """
    try:
        # As bytes, of which json tells UTF-8 from UTF-16, each with or without the mark that Windows editors put.
        document: Any = json.loads(path.read_bytes(), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"The training manifest {path} cannot be read ({error}); see `medsam3 train --help`."
        ) from None
    listed = document.get("cases") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError(f'The training manifest {path} has no list "cases"; see `medsam3 train --help`.')
    if not listed:
        raise InputError(f"The training manifest {path} names no case; add at least one image with labels.")
    cases = []
    for number, entry in enumerate(listed, start=1):
        try:
            cases.append(_case(entry, path.parent))
        except ValueError as error:
            raise InputError(
                f"Case {number} of the training manifest {path} cannot be used: {error}; see `medsam3 train --help`."
            ) from None
    _check_twins(cases, path)
    return cases


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, whose later keys would otherwise take the place of earlier ones unseen."""
    made = dict(pairs)
    if len(made) < len(pairs):
        twin = next(key for key in made if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f'"{twin}" is there twice in one object')
    return made


def _case(entry: Any, folder: Path) -> ManifestCase:
    """Raises ValueError, which says what is wrong."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    paths = [_path(entry, key, folder) for key in ("image", "labels")]
    if paths[0].resolve() == paths[1].resolve():
        raise ValueError("its labels are the image itself")
    named = entry.get("concepts")
    if not isinstance(named, dict) or not named:
        raise ValueError('it has no object "concepts" that says what the labels mean')
    plane = entry.get("plane", Plane.ACQUIRED.value)
    if plane not in list(Plane):
        raise ValueError(f'"plane" is {plane!r} and none of {", ".join(Plane)}')
    concepts: dict[str, tuple[int | str, ...]] = {}
    meanings: dict[str, str] = {}
    for name, values in named.items():
        meant = prompt_for(name)
        if not meant:
            raise ValueError("a concept has no name")
        if meant in meanings:
            raise ValueError(f"'{meanings[meant]}' and '{name}' mean the same")
        meanings[meant] = name
        concepts[name] = tuple(_value(name, value) for value in (values if isinstance(values, list) else [values]))
    return ManifestCase(paths[0], paths[1], concepts, Plane(plane))


def _path(entry: dict[str, Any], key: str, folder: Path) -> Path:
    text = entry.get(key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'it has no "{key}" with a path')
    path = folder / text
    if not path.exists() and "\\" in text:
        path = folder / PureWindowsPath(text).as_posix()
    if not path.exists():
        raise ValueError(f"{path} does not exist (paths are relative to the manifest)")
    return path


def _value(concept: str, value: Any) -> int | str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"'{concept}' has {value!r}, which is neither a label nor the name of a segment")
    if value == 0:
        raise ValueError(f"'{concept}' has the label 0, which is the background; write [] where it is absent")
    return int(value)


def _check_twins(cases: list[ManifestCase], path: Path) -> None:
    """Raises InputError where one concept is labelled twice in one image."""
    known: dict[tuple[Path, Plane, str], int] = {}
    for number, case in enumerate(cases, start=1):
        for concept in case.concepts:
            key = (case.image.resolve(), case.plane, prompt_for(concept))
            if key in known:
                raise InputError(
                    f"The training manifest {path} says twice where '{concept}' is in {case.image.name}, in the cases "
                    f"{known[key]} and {number}; remove one."
                )
            known[key] = number


def read_masks(case: ManifestCase, grid: VoxelGrid, notes: CaseNotes) -> dict[str, BoolMask]:
    """The mask of each concept of a case, ``[k, j, i]`` on ``grid``, that of its image.

    Raises:
        InputError: the labels cannot be read, lie elsewhere, or are not those that the concepts name.
    """
    labels = {value for values in case.concepts.values() for value in values if isinstance(value, int)}
    names = {value.casefold() for values in case.concepts.values() for value in values if isinstance(value, str)}
    meant = {prompt_for(name) for name in case.concepts}
    there: dict[str, int] = {}

    def is_wanted(name: str, label: int) -> bool:
        # Of a .seg.nrrd, which lists its segments, those without a voxel are nothing that was left out.
        if case.labels.suffix.lower() == ".nrrd":
            return True
        is_named = label in labels or name.strip().casefold() in names or prompt_for(name) in meant
        if not is_named:
            there[name] = label
        return is_named

    segments, own = read_segmentation(case.labels, is_wanted)
    chosen = {concept: _chosen(case, concept, segments) for concept in case.concepts}
    used = {id(segment) for parts in chosen.values() for segment in parts}
    unnamed = [_called(one.name, one.label) for one in segments if id(one) not in used and one.mask.any()]
    unnamed += [_called(name, label) for name, label in there.items()]
    for concept, values in case.concepts.items():
        if not values:
            _check_absent(case, concept, segments)
        if not values or chosen[concept]:
            continue
        wanted = ", ".join(map(str, values))
        if unnamed:
            raise InputError(
                f"{case.labels} holds {', '.join(unnamed)}, which no concept names, and no {wanted} for '{concept}'; "
                f'correct the manifest, and write "{concept}": [] where it is absent.'
            )
        notes.add(f"'{concept}' ({wanted}) is nowhere in the labels, so it counts as absent.", case.labels)
    if unnamed:
        notes.add(f"the labels {', '.join(unnamed)} are named by no concept and were left out.", case.labels)
    if case.labels.suffix.lower() != ".nrrd" and np.prod(own.shape) != np.prod(grid.shape):
        # Slicer crops what it saves; of any other file that is smaller nobody knows what is beside it.
        raise InputError(
            f"The labels {case.labels} have {_size(own.shape)} voxels and {case.image} {_size(grid.shape)}; "
            "resample them onto it first."
        )
    masks = {}
    for concept, parts in chosen.items():
        masks[concept] = np.zeros(grid.shape, bool)
        for segment in parts:
            placed = placed_on(grid, segment.mask, own)
            if placed is None:
                raise InputError(
                    f"The labels {case.labels} do not lie on the grid of {case.image}; resample them onto it first."
                )
            if np.count_nonzero(placed) < np.count_nonzero(segment.mask):
                raise InputError(
                    f"{_called(segment.name, segment.label)} of {case.labels} lies outside of {case.image} in part; "
                    "give the image that it was drawn on."
                )
            masks[concept] |= placed
    return masks


def _check_absent(case: ManifestCase, concept: str, segments: list[Segment]) -> None:
    """Raises InputError where a concept that the manifest calls absent has a segment."""
    for segment in segments:
        if prompt_for(segment.name) == prompt_for(concept) and segment.mask.any():
            raise InputError(
                f"The manifest says that '{concept}' is absent, and {case.labels} has it as "
                f"{_called(segment.name, segment.label)}; correct one of them."
            )


def _chosen(case: ManifestCase, concept: str, segments: list[Segment]) -> list[Segment]:
    """The segments of a concept.

    Raises:
        InputError: its label is that of another segment, or of several.
    """
    called_so = [segment for segment in segments if prompt_for(segment.name) == prompt_for(concept)]
    chosen: list[Segment] = []
    for value in case.concepts[concept]:
        if isinstance(value, str):
            found = [segment for segment in segments if segment.name.strip().casefold() == value.casefold()]
        else:
            found = [segment for segment in segments if segment.label == value]
            if len(found) > 1:
                # Layers of a .seg.nrrd number their segments each for itself.
                found = [segment for segment in found if segment in called_so] or found
            strangers = [one for one in found if called_so and one not in called_so]
            is_only = len(case.concepts[concept]) == 1
            if len(found) > 1 or (strangers and is_only):
                listed = ", ".join(f"'{segment.name}'" for segment in found)
                raise InputError(
                    f"The label {value} that the manifest gives for '{concept}' is {listed} in {case.labels}; give the "
                    f'name of the segment in its place, as in "{concept}": ["{(called_so or found)[0].name}"].'
                )
        chosen += [segment for segment in found if segment not in chosen]
    return chosen


def _called(name: str, label: int) -> str:
    return str(label) if name == f"Label {label}" else f"{label} ('{name}')"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[::-1]))
