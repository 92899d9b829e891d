"""Volumes with a segmentation each, chosen one by one: files, or what is in memory.

Which slices somebody looked at is taken from what is told. Where nothing is told, a ``.seg.nrrd`` that this program
wrote remembers what it wrote, so that the slices that differ were corrected; of any other segmentation the slices with
a voxel count as drawn. The others teach nothing, in particular not that something is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane, SliceStack
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment
from MedSAM3SegmentLib.io.written_slices import WRITTEN_TAG, changed_slices, parse_written
from MedSAM3SegmentLib.vocabulary.phrases import prompt_for
from MedSAM3SegmentLib.volume import Volume

from .findings import Findings, listed
from .label_files import LabelFile, find_segments, join_masks, read_labels
from .labelled_case import CaseLabels, LabelledCase, LabelledDataset, LabelledSlices, place_on_image

#: What these are called as a data set.
FORMAT = "volumes with segmentations"


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """A volume in memory, and what was segmented in it.

    Attributes:
        masks: by concept bool ``[k, j, i]`` on the volume's grid; one that is empty says that the concept is absent.
        labelled_slices: on which somebody looked, numbered along ``plane`` as the voxels are stored.
        plane: in which slices are cut.
    """

    volume: Volume
    masks: Mapping[str, BoolMask]
    labelled_slices: LabelledSlices = "drawn"
    plane: Plane = Plane.ACQUIRED


@dataclass(frozen=True)
class SegmentedFile:
    """An image file and a segmentation of it."""

    image: Path
    segmentation: Path


def parse_pair(text: str) -> SegmentedFile:
    """``IMAGE=SEGMENTATION``; either may itself have a ``=`` in its path.

    Raises:
        InputError: it is something else, or a file is not there.
    """
    pieces = text.split("=")
    pairs = [("=".join(pieces[:n]).strip(), "=".join(pieces[n:]).strip()) for n in range(1, len(pieces))]
    paths = [(Path(image).expanduser(), Path(labels).expanduser()) for image, labels in pairs if image and labels]
    for image, labels in paths:
        if image.exists() and labels.exists():
            return SegmentedFile(image, labels)
    if not paths:
        raise InputError("'{text}' is not IMAGE=SEGMENTATION, such as ct.nrrd=ct.seg.nrrd.", text=text)
    missing = next(one for one in paths[0] if not one.exists())
    raise InputError("The file {path} does not exist; check the path.", path=missing)


def segmented_dataset(
    chosen: Sequence[SegmentedFile | SegmentedVolume],
    findings: Findings,
    values: Mapping[str, tuple[int | str, ...]] | None = None,
    concepts: Sequence[str] = (),
    labelled_slices: LabelledSlices = None,
) -> LabelledDataset:
    """What was chosen, as a data set.

    Args:
        findings: where faults of single cases are kept, or the first is raised.
        values: by concept its values in label maps without names, or names of segments.
        concepts: that are learnt; none for all that are segmented.
        labelled_slices: for all files, in place of what they say.

    Raises:
        InputError: nothing can be used.
    """
    cases = []
    for number, one in enumerate(chosen, start=1):
        if isinstance(one, SegmentedVolume):
            cases.append(_case_in_memory(one, number, concepts))
        else:
            cases += _case_of_files(one, number, findings, values or {}, concepts, labelled_slices)
    wanted = {prompt_for(name) for name in concepts}
    there = {prompt_for(name) for case in cases for name in case.concepts}
    if missing := sorted(wanted - there):
        findings.refuse(f"No segmentation has '{missing[0]}'; there are {', '.join(sorted(there)) or 'none'}.")
    return LabelledDataset(Path(), FORMAT, [case for case in cases if case.concepts])


def _case_in_memory(one: SegmentedVolume, number: int, concepts: Sequence[str]) -> LabelledCase:
    masks = {name: mask for name, mask in one.masks.items() if _is_wanted(name, concepts)}
    name = f"{one.volume.name} ({number})"
    return LabelledCase(
        name,
        Path(name),
        tuple(masks),
        lambda _grid, _findings: CaseLabels(masks),
        frozenset(name for name, mask in masks.items() if not mask.any()),
        one.plane,
        labelled_slices=one.labelled_slices,
        volume=one.volume,
    )


def _case_of_files(
    one: SegmentedFile,
    number: int,
    findings: Findings,
    values: Mapping[str, tuple[int | str, ...]],
    concepts: Sequence[str],
    labelled_slices: LabelledSlices,
) -> list[LabelledCase]:
    """One case, or none where it cannot be used."""
    try:
        file = read_labels(one.segmentation)
    except InputError as error:
        findings.refuse(str(error))
        return []
    parts = {name: find_segments(file, name, wanted) for name, wanted in values.items()}
    if not values:
        unnamed = [segment.name for segment in file.segments if segment.name == f"Label {segment.label}"]
        if unnamed:
            findings.refuse(
                f"Nothing says what {listed(unnamed)} of {one.segmentation} mean; give --label NAME=VALUE, such as "
                "--label liver=1."
            )
            return []
        for segment in file.segments:
            parts.setdefault(segment.name, []).append(segment)
    there = list(parts)
    parts = {name: some for name, some in parts.items() if _is_wanted(name, concepts)}
    if there and not parts:
        findings.refuse(f"{one.segmentation} has no segment '{concepts[0]}'; there are {listed(there)}.")
        return []
    empty = [name for name, some in parts.items() if not join_masks(some, file.grid.shape).any()]
    for name in empty:
        findings.note(f"'{name}' is empty, which does not say that it is absent, and was left out.", file.path.name)
        del parts[name]
    if not parts:
        findings.refuse(f"{one.segmentation} holds nothing to learn; draw a segment, or choose another one.")
        return []
    read = partial(_read_segments, file, one.image, parts, labelled_slices)
    return [LabelledCase(f"{one.image.name} ({number})", one.image, tuple(parts), read)]


def _is_wanted(name: str, concepts: Sequence[str]) -> bool:
    return not concepts or prompt_for(name) in {prompt_for(one) for one in concepts}


def _read_segments(
    file: LabelFile,
    image: Path,
    parts: Mapping[str, Sequence[Segment]],
    labelled_slices: LabelledSlices,
    grid: VoxelGrid,
    findings: Findings,
) -> CaseLabels:
    masks = {name: place_on_image(join_masks(some, file.grid.shape), file, grid, image) for name, some in parts.items()}
    if labelled_slices is not None:
        return CaseLabels(masks, labelled_slices=labelled_slices)
    segments = [one for some in parts.values() for one in some]
    written = {id(one): parse_written(one.tags.get(WRITTEN_TAG, "")) for one in segments}
    unknown = [one.name for one in segments if one.tags.get(PROVENANCE_TAG, "{}") != "{}" and written[id(one)] is None]
    if unknown:
        findings.refuse(
            f"Nobody can tell which slices of {listed(unknown)} in {file.path} were drawn and which were found; "
            "say with --labelled-slices drawn that all slices with a voxel are right, or name them in a manifest."
        )
        return CaseLabels({})
    if not any(written.values()):
        return CaseLabels(masks, labelled_slices="drawn")
    stack = SliceStack.along(grid)
    edited: set[int] = set()
    for one in segments:
        edited.update(changed_slices(written[id(one)], place_on_image(one.mask, file, grid, image), stack))
    if not edited:
        findings.refuse(
            f"Nothing in {file.path} was drawn or corrected since this program wrote it, so that there is nothing to "
            "learn; correct slices, or say with --labelled-slices all that all of it is right."
        )
        return CaseLabels({})
    return CaseLabels(masks, labelled_slices=frozenset(edited))
