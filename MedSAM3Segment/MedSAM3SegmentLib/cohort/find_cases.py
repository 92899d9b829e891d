"""The cases in folders, files, lists and BIDS data sets: what is segmented, and what is left out and why."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.dicom.find_files import is_dicom, is_dicom_archive
from MedSAM3SegmentLib.io.formats.pictures import PICTURE_SUFFIXES, TIFF_SUFFIXES
from MedSAM3SegmentLib.io.list_dicom import DicomListing, DicomSeries, list_dicom_series
from MedSAM3SegmentLib.messages.message import Message, message

from .bids import bids_images, is_bids
from .case import Case, with_ids
from .case_list import LIST_SUFFIXES, read_case_list

#: Files that hold a volume; of a pair the half that is named.
_VOLUMES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz")
_PICTURES = (*PICTURE_SUFFIXES, *TIFF_SUFFIXES)

#: What is no image although its suffix is that of one.
_SEGMENTATIONS = (".seg.nrrd", ".seg.nhdr", ".label.nrrd", ".label.nii.gz")


#: As ``list_dicom_series``.
ListSeries = Callable[[Sequence[Path]], DicomListing]


@dataclass(frozen=True)
class Selection:
    """Which of the images that are found are cases.

    Attributes:
        modality: DICOM's code of a series; None for any.
        description: a part of a series' description, upper or lower case; None for any.
        plane: of a series' slices; None for any.
        files: pattern for the path of a file below its input, as ``*_ct.nii.gz``; None for any.
        at_least: slices of a series.
        largest_per_study: only the series of each study that has the most slices.
    """

    modality: str | None = None
    description: str | None = None
    plane: str | None = None
    files: str | None = None
    at_least: int = 1
    largest_per_study: bool = False


@dataclass(frozen=True)
class CaseListing:
    """What was found.

    Attributes:
        cases: in the order of the inputs, and of places in each.
        messages: what was left out, in sentences without names.
    """

    cases: tuple[Case, ...]
    messages: tuple[Message, ...]


def find_cases(
    inputs: Sequence[Path],
    selection: Selection = Selection(),
    output: Path | None = None,
    by_name: bool = False,
    remote: CaseListing | None = None,
    list_series: ListSeries = list_dicom_series,
) -> CaseListing:
    """Find and list the cases.

    Args:
        inputs: images, folders of them, DICOM folders, BIDS data sets and ``.csv`` or ``.tsv`` lists.
        output: a folder whose files are results and no cases.
        by_name: see ``with_ids``.
        remote: cases that were found elsewhere, still without ids.
        list_series: finds the series in DICOM files.

    Raises:
        InputError: an input is not there, a list cannot be understood, or nothing is left to segment.
    """
    cases: list[Case] = list(remote.cases) if remote is not None else []
    said: list[Message] = list(remote.messages) if remote is not None else []
    for path in inputs:
        if not path.exists():
            raise InputError("{path} does not exist; check the path.", path=path)
        if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
            cases += read_case_list(path)
        elif is_bids(path):
            found, left_out = bids_images(path)
            cases += [case for case in found if _is_wanted_file(case.path, path, selection)]
            said += left_out
        elif path.is_dir():
            found, left_out = _in_folder(path, selection, output, list_series)
            cases += found
            said += left_out
        else:
            cases += [_file_case(path, path.parent)]
    unique = list({(case.path.absolute(), case.series, case.files, case.id): case for case in cases}.values())
    if not unique:
        raise InputError(
            "There is no image to segment in {inputs}; check the paths, and what was chosen of them{left_out}.",
            inputs=", ".join(map(str, inputs)) or "what was given",
            left_out=f" ({' '.join(said)})" if said else "",
        )
    return CaseListing(tuple(with_ids(unique, by_name)), tuple(said))


class _InStudy(Protocol):
    @property
    def study(self) -> str: ...
    @property
    def images(self) -> int: ...


Series = TypeVar("Series", bound=_InStudy)


def largest_per_study(series: Sequence[Series]) -> list[Series]:
    """The series with the most images of each study; the first of several."""
    largest: dict[str, Series] = {}
    for one in series:
        if one.study not in largest or one.images > largest[one.study].images:
            largest[one.study] = one
    return list(largest.values())


def _in_folder(
    folder: Path, selection: Selection, output: Path | None, list_series: ListSeries
) -> tuple[list[Case], list[Message]]:
    volumes, pictures, dicom, others = [], [], [], 0
    for file in _walk(folder, output):
        name = file.name.lower()
        if is_dicom(file):
            dicom.append(file)
        elif name.endswith(_SEGMENTATIONS) or file.with_name(_labels_name(file.name)).exists():
            others += 1
        elif name.endswith(_VOLUMES) or is_dicom_archive(file):
            volumes.append(file)
        elif name.endswith(_PICTURES):
            pictures.append(file)
        else:
            others += 1
    cases, said = _dicom_cases(dicom, folder, selection, list_series)
    if (volumes or dicom) and pictures:
        said.append(message("{count} pictures beside volumes were left out.", count=len(pictures)))
        pictures = []
    wanted = [file for file in (*volumes, *pictures) if _is_wanted_file(file, folder, selection)]
    if len(wanted) < len(volumes) + len(pictures):
        count = len(volumes) + len(pictures) - len(wanted)
        said.append(message("{count} files were left out by their names.", count=count))
    if others:
        said.append(message("{count} files that are no images were left out.", count=others))
    return [*cases, *(_file_case(file, folder) for file in wanted)], said


def _walk(folder: Path, output: Path | None) -> Iterable[Path]:
    avoided = None if output is None else output.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != avoided)
        if here.resolve() != avoided:
            yield from (here / name for name in sorted(names) if not name.startswith("."))


def _dicom_cases(
    files: Sequence[Path], root: Path, selection: Selection, list_series: ListSeries
) -> tuple[list[Case], list[Message]]:
    if not files:
        return [], []
    listing = list_series(files)
    said = []
    images = [one for one in listing.series if not one.is_localizer]
    wanted = [one for one in images if _is_wanted_series(one, selection)]
    if selection.largest_per_study:
        wanted = largest_per_study(wanted)
    if localizers := len(listing.series) - len(images):
        said.append(message("{count} localizers were left out.", count=localizers))
    if len(wanted) < len(images):
        said.append(message("{count} DICOM series were not chosen.", count=len(images) - len(wanted)))
    if listing.others:
        said.append(message("{count} DICOM files that are no images were left out.", count=listing.others))
    unread = _damaged_cases(listing.damaged, listing.series, root)
    return [*(_series_case(one, root, listing.damaged) for one in wanted), *unread], said


def _damaged_cases(damaged: Sequence[Path], series: Sequence[DicomSeries], root: Path) -> list[Case]:
    """Folders that hold damaged DICOM files and nothing that is read: each a case that will fail and say why."""
    read = {file.parent for one in series for file in one.files}
    folders = dict.fromkeys(file.parent for file in damaged if file.parent not in read)
    return [
        Case(
            path=folder,
            root=root,
            files=tuple(file for file in damaged if file.parent == folder),
            label=folder.name,
            identity="\n".join(str(file) for file in damaged if file.parent == folder),
        )
        for folder in folders
    ]


def _series_case(series: DicomSeries, root: Path, damaged: Sequence[Path]) -> Case:
    folders = {file.parent for file in series.files}
    folder = Path(os.path.commonpath(folders))
    # Of what could not be read nobody knows the series; the reader says how many there were.
    beside = tuple(file for file in damaged if file.parent in folders)
    return Case(
        path=folder,
        root=root,
        files=(*series.files, *beside),
        series=series.choice,
        kind=series.modality,
        description=series.description,
        plane="" if series.plane is None else series.plane.value,
        images=series.images,
        label=folder.name,
        study=series.study,
        identity=f"{series.study}\n{series.series}\n{series.choice or ''}"
        + ("" if series.series else "\n".join(map(str, series.files))),
    )


def _file_case(path: Path, root: Path) -> Case:
    name = path.name
    for suffix in (*_VOLUMES, *_PICTURES, ".zip", ".dcm"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return Case(path=path, root=root, label=name[: -len(suffix)])
    return Case(path=path, root=root, label=path.stem)


def _is_wanted_series(series: DicomSeries, selection: Selection) -> bool:
    return (
        (selection.modality is None or series.modality == selection.modality)
        and (selection.description is None or selection.description.casefold() in series.description.casefold())
        and (selection.plane is None or (series.plane is not None and series.plane.value == selection.plane))
        and series.images >= selection.at_least
    )


def _is_wanted_file(file: Path, root: Path, selection: Selection) -> bool:
    if selection.files is None:
        return True
    place = file.relative_to(root).as_posix()
    return fnmatch.fnmatch(place, selection.files) or fnmatch.fnmatch(file.name, selection.files)


def _labels_name(name: str) -> str:
    return f"{name.removesuffix('.gz').removesuffix('.nii')}.labels.json"
