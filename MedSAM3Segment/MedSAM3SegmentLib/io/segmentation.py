"""Segmentations to files and back: Slicer's ``.seg.nrrd`` and NIfTI label maps.

``_WRITERS`` says which suffix is written by which function; DICOM SEG belongs there too, as one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.resampling import straighten

from .dicom.find_files import is_dicom, is_dicom_archive
from .labelmap_nifti import color_of_label, read_names, write_labels
from .read_volume import read_stored
from .seg_nrrd import segments_by_header, write_seg_nrrd
from .segment import Provenance, Segment
from .segmentation_paths import check_output, suffix_of

_WRITERS: dict[str, Callable[[Path, Sequence[Segment], VoxelGrid, Provenance], None]] = {
    ".seg.nrrd": write_seg_nrrd,
    ".nii.gz": write_labels,
    ".nii": write_labels,
}


def write_segmentation(path: str | Path, segments: Sequence[Segment], grid: VoxelGrid, provenance: Provenance) -> None:
    """Write ``segments`` in the format that the suffix of ``path`` names, whole or not at all.

    Args:
        path: ``.seg.nrrd``, which keeps everything, or ``.nii.gz`` or ``.nii``, where later segments cover earlier ones
            and names and provenance go into a ``.labels.json`` file beside it.
        segments: they may overlap; none at all makes a file that says so, with the grid it is true of.
        grid: the grid of all masks.
        provenance: plain JSON values (``provenance.Provenance.as_dict``); put into the header, and on every segment
            that has no provenance of its own in its tags.

    Raises:
        InputError: as ``check_output``; the disk failed.
    """
    path = check_output(path)
    for segment in segments:
        if segment.mask.shape != grid.shape:
            raise ValueError(f"The mask of '{segment.name}' has shape {segment.mask.shape}, the grid {grid.shape}.")
    _WRITERS[suffix_of(path)](path, segments, grid, provenance)


def read_segmentation(path: str | Path) -> tuple[list[Segment], VoxelGrid]:
    """Read the segments of a ``.seg.nrrd`` file or of a label map in any format that ITK reads.

    Returns:
        The segments, masks on the returned grid, and the grid: that of the stored voxels, which Slicer may have cropped
        to the segments. Provenance is in ``tags``. A label map's names come from the JSON file beside it, if any.

    Raises:
        InputError: the file is missing, damaged, or holds no labels.
    """
    path = Path(path)
    if path.is_dir() or is_dicom(path) or is_dicom_archive(path):
        raise InputError("{path} is DICOM, from which no segmentation can be read; convert it to .seg.nrrd.", path=path)
    stored = read_stored(path)
    layers = stored.array if stored.array.ndim == 4 else stored.array[..., None]
    if layers.dtype.kind == "f":
        if not np.array_equal(layers, np.rint(layers)):
            raise InputError(
                "{path} is not a segmentation: its voxels are not whole numbers; give a label map.", path=path
            )
        layers = layers.astype(np.int64)
    grid = stored.grid
    if grid.is_sheared:
        layers, grid = straighten(layers, grid, linear=False)
    if "Segment0_ID" in stored.tags:
        try:
            return segments_by_header(layers, stored), grid
        except (ValueError, IndexError):
            raise InputError("{path} has a damaged header; save it again from 3D Slicer.", path=path) from None
    if "Segmentation_MasterRepresentation" in stored.tags:
        return [], grid
    if layers.shape[3] > 1:
        raise InputError(
            "{path} is not a segmentation: it has {count} values per voxel; give a label map.",
            path=path,
            count=layers.shape[3],
        )
    names = read_names(path)
    labels = layers[..., 0]
    present = [int(label) for label in np.unique(labels) if label != 0]
    return [Segment(names.get(n, f"Label {n}"), labels == n, color_of_label(n)) for n in present], grid
