"""The shell's options for which volume is read, and for how its slices become a volume of segments.

The latter: where to look, more planes, clean-up, and what is one segment.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.geometry.voxel_grid import VoxelGrid
from MedSAM3SegmentLib.prompts.prompts import BoxPromptRAS
from MedSAM3SegmentLib.request import AssemblyOptions, Grouping, SegmentRequest
from MedSAM3SegmentLib.slice_saving import SliceSaving

from .model import positive_number
from .values import corners_of, mask_on

#: The clean-up steps that can be left out, by the option's word and the field of ``AssemblyOptions``.
_STEPS = {
    "linking": "link",
    "weak-slices": "hysteresis",
    "gap-filling": "fill_gaps",
    "dropping": "drop_isolated",
}

_GROUPINGS = {"concept": Grouping.CONCEPT, "instance": Grouping.INSTANCE}


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--series`` and ``--modality``."""
    group = parser.add_argument_group("what is read")
    group.add_argument(
        "--series",
        metavar="SERIES",
        help="which DICOM series, where a folder holds several: its number, its UID or a part of its description",
    )
    group.add_argument(
        "--modality",
        metavar="CT|MR|...",
        type=parse_modality,
        help="what kind of image it is, for files that do not say it, such as NIfTI, or say a wrong one",
    )


def add_fractional_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--fractional``."""
    parser.add_argument(
        "--fractional",
        action="store_true",
        help="write how likely each voxel belongs to a structure, in place of a mask; for DICOM segmentations",
    )


def parse_modality(text: str) -> str:
    """DICOM's code for a modality, for argparse."""
    from MedSAM3SegmentLib.io.dicom.kinds import modality_of

    return modality_of(text)


def add_volume_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--inside``, ``--region``, ``--also-plane``, slices to leave out, clean-up and ``--segments-per``."""
    group = parser.add_argument_group("from slices to a volume")
    group.add_argument(
        "--inside",
        metavar="FILE|CONCEPT",
        help="only inside of the segments of this file, or of another concept, which is found first, as in 'tumor "
        "inside liver'; one that is not asked for with --concept is not written",
    )
    group.add_argument("--region", metavar="R,A,S/R,A,S", help="only in the box between two corners, in millimetres")
    group.add_argument(
        "--also-plane",
        choices=[plane.value for plane in Plane if plane is not Plane.ACQUIRED],
        action="append",
        default=[],
        help="look along this plane as well and average, for voxels that are nearly cubes; may be repeated",
    )
    group.add_argument(
        "--skim",
        metavar="N",
        type=positive_number,
        default=1,
        help="look at every Nth slice first, then only where something may be; refused for what may be smaller than "
        "that (default: 1, all slices)",
    )
    group.add_argument(
        "--slice-distance",
        metavar="MM",
        type=float,
        default=0.0,
        help="look only at slices at least so many millimetres apart, such as 3, and interpolate shapes between them "
        "(default: 0, none)",
    )
    group.add_argument("--keep-largest", action="store_true", help="keep the largest object of each concept only")
    group.add_argument(
        "--without",
        choices=list(_STEPS),
        action="append",
        default=[],
        help="leave a step out: linking (objects by overlap), weak-slices (kept where an object goes on), gap-filling, "
        "dropping (of objects too short to be real); may be repeated",
    )
    group.add_argument(
        "--segments-per",
        choices=list(_GROUPINGS),
        default="concept",
        help="one segment per concept, or one per instance, as for vertebrae or lesions (default: concept)",
    )


def with_volume_options(options: argparse.Namespace, request: SegmentRequest, grid: VoxelGrid | None) -> SegmentRequest:
    """``request`` with what was chosen with ``add_volume_options``.

    Args:
        grid: of the volume; the mask to look inside of is put on it. None where none is given.

    Raises:
        InputError: an option cannot be understood, or the mask cannot be read or lies on other voxels.
    """
    steps = {_STEPS[word]: False for word in options.without}
    file = file_inside(options.inside, request.concepts)
    return replace(
        request,
        region=None if options.region is None else BoxPromptRAS(corners_of(options.region)),
        inside=options.inside if file is None or grid is None else mask_on(file, grid),
        more_planes=tuple(Plane(plane) for plane in options.also_plane),
        assembly=AssemblyOptions(largest_only=options.keep_largest, **steps),
        grouping=_GROUPINGS[options.segments_per],
        saving=SliceSaving(options.skim, options.slice_distance),
    )


def file_inside(text: str | None, concepts: Sequence[str]) -> Path | None:
    """The file that ``--inside`` names; None where it names a concept, or is not there."""
    if text is None or not text.strip() or text in concepts:
        return None
    looks_like_one = Path(text).exists() or len(Path(text).parts) > 1 or re.search(r"\.\w+$", text)
    return Path(text) if looks_like_one else None
