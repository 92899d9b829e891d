"""The shell's options for which of the images that are found are cases, and what those are called."""

from __future__ import annotations

import argparse
from pathlib import Path

from MedSAM3SegmentLib.cohort.find_cases import Selection
from MedSAM3SegmentLib.geometry.slice_stack import Plane

from .model import positive_number
from .volume import parse_modality

#: The words of ``--format`` and the suffixes that they mean.
FORMATS = {
    "seg.nrrd": ".seg.nrrd",
    "nii.gz": ".nii.gz",
    "dicom-seg": ".dcm",
    "rtstruct": ".rtstruct.dcm",
    "png": ".png",
    "coco": ".coco.json",
}


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that begin with ``--only``, ``--files``, ``--names``, ``--mapping`` and the like."""
    group = parser.add_argument_group("which images are cases, and what they are called")
    group.add_argument(
        "--only-modality", metavar="CT|MR|...", type=parse_modality, help="DICOM series of this modality"
    )
    group.add_argument("--only-description", metavar="TEXT", help="DICOM series whose description holds this")
    group.add_argument(
        "--only-plane",
        choices=[plane.value for plane in Plane if plane is not Plane.ACQUIRED],
        help="DICOM series whose slices are closest to this plane",
    )
    group.add_argument(
        "--at-least", metavar="N", type=positive_number, default=1, help="DICOM series of N slices or more"
    )
    group.add_argument(
        "--largest-per-study", action="store_true", help="of each DICOM study the series with the most slices only"
    )
    group.add_argument("--files", metavar="PATTERN", help="files whose name or path fits, as '*_ct.nii.gz'")
    group.add_argument(
        "--modality", metavar="CT|MR|...", type=parse_modality, help="what all images are, where files do not say it"
    )
    group.add_argument(
        "--names",
        action="store_true",
        help="call cases by the names of their files or folders; only where those are no patients'",
    )
    group.add_argument(
        "--mapping",
        metavar="FILE.csv",
        type=Path,
        help="also write which case is which file; keep it away from results",
    )


def selection_of(options: argparse.Namespace) -> Selection:
    """What was chosen with ``add_selection_options``."""
    return Selection(
        options.only_modality,
        options.only_description,
        options.only_plane,
        options.files,
        options.at_least,
        options.largest_per_study,
    )
