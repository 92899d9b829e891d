"""Segmentations to files and back: Slicer's ``.seg.nrrd``, NIfTI label maps and DICOM segmentations.

``write_segmentation`` says which suffix is written by which function.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedSAM3SegmentLib.array_types import FloatMap
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.label_map import CoveredPart, Overlap
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.preprocessing.resampling import straighten

from .coco import write_coco
from .dicom.find_files import is_dicom, is_dicom_archive
from .dicom_objects.read_seg import is_dicom_seg, read_dicom_seg
from .dicom_objects.source import DicomSource
from .dicom_objects.write_rtstruct import write_rtstruct
from .dicom_objects.write_seg import write_dicom_seg
from .formats.pictures import NUMBERED_SUFFIXES, read_label_picture
from .labelled_part import LabelledPart
from .labelmap_nifti import LABEL_MAP_SUFFIXES, color_of_label, read_names, write_labels
from .read_volume import check_is_file, read_stored
from .seg_nrrd import segments_by_header, write_seg_nrrd
from .segment import IsWanted, Provenance, Segment
from .segmentation_paths import COCO_SUFFIX, DICOM_SUFFIXES, RTSTRUCT_SUFFIX, check_output, suffix_of

#: How far a label may be from a whole number: what scaling by a slope leaves, which for the labels 0 to 1000 in 16 bits
#: is up to 0.008.
_ROUNDING = 0.01

#: No label map has as many.
_LARGEST_LABEL = 2**30


def write_segmentation(
    path: str | Path,
    segments: Sequence[Segment],
    grid: VoxelGrid,
    provenance: Provenance,
    overlap: Overlap = Overlap.SMALLER,
    source: DicomSource | None = None,
    fractions: Sequence[FloatMap] = (),
) -> tuple[CoveredPart, ...]:
    """Write ``segments`` in the format that the suffix of ``path`` names, whole or not at all.

    Args:
        path: ``.seg.nrrd``, which keeps everything, or ``.nii.gz`` or ``.nii``, which has one label for each voxel and
            where names and provenance go into a ``.labels.json`` file beside it; or ``.dcm``, a DICOM segmentation,
            or ``.rtstruct.dcm``, the outlines of a radiotherapy structure set;
            or, of one slice, ``.png``, a label map like the others, or ``.coco.json``.
        segments: they may overlap; none at all makes a file that says so, with the grid it is true of.
        grid: the grid of all masks.
        provenance: plain JSON values (``provenance.Provenance.as_dict``); put into the header, and on every segment
            that has no provenance of its own in its tags.
        overlap: which label a voxel of several segments gets in a label map.
        source: the images that a DICOM object refers to.
        fractions: of each segment, for a DICOM segmentation that is not binary; see ``write_seg.write_dicom_seg``.

    Returns:
        What a label map hides; labels are the places of the segments, from 1. Nothing of ``.seg.nrrd``.

    Raises:
        InputError: as ``check_output``; the disk failed; ``overlap`` refuses and a label map would hide something.
    """
    path = check_output(path)
    for segment in segments:
        if segment.mask.shape != grid.shape:
            raise ValueError(f"The mask of '{segment.name}' has shape {segment.mask.shape}, the grid {grid.shape}.")
    if suffix_of(path) in LABEL_MAP_SUFFIXES:
        return write_labels(path, segments, grid, provenance, overlap)
    if suffix_of(path) in DICOM_SUFFIXES:
        if source is None:
            raise InputError(
                "{path} cannot be written: a DICOM object must refer to DICOM images; choose another format, "
                "such as .seg.nrrd.",
                path=path,
            )
        if suffix_of(path) == RTSTRUCT_SUFFIX:
            write_rtstruct(path, segments, grid, provenance, source)
        else:
            write_dicom_seg(path, segments, grid, provenance, source, fractions)
        return ()
    if suffix_of(path) == COCO_SUFFIX:
        write_coco(path, segments, grid, provenance)
    else:
        write_seg_nrrd(path, segments, grid, provenance)
    return ()


def read_segmentation(
    path: str | Path, is_wanted: IsWanted = lambda _name, _label: True
) -> tuple[list[Segment], VoxelGrid]:
    """Read the segments of a ``.seg.nrrd`` file, a DICOM segmentation or a label map in any format that ITK reads.

    Args:
        path: of the file.
        is_wanted: says which are read, because masks of all that a label map has may take much memory.

    Returns:
        The segments, masks on the returned grid, and the grid: that of the stored voxels, which Slicer may have cropped
        to the segments. Provenance is in ``tags``. A label map's names come from the JSON file beside it, if any.

    Raises:
        InputError: the file is missing, damaged, or holds no labels.
        PackageError: it is a DICOM segmentation, and the package that reads those is not installed.
    """
    path = Path(path)
    check_is_file(path)
    path = _only_seg_in(path)
    if path.is_file() and is_dicom(path) and is_dicom_seg(path):
        return read_dicom_seg(path, is_wanted)
    if path.is_dir() or is_dicom(path) or is_dicom_archive(path):
        raise InputError("{path} is DICOM and no segmentation; give one, or a .seg.nrrd or label map.", path=path)
    stored = read_stored(path)
    if stored.array.ndim == 4 and path.suffix.lower() in NUMBERED_SUFFIXES:
        stored = read_label_picture(path)
    layers = stored.array if stored.array.ndim == 4 else stored.array[..., None]
    if layers.dtype.kind == "f":
        layers = _rounded(layers, path)
    grid = stored.grid
    if grid.is_sheared:
        layers, grid = straighten(layers, grid, linear=False)
    if "Segment0_ID" in stored.tags:
        try:
            return segments_by_header(layers, stored, is_wanted), grid
        except (ValueError, IndexError):
            raise InputError("{path} has a damaged header; save it again from 3D Slicer.", path=path) from None
    if "Segmentation_MasterRepresentation" in stored.tags:
        return [], grid
    if layers.shape[3] > 1 and (layers == layers[..., :1]).all():
        layers = layers[..., :1]  # a gray picture that was saved in color
    if layers.shape[3] > 1:
        raise InputError(
            "{path} is not a segmentation: it has {count} values per voxel; give a label map.",
            path=path,
            count=layers.shape[3],
        )
    names = read_names(path)
    labels = LabelledPart.of(layers[..., 0])
    present = {label: names.get(label, f"Label {label}") for label in labels.present()}
    return [
        Segment(name, labels.mask_of(n), color_of_label(n), label=n)
        for n, name in present.items()
        if is_wanted(name, n)
    ], grid


def _only_seg_in(path: Path) -> Path:
    """The one file of a folder as which a DICOM series with one segmentation is often stored; else the path itself."""
    if not path.is_dir():
        return path
    files = [file for file in path.iterdir() if file.is_file() and is_dicom(file)]
    return files[0] if len(files) == 1 and is_dicom_seg(files[0]) else path


def _rounded(layers: NDArray[Any], path: Path) -> NDArray[Any]:
    """Labels that were stored as fractions, such as scaled ones, as the whole numbers that they are nearly.

    Raises:
        InputError: they are not.
    """
    labels = np.empty(layers.shape, np.int32)
    # Slice by slice, because a volume of fractions is large enough once.
    for part, into in zip(layers, labels, strict=True):
        whole = np.rint(part)
        with np.errstate(invalid="ignore"):
            is_near = (np.abs(part - whole) <= _ROUNDING) & (np.abs(whole) <= _LARGEST_LABEL)
        if not is_near.all():
            raise InputError(
                "{path} is not a segmentation: its voxels are not whole numbers; give a label map.", path=path
            )
        into[:] = whole
    return labels
