"""Which DICOM image series lie in a set of files: many patients and studies at once, by their headers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.geometry.slice_stack import Plane
from MedSAM3SegmentLib.ordered_processes import processes_in_order

from .dicom.elements import text, typed_text
from .dicom.frames import Frame, frames_of
from .dicom.image_header import ImageHeader, read_header
from .dicom.series import same_direction

#: Files whose headers a process reads at once, and from how many such parts on it is worth starting processes, which
#: takes each of them a second or two.
_CHUNK, _MANY_CHUNKS = 500, 8

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


@dataclass
class _Part:
    """What some of the files hold: stacks by study and series, and then by what tells them apart."""

    found: dict[tuple[str, str], dict[tuple[object, ...], list[_Found]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    others: int = 0
    damaged: list[Path] = field(default_factory=list)


def list_dicom_series(
    files: Sequence[Path], processes: int = 0, report: Callable[[int, int], None] = lambda _done, _total: None
) -> DicomListing:
    """Find the image series in DICOM files, without their pixels.

    Files of one series and study that differ in size, stack or direction are several series.

    Args:
        processes: how many read headers where there are very many files; 0 for this one alone. Reading them takes
            more computing than waiting, so threads are of no use.
        report: told how many of how many files were read.
    """
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    all_files = _Part()
    with processes_in_order(processes if len(chunks) >= _MANY_CHUNKS else 0) as pool:
        parts = (part for chunk in chunks for _, part in pool.add("", _read_headers, chunk))
        rest = (part for _, part in pool.rest())
        for number, part in enumerate(chain(parts, rest), start=1):
            _merge(all_files, part)
            report(min(number * _CHUNK, len(files)), len(files))
    listed = [_described(key, stacks) for key, stacks in all_files.found.items()]
    return DicomListing(tuple(one for some in listed for one in some), all_files.others, tuple(all_files.damaged))


def _read_headers(_: None, files: Sequence[Path]) -> _Part:
    part = _Part()
    for file in files:
        try:
            header = read_header(file)
        except InputError:
            header = None
        if header is None or (header.non_image is None and header.pixels is None and header.refused_image is None):
            part.damaged.append(file)
        elif header.non_image is not None:
            part.others += 1
        else:
            stacks = part.found[text(header.data, "StudyInstanceUID"), header.series]
            _add(stacks, file, frames_of(header))
    # Plain, so that it can be sent to another process.
    part.found = dict(part.found)
    return part


def _merge(into: _Part, part: _Part) -> None:
    into.others += part.others
    into.damaged += part.damaged
    for series, stacks in part.found.items():
        for kind, alike in stacks.items():
            for one in alike:
                stack = _stack_for(into.found[series], kind, one.header, one.orientation)
                stack.images += one.images
                stack.files |= one.files


def _stack_for(
    stacks: dict[tuple[object, ...], list[_Found]],
    kind: tuple[object, ...],
    header: ImageHeader,
    orientation: tuple[float, ...] | None,
) -> _Found:
    """The stack of a kind and direction, which is made where there is none."""
    alike = stacks.setdefault(kind, [])
    stack = next((one for one in alike if same_direction(one.orientation, orientation)), None)
    if stack is None:
        stack = _Found(header, orientation)
        alike.append(stack)
    return stack


def _add(stacks: dict[tuple[object, ...], list[_Found]], file: Path, frames: Sequence[Frame]) -> None:
    # Some write another stack for each frame, which are one then; as ``series.choose_frames`` has it.
    names = {frame.stack for frame in frames}
    by_stack = len(names) < len(frames)
    for frame in frames:
        kind = (frame.size, frame.stack if by_stack else "")
        stack = _stack_for(stacks, kind, frame.image, frame.orientation)
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
