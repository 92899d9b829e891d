"""Cases on a PACS: series that a DICOMweb server finds, fetched one at a time when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.dicomweb.address import DicomwebAddress
from MedSAM3SegmentLib.io.dicomweb.choose_series import image_series
from MedSAM3SegmentLib.io.dicomweb.server import DicomwebServer, RemoteSeries
from MedSAM3SegmentLib.messages.message import Message, message
from MedSAM3SegmentLib.progress import CancelCheck

from .case import Case
from .find_cases import Selection, largest_per_study


@dataclass(frozen=True, eq=False)
class RemoteSource:
    """Where a case's files are fetched from.

    Attributes:
        server: that has them.
        study, series: instance UIDs.
    """

    server: DicomwebServer
    study: str
    series: str


def find_remote_cases(
    server: DicomwebServer, address: DicomwebAddress, selection: Selection, filters: Mapping[str, str]
) -> tuple[list[Case], list[Message]]:
    """The series of images of a server, or of one of its studies, that are chosen.

    Args:
        filters: for the server's search, values by DICOM keyword.

    Returns:
        Cases without ids, and what was left out.

    Raises:
        InputError: the server cannot be asked, or what is chosen by is not known before images are fetched.
    """
    if selection.plane is not None:
        raise InputError(
            "The plane of series on {host} is not known before they are fetched; leave --only-plane out, or choose by "
            "--only-description.",
            host=address.host,
        )
    found = server.find_series(address.study, filters)
    if address.series:
        found = [one for one in found if one.series == address.series]
    images = image_series(found)
    wanted = [one for one in images if _is_wanted(one, selection)]
    if selection.largest_per_study:
        wanted = largest_per_study(wanted)
    said = []
    if others := len(found) - len(images):
        said.append(message("{count} series that are no images were left out.", count=others))
    if len(wanted) < len(images):
        said.append(message("{count} DICOM series were not chosen.", count=len(images) - len(wanted)))
    return [_case_of(server, one) for one in sorted(wanted, key=lambda one: (one.study, one.series))], said


@contextmanager
def fetched_case(case: Case, cancel: CancelCheck) -> Iterator[Case]:
    """A case with its files on this computer, which are removed at the end; the case itself where they are there.

    Raises:
        InputError: they cannot be fetched.
        Cancelled: ``cancel`` said so.
    """
    if case.remote is None:
        yield case
        return
    with TemporaryDirectory(prefix="medsam3-") as place:
        folder = Path(place, case.remote.series)
        folder.mkdir()
        case.remote.server.fetch_series(case.remote.study, case.remote.series, folder, cancel)
        files = tuple(sorted(folder.iterdir()))
        yield replace(case, path=folder, root=folder.parent, files=files, remote=None)


def _is_wanted(one: RemoteSeries, selection: Selection) -> bool:
    return (
        (selection.modality is None or one.modality == selection.modality)
        and (selection.description is None or selection.description.casefold() in one.description.casefold())
        # A server that does not count is not held against a series.
        and (not one.images or one.images >= selection.at_least)
    )


def _case_of(server: DicomwebServer, one: RemoteSeries) -> Case:
    return Case(
        path=Path(one.study, one.series),
        root=Path("."),
        kind=one.modality,
        description=one.description,
        images=one.images,
        label=one.series,
        study=one.study,
        # As of a series in a folder, so that a case is called the same wherever it is read from.
        identity=f"{one.study}\n{one.series}\n",
        remote=RemoteSource(server, one.study, one.series),
    )
