"""Label maps as NIfTI files, with a JSON file beside each that names its labels."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid

from .atomic_write import atomic_write
from .formats.write_nifti import write_nifti
from .segment import Color, Provenance, Segment
from .segmentation_paths import check_output, suffix_of


def write_label_map(
    path: str | Path,
    labels: NDArray[Any],
    grid: VoxelGrid,
    names: Mapping[int, str],
    provenance: Provenance | None = None,
) -> None:
    """Write a label map as NIfTI, and ``names`` and ``provenance`` as JSON beside it, whole or not at all.

    Args:
        path: ``.nii.gz`` or ``.nii``; the JSON file is called the same but for its suffix, ``.labels.json``.
        labels: integers ``[k, j, i]``, 0 to 65535, stored as uint8 where they fit and as uint16 otherwise.
        grid: where they lie, to the float32 precision of NIfTI.
        names: label to name.

    Raises:
        InputError: as ``check_output``; the disk failed.
    """
    path = check_output(path)
    if suffix_of(path) not in (".nii.gz", ".nii"):
        raise InputError("{path} is no name for a label map; end it in .nii.gz or .nii.", path=path)
    labels = labels.astype(label_dtype(int(labels.max(initial=0))))
    description = {"labels": {str(label): name for label, name in names.items()}, "provenance": provenance}
    with atomic_write(_names_path(path)) as names_file, atomic_write(path) as file:
        names_file.write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        write_nifti(file, labels, grid)


def write_labels(path: Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    """Write segments as ``write_label_map`` does, numbered from 1, the later ones over the earlier ones."""
    labels = np.zeros(grid.shape, label_dtype(len(segments)))
    for label, segment in enumerate(segments, start=1):
        labels[segment.mask] = label
    names = {label: segment.name for label, segment in enumerate(segments, start=1)}
    write_label_map(path, labels, grid, names, provenance)


def read_names(path: Path) -> dict[int, str]:
    """The names in the JSON file beside a label map; none where there is no such file or it is something else."""
    if not suffix_of(path):
        return {}
    try:
        labels = json.loads(_names_path(path).read_text(encoding="utf-8"))["labels"]
        return {int(label): str(name) for label, name in labels.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def color_of_label(label: int) -> Color:
    """A color that differs clearly from those of the neighboring labels (steps of the golden ratio in hue)."""
    return colorsys.hsv_to_rgb(label * 0.618034 % 1.0, 0.65, 0.95)


def label_dtype(highest: int) -> type[np.uint8] | type[np.uint16]:
    """The smallest type that holds labels up to ``highest``.

    Raises:
        ValueError: it is more than 65535.
    """
    if highest > 65535:
        raise ValueError(f"A label map holds labels up to 65535, not {highest}.")
    return np.uint8 if highest <= 255 else np.uint16


def _names_path(path: Path) -> Path:
    return path.with_name(path.name[: -len(suffix_of(path))] + ".labels.json")
