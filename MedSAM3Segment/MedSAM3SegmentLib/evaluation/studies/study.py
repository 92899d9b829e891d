"""Studies: a model asked in several ways on one set of cases, scored and written as any other evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.backend import SegmenterProtocol
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.evaluation.case_row import CaseRow, score_case
from MedSAM3SegmentLib.evaluation.cases.case import CaseSet, EvaluationCase, Reference
from MedSAM3SegmentLib.evaluation.kept_masks import KeptMasks
from MedSAM3SegmentLib.evaluation.prediction import Prediction, Prompt
from MedSAM3SegmentLib.evaluation.tables import Table
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.progress import RunCallbacks
from MedSAM3SegmentLib.request import SegmentRequest
from MedSAM3SegmentLib.results.result import SegmentResult
from MedSAM3SegmentLib.volume import Volume


@dataclass(frozen=True, eq=False)
class StudyQuestion:
    """One case of a study.

    Attributes:
        segmenter: that is asked.
        seed: of all that is drawn at random, of the case alone.
        references: by concept.
        phrases: by concept what a model is asked.
        methods, conditions: what is to be done.
    """

    segmenter: SegmenterProtocol
    seed: int
    volume: Volume
    references: Mapping[str, Reference]
    phrases: Mapping[str, str]
    methods: Sequence[str]
    conditions: Sequence[str]
    callbacks: RunCallbacks = field(default_factory=RunCallbacks)

    @property
    def stack(self) -> SliceStack:
        """Axial slices."""
        return SliceStack.along(self.volume.grid, Plane.AXIAL)

    @property
    def masks(self) -> dict[str, BoolMask]:
        """The truth, bool ``[k, j, i]`` by concept."""
        return {name: reference.mask for name, reference in self.references.items()}

    def segment(self, request: SegmentRequest, volume: Volume | None = None) -> SegmentResult:
        """Ask of the case's volume, or of another one on its voxels."""
        return self.segmenter.segment(self.volume if volume is None else volume, request, self.callbacks)

    def wants(self, method: str, condition: str = "") -> bool:
        """Whether a method, under a condition, is to be measured."""
        return method in self.methods and (not condition or condition in self.conditions)

    def counting(self, concept: str, slices: Sequence[int]) -> Reference:
        """The reference of a concept, of which only some slices of ``stack`` count."""
        reference = self.references[concept]
        scored = np.zeros(reference.mask.shape, bool)
        self.stack.extract(scored)[list(slices)] = True
        return Reference(reference.mask, reference.grid, reference.is_picture, scored=scored)


