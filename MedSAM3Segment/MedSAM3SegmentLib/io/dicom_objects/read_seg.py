"""Segments out of a DICOM Segmentation object, binary, fractional or a label map, by highdicom."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.io.dicom.elements import text
from MedSAM3SegmentLib.io.dicom.image_header import read_header
from MedSAM3SegmentLib.io.itk import LPS_TO_RAS
from MedSAM3SegmentLib.io.segment import IsWanted, Segment

from .coded_terms import CodedTerms, code_of, from_cielab, terminology_of
from .source import check_packages

#: Segmentation Storage and Label Map Segmentation Storage.
_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

#: From which fraction on a voxel belongs to a fractional segment.
_HALF = 0.5

#: Largest departure of the slices of a segmentation from even spacing that is rounding, as a fraction of it.
_EVEN = 0.02

_GREY = (0.5, 0.5, 0.5)


def is_dicom_seg(path: Path) -> bool:
    """Whether a file is a DICOM segmentation; it need not be whole."""
    try:
        header = read_header(path)
    except InputError:
        return False
    return header is not None and text(header.data, "SOPClassUID") in _CLASSES


def read_dicom_seg(path: Path, is_wanted: IsWanted = lambda _name, _label: True) -> tuple[list[Segment], VoxelGrid]:
    """The segments of a file that have voxels, and the grid they lie on: that of the slices from the first to the last.

    Raises:
        InputError: the file is damaged, or its frames do not lie on one grid.
        PackageError: highdicom is not installed.
    """
    check_packages()
    import highdicom

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = highdicom.seg.segread(path)
            numbers = [int(number) for number in stored.segment_numbers]
            described = {number: stored.get_segment_description(number) for number in numbers}
            wanted = [number for number in numbers if is_wanted(str(described[number].SegmentLabel), number)]
            if not wanted:
                volume = stored.get_volume(segment_numbers=numbers[:1], rtol=_EVEN)
            else:
                volume = stored.get_volume(segment_numbers=wanted, rtol=_EVEN)
            array, affine = volume.array, volume.affine
    except Exception as error:  # what highdicom and pydicom raise where a file is damaged
        raise InputError(
            "{path} is a DICOM segmentation that cannot be read ({why}); export it again or convert it to .seg.nrrd.",
            path=path,
            why=str(error) or type(error).__name__,
        ) from None
    # Axes are slice, row and column; columns of the affine likewise.
    lps = affine[:, [2, 1, 0, 3]]
    grid = VoxelGrid(array.shape[:3], LPS_TO_RAS @ lps + 0.0)
    segments = []
    for place, number in enumerate(wanted):
        mask = np.asarray(array[..., place] >= _HALF if array.dtype.kind == "f" else array[..., place] > 0)
        if mask.any():
            item = described[number]
            color = _color(item)
            segments.append(Segment(str(item.SegmentLabel), mask, color, _terminology(item), _tags(item), label=number))
    return segments, grid


def _terminology(item: Any) -> str:
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()
    regions = item.get("AnatomicRegionSequence") or ()
    region_modifiers = (regions[0].get("AnatomicRegionModifierSequence") or ()) if regions else ()
    return terminology_of(
        CodedTerms(
            code_of(item.SegmentedPropertyCategoryCodeSequence[0]),
            code_of(kind),
            code_of(modifiers[0]) if modifiers else None,
            code_of(regions[0]) if regions else None,
            code_of(region_modifiers[0]) if region_modifiers else None,
        )
    )


def _tags(item: Any) -> dict[str, str]:
    pairs = {"DICOM.TrackingID": item.get("TrackingID"), "DICOM.TrackingUID": item.get("TrackingUID")}
    return {key: str(value) for key, value in pairs.items() if value}


def _color(item: Any) -> tuple[float, float, float]:
    stored = item.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return _GREY
    lightness, a, b = (float(value) / 65535 for value in stored)
    return from_cielab((100 * lightness, 255 * a - 128, 255 * b - 128))
