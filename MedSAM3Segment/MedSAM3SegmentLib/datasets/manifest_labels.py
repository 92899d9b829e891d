"""The labels of a manifest's case: each concept by its values or by the names of its segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.prompts.slice_prompts import placed_on
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for

from .findings import Findings
from .label_files import LabelFile, is_cropped, is_picture_file, read_labels
from .labelled_case import CaseLabels
from .manifest import ManifestCase


def read_case_labels(case: ManifestCase, grid: VoxelGrid, findings: Findings) -> CaseLabels:
    """The labels of a case on ``grid``, that of its image.

    Raises:
        InputError: the labels cannot be read; where faults are not collected also: they lie elsewhere, or are not
            those that the concepts name.
    """
    wanted = {**case.concepts, "": case.ignored}
    labels = {value for values in wanted.values() for value in values if isinstance(value, int)}
    names = {value.casefold() for values in wanted.values() for value in values if isinstance(value, str)}
    meant = {prompt_for(name) for name in case.concepts}
    there: dict[str, int] = {}

    def is_wanted(name: str, label: int) -> bool:
        # Of a .seg.nrrd, which lists its segments, those without a voxel are nothing that was left out.
        if is_cropped(case.labels):
            return True
        is_named = label in labels or name.strip().casefold() in names or prompt_for(name) in meant
        if not is_named:
            there[name] = label
        return is_named

    file = read_labels(case.labels, is_wanted)
    chosen = {concept: _chosen(case, concept, file.segments, findings) for concept in case.concepts}
    ignored = [one for one in file.segments if _has_value(one, case.ignored)]
    used = {id(segment) for parts in (*chosen.values(), ignored) for segment in parts}
    unnamed = [called(one) for one in file.segments if id(one) not in used and one.mask.any()]
    unnamed += [called_so(name, label) for name, label in there.items()]
    for concept, values in case.concepts.items():
        if not values:
            _check_absent(case, concept, file, findings)
        if not values or chosen[concept]:
            continue
        listed = ", ".join(map(str, values))
        if unnamed:
            findings.refuse(
                f"{case.labels} holds {', '.join(unnamed)}, which no concept names, and no {listed} for '{concept}'; "
                f'correct the manifest, and write "{concept}": [] where it is absent.'
            )
        else:
            findings.note(f"'{concept}' ({listed}) is nowhere in the labels, so it counts as absent.", case.labels.name)
    if unnamed:
        findings.note(f"the labels {', '.join(unnamed)} are named by no concept and were left out.", case.labels.name)
    if not _fits(case, file, grid, findings):
        return CaseLabels({})
    masks = {concept: _placed(case, parts, file, grid, findings) for concept, parts in chosen.items()}
    return CaseLabels(masks, _placed(case, ignored, file, grid, findings) if case.ignored else None)


def called(segment: Segment) -> str:
    """A segment's number, and its name where it has one."""
    return called_so(segment.name, segment.label)


def called_so(name: str, label: int) -> str:
    return str(label) if name == f"Label {label}" else f"{label} ('{name}')"


def _has_value(segment: Segment, values: tuple[int | str, ...]) -> bool:
    names = {value.casefold() for value in values if isinstance(value, str)}
    return segment.label in values or segment.name.strip().casefold() in names


def _fits(case: ManifestCase, file: LabelFile, grid: VoxelGrid, findings: Findings) -> bool:
    """Whether the labels are as large as their image; a smaller one may be a part of it where Slicer cropped it."""
    if is_cropped(case.labels) or np.prod(file.grid.shape) == np.prod(grid.shape):
        return True
    findings.refuse(
        f"The labels {case.labels} have {_size(file.grid.shape)} voxels and {case.image} {_size(grid.shape)}; "
        "resample them onto it first."
    )
    return False


def _placed(case: ManifestCase, parts: list[Segment], file: LabelFile, grid: VoxelGrid, findings: Findings) -> BoolMask:
    """Where any of the segments is, on the grid of the image."""
    joined = np.zeros(grid.shape, bool)
    # What stands in a picture about the size of its pixels says nothing of another picture.
    is_pair_of_pictures = file.is_picture and is_picture_file(case.image) and file.grid.shape == grid.shape
    for segment in parts:
        placed = segment.mask if is_pair_of_pictures else placed_on(grid, segment.mask, file.grid)
        if placed is None:
            findings.refuse(
                f"The labels {case.labels} do not lie on the grid of {case.image}; resample them onto it first."
            )
            continue
        if np.count_nonzero(placed) < np.count_nonzero(segment.mask):
            findings.refuse(
                f"{called(segment)} of {case.labels} lies outside of {case.image} in part; "
                "give the image that it was drawn on."
            )
        joined |= placed
    return joined


def _check_absent(case: ManifestCase, concept: str, file: LabelFile, findings: Findings) -> None:
    """Refuse a concept that the manifest calls absent and that has a segment."""
    for segment in file.segments:
        if prompt_for(segment.name) == prompt_for(concept) and segment.mask.any():
            findings.refuse(
                f"The manifest says that '{concept}' is absent, and {case.labels} has it as {called(segment)}; "
                "correct one of them."
            )


def _chosen(case: ManifestCase, concept: str, segments: Sequence[Segment], findings: Findings) -> list[Segment]:
    """The segments of a concept; its label must be neither that of another segment nor of several."""
    listed = list(segments)
    of_this_name = [segment for segment in listed if prompt_for(segment.name) == prompt_for(concept)]
    chosen: list[Segment] = []
    for value in case.concepts[concept]:
        if isinstance(value, str):
            found = [segment for segment in listed if segment.name.strip().casefold() == value.casefold()]
        else:
            found = [segment for segment in listed if segment.label == value]
            if len(found) > 1:
                # Layers of a .seg.nrrd number their segments each for itself.
                found = [segment for segment in found if segment in of_this_name] or found
            strangers = [one for one in found if of_this_name and one not in of_this_name]
            is_only = len(case.concepts[concept]) == 1
            if len(found) > 1 or (strangers and is_only):
                names = ", ".join(f"'{segment.name}'" for segment in found)
                findings.refuse(
                    f"The label {value} that the manifest gives for '{concept}' is {names} in {case.labels}; give the "
                    f'name of the segment in its place, as in "{concept}": ["{(of_this_name or found)[0].name}"].'
                )
        chosen += [segment for segment in found if segment not in chosen]
    return chosen


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[::-1]))