@dataclass(frozen=True, eq=False)
class Study:
    """What is asked of each case.

    Attributes:
        name: as ``--study`` has it.
        predict: gives the predictions of a case; the kind of each prompt is a method, its phrase a condition.
        methods: ways of asking.
        conditions: under which they are asked, or none.
        usual_conditions: on cases that are no phantoms, or empty for all.
        further_methods: that are measured only where they are named.
        seeds: phantoms that are its cases where no others are named, the end left out.
        spacing: millimeters between their slices, or None for each phantom's own.
        concepts: that are asked for in phantoms; words that no phantom shows are absent ones.
        with_absent: whether concepts that a case does not show are asked for.
        groups: concepts of phantoms that are also reported together.
        compared: methods that are compared, the first against the second.
        needs_model: whether it says nothing without one.
        further_tables: makes more tables of the rows.
    """

    name: str
    predict: Callable[[StudyQuestion], Iterator[Prediction]]
    methods: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    usual_conditions: tuple[str, ...] = ()
    further_methods: tuple[str, ...] = ()
    seeds: tuple[int, int] = (200000, 200020)
    spacing: float | None = None
    concepts: tuple[str, ...] = ()
    with_absent: bool = False
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compared: Sequence[tuple[str, str]] = ()
    needs_model: bool = True
    further_tables: Callable[[Sequence[CaseRow]], Sequence[Table]] | None = None

    def chosen(self, methods: Sequence[str], conditions: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Methods and conditions by their names, all usual ones where none is named.

        Raises:
            InputError: there is none of a name.
        """
        known = (*self.methods, *self.further_methods)
        for what, names, there in (("method", methods, known), ("condition", conditions, self.conditions)):
            strange = [name for name in names if name not in there]
            if strange:
                listed = "; ".join(there) or "none"
                raise InputError(f"The study {self.name} has no {what} '{strange[0]}'; there is {listed}.")
        return tuple(methods) or self.methods, tuple(conditions) or self.conditions


@dataclass(eq=False)
class StudyPredictions:
    """A loaded model, or what works without one, in a study.

    Attributes:
        segmenter: asked case by case.
        model: its identity, plain JSON values.
        concepts: of all cases, with the phrase of each.
        masks: folder for the masks.
    """

    study: Study
    segmenter: SegmenterProtocol
    model: Mapping[str, Any]
    concepts: Mapping[str, str]
    methods: Sequence[str]
    conditions: Sequence[str]
    masks: Path
    callbacks: RunCallbacks = field(default_factory=RunCallbacks)
    notes: list[str] = field(default_factory=list, init=False)
    needs_image: bool = field(default=True, init=False)
    kept: KeptMasks = field(init=False)

    def __post_init__(self) -> None:
        asked = [
            (concept, Prompt(method, condition))
            for method in self.methods
            for condition in self.conditions or ("",)
            for concept in self.concepts
        ]
        self.kept = KeptMasks(self.masks, asked)

    def describe(self) -> dict[str, Any]:
        asked = {"methods": list(self.methods), "conditions": list(self.conditions)}
        return {"model": dict(self.model), "study": self.study.name, **asked}

    def predict(
        self, case: EvaluationCase, references: Mapping[str, Reference], volume: Volume | None
    ) -> tuple[list[Prediction], list[str]]:
        """Ask of a case in all ways.

        Raises:
            InputError: references lie on other voxels than the image; or as the segmenter.
            ModelError: as the segmenter.
        """
        if volume is None:
            raise ValueError("A study needs an image.")
        for concept, reference in references.items():
            is_same = reference.is_picture or reference.grid.same_as(volume.grid)
            if reference.mask.shape != volume.grid.shape or not is_same:
                raise InputError(
                    f"The reference of {concept} in {case.name} does not lie on the voxels of its image, which a study "
                    "needs; resample it onto them, nearest neighbor."
                )
        if not self.study.with_absent:
            references = {name: reference for name, reference in references.items() if reference.mask.any()}
        seed = seed_of(case.name)
        asked = StudyQuestion(
            self.segmenter, seed, volume, references, self.concepts, self.methods, self.conditions, self.callbacks
        )
        return list(self.study.predict(asked)), [str(message) for message in volume.messages]

    def predict_again(self, case: EvaluationCase, references: Mapping[str, Reference]) -> list[Prediction]:
        """What was kept of a case."""
        return self.kept.read(case, references)


def score_study(
    study: Study,
    segmenter: SegmenterProtocol,
    case_set: CaseSet,
    methods: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> list[CaseRow]:
    """The rows of a study without a folder and without surfaces.

    Raises:
        InputError, ModelError: as the segmenter.
    """
    methods, conditions = study.chosen(methods, conditions)
    predictor = StudyPredictions(study, segmenter, {}, case_set.concepts, methods, conditions, Path())
    rows = []
    for case in case_set.cases:
        references = case.read_references(None)
        predictions, _ = predictor.predict(case, references, case.read_image())
        rows += [score_case(case, one.reference or references[one.concept], one, None) for one in predictions]
    return rows


def seed_of(name: str) -> int:
    """The seed of a phantom's case; of others a number that its name alone decides."""
    first, _, rest = name.partition("-")
    number = rest.partition("-")[0]
    if first == "phantom" and number.isdecimal():
        return int(number)
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:4], "big")


def measure_ends(mask: BoolMask, truth: BoolMask) -> dict[str, float]:
    """By how far the ends of a structure are missed, of those that lie inside the stack.

    Args:
        mask, truth: bool ``[slice, row, column]``; the truth is not empty.
    """
    true, found = ends_of(truth), ends_of(mask) if mask.any() else None
    inside = [n for n, is_at_rim in enumerate((true[0] == 0, true[1] == len(truth) - 1)) if not is_at_rim]
    misses = [len(truth) if found is None else abs(found[n] - true[n]) for n in inside]
    return {
        "ends": len(misses),
        "ends within one slice": sum(miss <= 1 for miss in misses),
        "ends within two slices": sum(miss <= 2 for miss in misses),
    }


def ends_of(mask: BoolMask) -> tuple[int, int]:
    """First and last slice of ``[slice, row, column]`` with anything on it; the mask is not empty."""
    there = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(there[0]), int(there[-1])
