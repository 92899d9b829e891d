"""Segments of a picture as COCO's JSON, which training code for 2D images reads.

Masks are uncompressed run lengths down the columns, which keep every pixel and overlaps
(https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.array_types import BoolMask
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .atomic_write import atomic_write
from .segment import Provenance, Segment


def check_is_picture(path: Path, grid: VoxelGrid) -> None:
    """Make sure that what is written to ``path`` is one picture.

    Raises:
        InputError: the grid has several slices.
    """
    if grid.shape[0] != 1:
        raise InputError(
            "{path} can hold one picture, and there are {count} slices; end it in .seg.nrrd or .nii.gz.",
            path=path,
            count=grid.shape[0],
        )


def write_coco(path: Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    """Write one image with an annotation for each segment, whole.

    Args:
        segments: each is a category; one that is empty has no annotation.
        grid: of all masks, one slice.
        provenance: of the run; the image is called by its input's name.

    Raises:
        InputError: the grid has several slices, or the disk failed.
    """
    check_is_picture(path, grid)
    rows, columns = grid.shape[1:]
    annotations = [
        _annotation(number, segment.mask[0]) for number, segment in enumerate(segments, start=1) if segment.mask.any()
    ]
    document: dict[str, Any] = {
        "info": {"description": "Segmentation by named concepts", "provenance": provenance},
        "images": [
            {
                "id": 1,
                "file_name": str(provenance.get("input", {}).get("name", "")),
                "width": columns,
                "height": rows,
            }
        ],
        "categories": [{"id": number, "name": segment.name} for number, segment in enumerate(segments, start=1)],
        "annotations": annotations,
    }
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def run_lengths(mask: BoolMask) -> list[int]:
    """Lengths of runs of pixels that do not and do belong to a mask ``[row, column]``, in turn, down the columns."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], changes, [mask.size]])
    return [int(length) for length in np.diff(ends)]


def _annotation(number: int, mask: BoolMask) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "id": number,
        "image_id": 1,
        "category_id": number,
        "iscrowd": 0,
        "area": int(np.count_nonzero(mask)),
        "bbox": [int(value) for value in box],
        "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
    }
