"""Volumes with segmentations that are chosen one by one: which concepts they have, and which slices were looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MedSAM3SegmentLib.datasets.findings import Findings
from MedSAM3SegmentLib.datasets.segmented_volumes import (
    SegmentedFile,
    SegmentedVolume,
    parse_pair,
    segmented_dataset,
)
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import SliceStack
from MedSAM3SegmentLib.io.segment import PROVENANCE_TAG, Segment
from MedSAM3SegmentLib.io.segmentation import write_segmentation
from MedSAM3SegmentLib.io.written_slices import WRITTEN_TAG, WrittenSlices, format_written, slice_checksums
from MedSAM3SegmentLib.synthetic.phantom import tilted_grid
from MedSAM3SegmentLib.training.dataset import LabelledStack, read_stacks
from MedSAM3SegmentLib.volume import Volume
from support.labelled_datasets import Masks, write_image

GRID = tilted_grid((6, 20, 24), (2.0, 2.0, 5.0))
ARRAY = np.random.default_rng(1).integers(-100, 200, GRID.shape).astype(np.int16)


def box(first: int, end: int, edge: int = 8) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros(GRID.shape, bool)
    mask[first:end, 4:edge, 5:12] = True
    return mask


def write_pair(folder: Path, masks: Masks, tags: Mapping[str, Mapping[str, str]] | None = None) -> SegmentedFile:
    write_image(folder / "ct.nrrd", ARRAY, GRID)
    segments = [Segment(name, mask, (1.0, 0.0, 0.0), "", (tags or {}).get(name, {})) for name, mask in masks.items()]
    write_segmentation(folder / "ct.seg.nrrd", segments, GRID, {})
    return SegmentedFile(folder / "ct.nrrd", folder / "ct.seg.nrrd")


def as_written(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, str]:
    """The tag that says that the program wrote a mask."""
    stack = SliceStack.along(GRID)
    written = WrittenSlices(stack.plane, stack.count, slice_checksums(mask, stack))
    return {WRITTEN_TAG: format_written(written)}


def only_stack(*chosen: SegmentedFile | SegmentedVolume, **more: Any) -> LabelledStack:
    (stack,) = read_stacks(segmented_dataset(chosen, Findings(), **more))
    return stack


def known(stack: LabelledStack) -> list[int]:
    return [index for index in range(len(stack.slices)) if stack.is_known(index)]


def test_slices_with_a_voxel_count_as_drawn(tmp_path: Path) -> None:
    stack = only_stack(write_pair(tmp_path, {"Liver": box(1, 4), "spleen": box(3, 5, 7)}))
    assert stack.concepts == ("liver", "spleen")
    assert known(stack) == [1, 2, 3, 4]


def test_of_what_the_program_wrote_the_corrected_slices_count(tmp_path: Path) -> None:
    written = box(1, 5)
    corrected = written.copy()
    corrected[2, 4, 5] = False  # one voxel
    corrected[4] = False  # emptied by hand
    stack = only_stack(write_pair(tmp_path, {"liver": corrected}, {"liver": as_written(written)}))
    assert known(stack) == [2, 4]
    assert known(only_stack(write_pair(tmp_path, {"liver": corrected}), labelled_slices="all")) == list(range(6))
    with pytest.raises(InputError, match="was drawn or corrected"):
        only_stack(write_pair(tmp_path, {"liver": written}, {"liver": as_written(written)}))


def test_what_the_program_wrote_without_noting_it_is_refused(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, {"liver": box(1, 5)}, {"liver": {PROVENANCE_TAG: '{"model": "demo"}'}})
    with pytest.raises(InputError, match="--labelled-slices drawn"):
        only_stack(pair)
    assert known(only_stack(pair, labelled_slices="drawn")) == [1, 2, 3, 4]


def test_what_is_in_memory_is_the_same_as_in_files(tmp_path: Path) -> None:
    masks = {"liver": box(1, 4)}
    of_files = only_stack(write_pair(tmp_path, masks))
    in_memory = only_stack(SegmentedVolume(Volume(ARRAY, GRID), masks))
    assert np.array_equal(of_files.slices, in_memory.slices)
    assert np.array_equal(of_files.codes, in_memory.codes)
    assert known(of_files) == known(in_memory)


def test_chosen_segments_alone_are_learnt(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, {"Liver": box(1, 4), "spleen": box(3, 5), "draft": np.zeros(GRID.shape, bool)})
    findings = Findings()
    (case,) = segmented_dataset([pair], findings, concepts=["LIVER"]).cases
    assert case.concepts == ("Liver",)
    (case,) = segmented_dataset([pair], findings).cases
    assert case.concepts == ("Liver", "spleen")
    assert any("'draft' is empty" in sentence for sentence in findings.sentences())
    with pytest.raises(InputError, match="has no segment 'kidney'; there are Liver, spleen"):
        segmented_dataset([pair], Findings(), concepts=["kidney"])
    with pytest.raises(InputError, match="No segmentation has 'kidney'"):
        segmented_dataset([pair], Findings(), concepts=["liver", "kidney"])


def test_label_maps_need_names(tmp_path: Path) -> None:
    pair = SegmentedFile(
        write_image(tmp_path / "ct.nii.gz", ARRAY, GRID),
        write_image(tmp_path / "labels.nii.gz", box(1, 4).astype(np.uint8) * 3, GRID),
    )
    with pytest.raises(InputError, match="--label"):
        segmented_dataset([pair], Findings())
    assert only_stack(pair, values={"liver": (3,)}).concepts == ("liver",)
    with pytest.raises(InputError, match="holds nothing to learn"):
        segmented_dataset([pair], Findings(), values={"liver": (4,)})


def test_pairs_are_read_with_equals_signs_in_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "a=b"
    pair = write_pair(folder, {"liver": box(1, 4)})
    assert parse_pair(f"{pair.image}={pair.segmentation}") == pair
    for text, says in (("ct.nrrd", "not IMAGE=SEGMENTATION"), (f"{pair.image}=nowhere.nrrd", "does not exist")):
        with pytest.raises(InputError, match=says):
            parse_pair(text)
