"""Predictions of one case: where they come from, brought onto the voxels of the references."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.datasets.findings import listed
from MedSAM3SegmentLib.datasets.label_files import (
    LabelFile,
    find_label_files,
    find_segments,
    is_cropped,
    join_masks,
    place_mask,
    read_labels,
    read_object_map,
    union_grid,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.volume import Volume

from .cases.case import CaseSet, EvaluationCase, Reference, place_reference
from .cases.folder_cases import MASK

if TYPE_CHECKING:
    from .kept_masks import KeptMasks


@dataclass(frozen=True)
class Prompt:
    """How a concept was asked for.

    Attributes:
        kind: ``T`` by words, ``T+I`` by words and an oracle box around the reference, ``""`` for files of a tool.
        phrase: the words, or "" for files.
    """

    kind: str = ""
    phrase: str = ""


@dataclass(frozen=True, eq=False)
class Prediction:
    """One concept of one case.

    Attributes:
        mask: bool ``[k, j, i]`` on the voxels of ``reference``, or where that is None of the reference that was given.
        objects: whole numbers, one for each object, or None to take connected parts where objects are scored.
        reference: the same reference on more voxels, where the file of either is cropped to what is segmented, or
            with other voxels that count.
        measured: what a study measures besides, by name.
    """

    concept: str
    prompt: Prompt
    mask: BoolMask
    objects: NDArray[Any] | None = None
    reference: Reference | None = None
    measured: Mapping[str, float] = field(default_factory=dict)


class Predictor(Protocol):
    """Gives the predictions of a case; errors are InputError and ModelError.

    Attributes:
        needs_image: whether it segments, in this process; files can be read anywhere.
        notes: what the user should know, one sentence each.
        kept: where its masks are kept while they are scored, or None.
    """

    needs_image: bool
    notes: list[str]

    @property
    def kept(self) -> KeptMasks | None: ...

    def predict(
        self, case: EvaluationCase, references: Mapping[str, Reference], volume: Volume | None
    ) -> tuple[list[Prediction], list[str]]:
        """The predictions of a case, and what the user should know of them, one sentence each."""

    def predict_again(self, case: EvaluationCase, references: Mapping[str, Reference]) -> list[Prediction]:
        """The same predictions once more, for pictures; what is no longer there is left out."""

    def describe(self) -> dict[str, Any]:
        """What predicts, as plain JSON values, for the head of the results and to tell runs apart."""


@dataclass(eq=False)
class FilePredictions:
    """Label maps of any tool, in a folder.

    Attributes:
        folder: with one file a case.
        case_set: what they are predictions of.
        values: by concept the values in the predictions; empty where they are those of the references.
        of_objects: whether each number is an object of the one concept.
        missing_as_empty: whether a case without a file counts as nothing found; else it is refused.
    """

    folder: Path
    case_set: CaseSet
    values: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    of_objects: bool = False
    missing_as_empty: bool = False
    notes: list[str] = field(default_factory=list, init=False)
    needs_image: bool = field(default=False, init=False)
    kept: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.values = self.values or self.case_set.values
        found = find_label_files(self.folder)
        # Of cases in folders the predictions often lie in one: the last part of the name is enough where it is unique.
        by_stem: dict[str, list[Path]] = {}
        for name, path in found.items():
            by_stem.setdefault(name.rsplit("/", 1)[-1], []).append(path)
        self._files: dict[str, Path] = {}
        for case in self.case_set.cases:
            alike = by_stem.get(case.name.rsplit("/", 1)[-1], [])
            if case.name in found:
                self._files[case.name] = found[case.name]
            elif len(alike) == 1:
                self._files[case.name] = alike[0]
        used = list(self._files.values())
        if len(set(used)) < len(used):
            twin = next(path for path in used if used.count(path) > 1)
            raise InputError(f"{twin} would be the prediction of several cases; give the folders of the references.")
        missing = [case.name for case in self.case_set.cases if case.name not in self._files]
        if len(missing) == len(self.case_set.cases):
            raise InputError(
                f"No file of {self.folder} is called as a case is, such as {missing[0]}; rename the predictions."
            )
        if missing and not self.missing_as_empty:
            raise InputError(
                f"{self.folder} has no prediction of {listed(missing)}; add them, or give --missing-as-empty to count "
                "them as nothing found."
            )
        if missing:
            self.notes.append(f"Without a prediction, counted as nothing found: {listed(missing)}.")
        extra = sorted(name for name, path in found.items() if path not in set(used))
        if extra:
            self.notes.append(f"Predictions of no case were left out: {listed(extra)}.")

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for name, path in sorted(self._files.items()):
            state = path.stat()
            digest.update(f"{name}\t{state.st_size}\t{state.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        values = {name: list(given) for name, given in self.values.items()}
        return {"folder": self.folder.name, "files_sha256": digest.hexdigest(), "values": values}

    def predict(
        self, case: EvaluationCase, references: Mapping[str, Reference], volume: Volume | None
    ) -> tuple[list[Prediction], list[str]]:
        """The masks of a file.

        Raises:
            InputError: it cannot be read, lies on other voxels, or holds none of the labels that are asked for.
        """
        del volume
        return self.predict_again(case, references), []

    def predict_again(self, case: EvaluationCase, references: Mapping[str, Reference]) -> list[Prediction]:
        """As ``predict``; the file is read anew."""
        path = self._files.get(case.name)
        if path is None:
            return [
                Prediction(concept, Prompt(), np.zeros(reference.mask.shape, bool))
                for concept, reference in references.items()
            ]
        if self.of_objects:
            return [self._read_objects(path, case, references)]
        file = read_labels(path)
        self._check_labels(file, references)
        predictions = []
        for concept, reference in references.items():
            mask = join_masks(self._segments(file, concept, len(references) == 1), file.grid.shape)
            if _is_cropped(file, reference, case):
                common = union_grid(reference.grid, file.grid)
                wider = place_reference(reference, common, case.files[0])
                placed = place_mask(mask, file.grid, common, file.path, case.files[0])
                predictions.append(Prediction(concept, Prompt(), placed, reference=wider))
            else:
                predictions.append(Prediction(concept, Prompt(), _placed(mask, file, reference, case)))
        return predictions

    def _segments(self, file: LabelFile, concept: str, is_only: bool) -> list[Any]:
        values = self.values.get(concept, ())
        if values or not is_only:
            return find_segments(file, concept, values) or find_segments(file, concept, ())
        return find_segments(file, concept, ()) or list(file.segments)

    def _check_labels(self, file: LabelFile, references: Mapping[str, Reference]) -> None:
        there = [one for one in file.segments if one.mask.any()]
        names = [one.name for one in there]
        is_only = len(references) == 1
        used = {id(one) for concept in references for one in self._segments(file, concept, is_only)}
        if there and not any(id(one) in used for one in there):
            raise InputError(
                f"{file.path} holds {listed(names)}, none of which is {listed(list(references))}; say with --label "
                "NAME=VALUE what its values mean."
            )
        if is_only and len(there) > 1 and all(id(one) in used for one in there) and not self.values.get(*references):
            what = (
                "the references are masks" if MASK in references else f"there is one concept, {next(iter(references))}"
            )
            raise InputError(
                f"{file.path} holds {listed(names)}, and {what}; say with --label NAME=VALUE which is meant."
            )

    def _read_objects(self, path: Path, case: EvaluationCase, references: Mapping[str, Reference]) -> Prediction:
        ((concept, reference),) = references.items()
        objects, grid, _ = read_object_map(path)
        if grid.shape != reference.grid.shape or not _same_place(grid, reference):
            raise InputError(f"{path} does not have the voxels of {case.files[0]}; resample it, nearest neighbor.")
        return Prediction(concept, Prompt(), objects != 0, objects)


def _is_cropped(file: LabelFile, reference: Reference, case: EvaluationCase) -> bool:
    """Whether Slicer, which leaves out what is empty, may have cropped either file."""
    is_smaller = file.grid.shape != reference.grid.shape or not _same_place(file.grid, reference)
    return is_smaller and not file.is_picture and (is_cropped(file.path) or is_cropped(case.files[0]))


def _same_place(grid: Any, reference: Reference) -> bool:
    return reference.is_picture or bool(grid.same_as(reference.grid, 0.05 * min(reference.grid.spacing)))


def _placed(mask: BoolMask, file: LabelFile, reference: Reference, case: EvaluationCase) -> BoolMask:
    if reference.is_picture or file.is_picture:
        if mask.shape == reference.mask.shape:
            return mask
        own, theirs = (f"{shape[2]} x {shape[1]}" for shape in (mask.shape, reference.mask.shape))
        raise InputError(
            f"{file.path} has {own} pixels, its reference {case.files[0].name} {theirs}; scale what the tool gives "
            "before it becomes a mask."
        )
    return place_mask(mask, file.grid, reference.grid, file.path, case.files[0])
