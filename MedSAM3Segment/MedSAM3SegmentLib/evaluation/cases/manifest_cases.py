"""Cases of a manifest, the same file that ``medsam3 train`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.label_files import is_picture_file, stem_of
from MedSAM3SegmentLib.datasets.labelled_case import CaseLabels, any_of
from MedSAM3SegmentLib.datasets.manifest import ManifestCase, read_manifest
from MedSAM3SegmentLib.datasets.manifest_labels import read_case_labels
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.read_volume import read_stored, read_volume
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .case import CaseSet, EvaluationCase, Reference


def manifest_cases(path: Path) -> CaseSet:
    """The cases of a manifest; a concept is asked for by its name.

    Raises:
        InputError: it cannot be understood, or names a file that is not there.
    """
    listed = read_manifest(path)
    # One concept may be written in several ways; it is called as it is called first.
    concepts: dict[str, str] = {}
    for case in listed:
        for name in case.concepts:
            concepts.setdefault(prompt_for(name), name)
    names = [stem_of(case.image) or case.image.name for case in listed]
    cases = [
        EvaluationCase(
            # Images of one name in several folders are told apart by their place in the manifest.
            name if names.count(name) == 1 else f"{name} (case {number})",
            partial(_read, case, concepts),
            (case.labels,),
            case.image,
        )
        for number, (name, case) in enumerate(zip(names, listed, strict=True), start=1)
    ]
    return CaseSet(path.stem, {name: name for name in concepts.values()}, cases, split=f"the cases of {path.name}")


def _read(case: ManifestCase, concepts: Mapping[str, str], grid: VoxelGrid | None) -> dict[str, Reference]:
    is_picture = is_picture_file(case.image)
    if grid is None:
        grid = read_stored(case.image).grid if is_picture else read_volume(case.image).grid
    findings = Findings()
    labels = read_case_labels(case, grid, findings)
    scored = _scored(case, labels, grid)
    said = tuple(findings.notes)
    return {
        concepts[prompt_for(name)]: Reference(mask, grid, is_picture, scored=scored, notes=said if number == 0 else ())
        for number, (name, mask) in enumerate(labels.masks.items())
    }


def _scored(case: ManifestCase, labels: CaseLabels, grid: VoxelGrid) -> BoolMask | None:
    """Voxels ``[k, j, i]`` at which somebody looked, or None for all."""
    ignored = labels.ignored
    if not isinstance(case.labelled_slices, frozenset) and case.labelled_slices != "drawn":
        return None if ignored is None else ~ignored
    stack = SliceStack.along(grid, case.plane)
    scored = np.zeros(grid.shape, bool)
    slices = stack.extract(scored)  # a view
    if case.labelled_slices == "drawn":
        drawn = any_of(labels.masks, grid.shape) if ignored is None else any_of(labels.masks, grid.shape) | ignored
        slices[stack.extract(drawn).any(axis=(1, 2))] = True
    else:
        slices[[number for number in case.labelled_slices if number < len(slices)]] = True
    return scored if ignored is None else scored & ~ignored
