"""Which files segmentations go into: the suffixes there are, and what is checked before a long run."""

from __future__ import annotations

from pathlib import Path

from MedSAM3SegmentLib.errors import InputError

from .atomic_write import check_folder

#: A radiotherapy structure set and a DICOM segmentation, which refer to the DICOM images that they were made from.
RTSTRUCT_SUFFIX = ".rtstruct.dcm"
SEG_SUFFIX = ".dcm"
DICOM_SUFFIXES = (RTSTRUCT_SUFFIX, SEG_SUFFIX)

#: Of a picture: a label map as PNG, and COCO's JSON.
PNG_SUFFIX = ".png"
COCO_SUFFIX = ".coco.json"
PICTURE_SUFFIXES = (PNG_SUFFIX, COCO_SUFFIX)

#: Slicer's own segmentation, which keeps everything.
SEG_NRRD_SUFFIX = ".seg.nrrd"

#: That, label maps, DICOM, and what holds one picture.
SUFFIXES = (SEG_NRRD_SUFFIX, ".nii.gz", ".nii", *DICOM_SUFFIXES, *PICTURE_SUFFIXES)


def check_output(path: str | Path) -> Path:
    """Make sure, before a long run, that a segmentation can be written to ``path``.

    Raises:
        InputError: the suffix is none of the supported ones, or the folder is missing or write-protected.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if not suffix or len(path.name) == len(suffix):
        raise InputError(
            "{path} is no name for a segmentation; end it in {endings}.", path=path, endings=" or ".join(SUFFIXES)
        )
    check_folder(path)
    return path


def suffix_of(path: Path) -> str:
    """The one of ``SUFFIXES`` that the name ends in, however it is spelt; empty if it is none of them."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")
