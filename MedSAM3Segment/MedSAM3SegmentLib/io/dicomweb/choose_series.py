"""Which series of a PACS is meant: images only, and one of a study."""

from __future__ import annotations

from collections.abc import Sequence

from MedSAM3SegmentLib.errors import InputError

from .address import DicomwebAddress
from .server import DicomwebServer, RemoteSeries

#: Modalities of objects that hold no image to segment (PS3.3 C.7.3.1.1.1).
_NO_IMAGES = frozenset(
    "SEG SR PR KO RTSTRUCT RTPLAN RTDOSE RTRECORD REG FID RWV PLAN DOC AU ECG EPS HD RESP SMR TEXTUREMAP STAIN".split()
)


def image_series(series: Sequence[RemoteSeries]) -> list[RemoteSeries]:
    """Those that may hold images."""
    return [one for one in series if one.modality not in _NO_IMAGES]


def choose_series(server: DicomwebServer, address: DicomwebAddress, choice: str | None) -> RemoteSeries:
    """The series that an address names, or the one of its study that is chosen.

    Args:
        choice: number, UID or a part of the description, as for files; None where there is one.

    Raises:
        InputError: the address names no study, or it is not clear which series is meant.
    """
    if not address.study:
        raise InputError(
            "The address of {host} names no study; add /studies/UID, or look for series with 'medsam3 cohort "
            "{service} --dry-run'.",
            host=address.host,
            service=address.service,
        )
    if address.series:
        return RemoteSeries(address.study, address.series)
    found = image_series(server.find_series(address.study))
    if choice is not None:
        exact = [one for one in found if choice in (one.series, one.number)]
        found = exact or [one for one in found if choice.casefold() in one.description.casefold()]
    if not found:
        raise InputError("{host} has no such series of images in this study.", host=address.host)
    if len(found) > 1:
        listed = "; ".join(
            f"{one.number or '?'}: {one.modality} '{one.description}', {one.images} images" for one in found
        )
        raise InputError(
            "The study has {count} series of images; choose one with --series ({listed}).",
            count=len(found),
            listed=listed,
        )
    return found[0]
