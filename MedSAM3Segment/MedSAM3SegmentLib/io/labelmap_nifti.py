"""Label maps as NIfTI files or, of one slice, as PNG, with a JSON file beside each that names its labels."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.label_map import CoveredPart, LabelMap, Overlap, merge_masks
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.messages.message import Message, joined, message
from MedSAM3SegmentLib.units import format_milliliters

from .atomic_write import atomic_write
from .coco import check_is_picture
from .formats.write_nifti import write_nifti
from .segment import Color, Provenance, Segment
from .segmentation_paths import PNG_SUFFIX, check_output, suffix_of

#: The suffixes of label maps.
LABEL_MAP_SUFFIXES = (".nii.gz", ".nii", PNG_SUFFIX)


def write_label_map(
    path: str | Path,
    labels: NDArray[Any],
    grid: VoxelGrid,
    names: Mapping[int, str],
    provenance: Provenance | None = None,
    covered: Sequence[CoveredPart] = (),
) -> None:
    """Write a label map as NIfTI, and ``names`` and ``provenance`` as JSON beside it, whole or not at all.

    Args:
        path: ``.nii.gz``, ``.nii`` or, for one slice, ``.png``; the JSON file is called the same but for its suffix,
            ``.labels.json``.
        labels: integers ``[k, j, i]``, 0 to 65535, stored as uint8 where they fit and as uint16 otherwise.
        grid: where they lie, to the float32 precision of NIfTI.
        names: label to name.
        covered: what the labels hide of overlapping structures, kept in the JSON file with voxels and cubic
            millimeters.

    Raises:
        InputError: as ``check_output``; the disk failed.
    """
    path = check_output(path)
    if suffix_of(path) not in LABEL_MAP_SUFFIXES:
        raise InputError("{path} is no name for a label map; end it in .nii.gz or .nii.", path=path)
    if suffix_of(path) == PNG_SUFFIX:
        check_is_picture(path, grid)
    labels = labels.astype(label_dtype(int(labels.max(initial=0))))
    description: dict[str, Any] = {
        "labels": {str(label): name for label, name in names.items()},
        "provenance": provenance,
    }
    if covered:
        description["covered"] = [covered_entry(part, names, grid.voxel_volume_mm3) for part in covered]
    with atomic_write(_names_path(path)) as names_file, atomic_write(path) as file:
        names_file.write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        if suffix_of(path) == PNG_SUFFIX:
            _write_png(file, labels[0])
        else:
            write_nifti(file, labels, grid)


def _write_png(path: Path, labels: NDArray[Any]) -> None:
    """Labels ``[row, column]`` as gray values, 8 or 16 bits."""
    from PIL import Image

    Image.fromarray(labels).save(path, "PNG")


def write_labels(
    path: Path,
    segments: Sequence[Segment],
    grid: VoxelGrid,
    provenance: Provenance,
    overlap: Overlap = Overlap.SMALLER,
) -> tuple[CoveredPart, ...]:
    """Write segments as ``write_label_map`` does, numbered from 1.

    Args:
        overlap: which label a voxel of several segments gets.

    Returns:
        What the label map hides.

    Raises:
        InputError: as ``write_label_map``; ``overlap`` refuses and segments overlap.
    """
    label_dtype(len(segments))
    merged = merge_masks(dict(enumerate((segment.mask for segment in segments), start=1)), grid.shape, overlap)
    names = {label: segment.name for label, segment in enumerate(segments, start=1)}
    check_overlap(merged, names, overlap, grid.voxel_volume_mm3)
    write_label_map(path, merged.labels, grid, names, provenance, merged.covered)
    return merged.covered


def check_overlap(merged: LabelMap, names: Mapping[int, str], overlap: Overlap, voxel_volume_mm3: float) -> None:
    """Make sure that a label map hides nothing where that is refused.

    Raises:
        InputError: it does.
    """
    if overlap is not Overlap.REFUSE or not merged.covered:
        return
    part = max(merged.covered, key=lambda one: one.voxels)
    raise InputError(
        "'{name}' and '{by}' share {amount}, and a label map has one label for each voxel; write .seg.nrrd, which "
        "keeps both, or let the smaller or the later one win.",
        name=names[part.label],
        by=names[part.by],
        amount=format_milliliters(part.voxels * voxel_volume_mm3),
    )


def describe_covered(
    covered: Sequence[CoveredPart], names: Mapping[int, str], amount: Callable[[int], str]
) -> list[Message]:
    """What a label map hides, one sentence for each structure that lost voxels.

    Args:
        names: of the labels.
        amount: a number of voxels in words.
    """
    sentences = []
    for label in dict.fromkeys(part.label for part in covered):
        parts = [part for part in covered if part.label == label]
        lost = joined(
            (message("{amount} are '{by}'", amount=amount(part.voxels), by=names[part.by]) for part in parts), ", "
        )
        whole, left = parts[0].whole, parts[0].left
        if left:
            sentences.append(
                message(
                    "'{name}' has {left} of its {whole} in the label map, which has one label for each voxel: {lost}.",
                    name=names[label],
                    left=amount(left),
                    whole=amount(whole),
                    lost=lost,
                )
            )
        else:
            sentences.append(
                message(
                    "'{name}' was found and is not in the label map, which has one label for each voxel: {lost}.",
                    name=names[label],
                    lost=lost,
                )
            )
    return sentences


def covered_entry(part: CoveredPart, names: Mapping[int, str], voxel_volume_mm3: float) -> dict[str, Any]:
    """Hidden voxels in plain JSON values."""
    return {
        "name": names[part.label],
        "by": names[part.by],
        "voxels": part.voxels,
        "volume_mm3": round(part.voxels * voxel_volume_mm3, 3),
    }


def read_names(path: Path) -> dict[int, str]:
    """The names in the JSON file beside a label map; none where there is no such file or it says nothing of labels.

    Raises:
        InputError: the file cannot be read, or names labels in a way that cannot be understood.
    """
    if not suffix_of(path) or not (file := _names_path(path)).is_file():
        return {}
    try:
        # As bytes, of which json tells UTF-8 from UTF-16, each with or without the mark that Windows editors put.
        description = json.loads(file.read_bytes())
        if not isinstance(description, dict) or "labels" not in description:
            return {}
        return {int(label): str(name) for label, name in description["labels"].items()}
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise InputError(
            "{file}, which names the labels of {path}, cannot be understood ({why}); correct it, or delete it to go "
            "without names.",
            file=file,
            path=path,
            why=str(error),
        ) from None


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
