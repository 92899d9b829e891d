"""Segments of pictures: COCO's JSON and label maps as PNG keep every pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.coco import run_lengths
from MedSAM3SegmentLib.io.segment import Segment
from MedSAM3SegmentLib.io.segmentation import read_segmentation, write_segmentation

GRID = VoxelGrid((1, 6, 9), np.diag([-1.0, -1.0, 1.0, 1.0]))


def segments() -> list[Segment]:
    first, second = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    first[0, 1:5, 2:8] = True
    second[0, 3:6, 6:9] = True
    return [
        Segment("cell", first, (1, 0, 0)),
        Segment("none", first & False, (0, 1, 0)),
        Segment("dot", second, (0, 0, 1)),
    ]


def decoded(counts: list[int], size: list[int]) -> Any:
    """As COCO defines it."""
    flat = np.concatenate([np.full(length, number % 2 == 1) for number, length in enumerate(counts)])
    return flat.reshape(size, order="F")


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_run_lengths_are_the_mask(mask: Any) -> None:
    np.testing.assert_array_equal(decoded(run_lengths(mask), list(mask.shape)), mask)


def test_coco_keeps_masks_that_overlap(tmp_path: Path) -> None:
    path = tmp_path / "o.coco.json"
    write_segmentation(path, segments(), GRID, {"input": {"name": "cells.png"}})
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["images"] == [{"id": 1, "file_name": "cells.png", "width": 9, "height": 6}]
    assert [one["name"] for one in document["categories"]] == ["cell", "none", "dot"]
    first, last = document["annotations"]
    assert (first["category_id"], last["category_id"]) == (1, 3)
    assert first["bbox"] == [2, 1, 6, 4]
    assert first["area"] == 24
    for annotation, segment in ((first, segments()[0]), (last, segments()[2])):
        found = decoded(annotation["segmentation"]["counts"], annotation["segmentation"]["size"])
        np.testing.assert_array_equal(found, segment.mask[0])


def test_a_label_map_as_png_comes_back_with_its_names(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "o.png", segments(), GRID, {})
    stored = np.asarray(Image.open(tmp_path / "o.png"))
    assert stored.shape == (6, 9)
    assert sorted(np.unique(stored)) == [0, 1, 3]
    back, _ = read_segmentation(tmp_path / "o.png")
    assert [segment.name for segment in back] == ["cell", "dot"]
    np.testing.assert_array_equal(back[1].mask, segments()[2].mask)


@pytest.mark.parametrize("name", ["o.png", "o.coco.json"])
def test_a_volume_is_no_picture(tmp_path: Path, name: str) -> None:
    grid = VoxelGrid((2, 3, 4), np.eye(4))
    with pytest.raises(InputError, match="one picture, and there are 2 slices"):
        write_segmentation(tmp_path / name, [Segment("x", np.ones(grid.shape, bool), (1, 0, 0))], grid, {})
    assert list(tmp_path.iterdir()) == []
