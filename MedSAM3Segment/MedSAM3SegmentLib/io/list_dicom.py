"""Which DICOM image series lie in a set of files: many patients and studies at once, by their headers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane

from .dicom.elements import text, typed_text
from .dicom.frames import Frame, frames_of
from .dicom.image_header import ImageHeader, read_header
from .dicom.series import same_direction

#: The plane of slices by the LPS axis that their normal is closest to.
_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)


@dataclass(frozen=True)
class DicomSeries:
    """Images of one series that have one size and one direction: what becomes one volume.

    Attributes:
        files: that hold them, by name.
        study, series: UIDs.
        choice: what ``read_volume(series=)`` takes to tell it from others in the same files; None where there are none.
        modality: DICOM's code.
        description: what somebody typed at the scanner; for the eyes of the user only.
        plane: that the slices are closest to; None where the files do not say how the patient lies.
        images: how many slices or frames.
        is_localizer: whether it was made to plan others by.
    """

    files: tuple[Path, ...]
    study: str
    series: str
    choice: str | None
    modality: str
    description: str
    plane: Plane | None
    images: int
    is_localizer: bool


@dataclass(frozen=True)
class DicomListing:
    """What was found.

    Attributes:
        series: in the order of studies and series as they were met.
        others: how many DICOM files are no images, such as reports and segmentations.
        damaged: files that are DICOM by name or beginning and could not be read, or images without pixels.
    """

    series: tuple[DicomSeries, ...]
    others: int
    damaged: tuple[Path, ...]


@dataclass
class _Found:
    """One stack while files are being read; only what is needed is kept, since there may be a hundred thousand."""

    header: ImageHeader
    orientation: tuple[float, ...] | None
    images: int = 0
    files: dict[Path, None] = field(default_factory=dict)


def list_dicom_series(files: Iterable[Path]) -> DicomListing:
    """Find the image series in DICOM files, without their pixels.

    Files of one series and study that differ in size, stack or direction are several series.
    """
    found: dict[tuple[str, str], dict[tuple[object, ...], list[_Found]]] = defaultdict(dict)
    others, damaged = 0, []
    for file in files:
        try:
            header = read_header(file)
        except InputError:
            header = None
        if header is None or (header.non_image is None and header.pixels is None and header.refused_image is None):
            damaged.append(file)
        elif header.non_image is not None:
            others += 1
        else:
            stacks = found[text(header.data, "StudyInstanceUID"), header.series]
            _add(stacks, file, frames_of(header))
    listed = [_described(key, stacks) for key, stacks in found.items()]
    return DicomListing(tuple(one for some in listed for one in some), others, tuple(damaged))


def _add(stacks: dict[tuple[object, ...], list[_Found]], file: Path, frames: Sequence[Frame]) -> None:
    # Some write another stack for each frame, which are one then; as ``series.choose_frames`` has it.
    names = {frame.stack for frame in frames}
    by_stack = len(names) < len(frames)
    for frame in frames:
        alike = stacks.setdefault((frame.size, frame.stack if by_stack else ""), [])
        stack = next((one for one in alike if same_direction(one.orientation, frame.orientation)), None)
        if stack is None:
            stack = _Found(frame.image, frame.orientation)
            alike.append(stack)
        stack.images += 1
        stack.files[file] = None


def _described(key: tuple[str, str], stacks: dict[tuple[object, ...], list[_Found]]) -> list[DicomSeries]:
    parts = sorted((one for alike in stacks.values() for one in alike), key=lambda one: one.images, reverse=True)
    study, series = key
    described = []
    for number, part in enumerate(parts, start=1):
        others = [other for other in parts if other is not part]
        shares = any(part.files.keys() & other.files.keys() for other in others)
        files = {file for one in parts for file in one.files} if shares else set(part.files)
        described.append(
            DicomSeries(
                files=tuple(sorted(files)),
                study=study,
                series=series,
                choice=f"{text(part.header.data, 'SeriesNumber') or series}.{number}" if shares else None,
                modality=part.header.modality,
                description=typed_text(part.header.data, "SeriesDescription"),
                plane=_plane(part.orientation),
                images=part.images,
                is_localizer=any("LOCALIZER" in code for code in part.header.image_type),
            )
        )
    return described


def _plane(orientation: tuple[float, ...] | None) -> Plane | None:
    if orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return _PLANES[int(np.abs(normal).argmax())] if np.isfinite(normal).all() and normal.any() else None
