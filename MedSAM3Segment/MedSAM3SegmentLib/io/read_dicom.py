"""DICOM to one volume: the one image series in a folder, an archive or a file.

The steps are the modules of the package ``dicom``: find the files, read their headers, take the frames and their places
out of them, choose those that are meant, and stack them. Pixels are read last, of chosen files only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.messages.message import Message, joined, message

from .dicom.archive import unpacked
from .dicom.file_bytes import read_bytes
from .dicom.find_files import find_dicom_files, is_dicom_archive
from .dicom.frames import Frame, frames_of
from .dicom.image_header import ImageHeader, read_header
from .dicom.series import choose_frames
from .dicom.stack import stack_frames
from .itk import StoredImage

#: Bytes of the pixels of two files that are compared at once.
_LONGEST_COMPARED = 1 << 30


def read_dicom(path: Path, series: str | None = None, files: Sequence[Path] = ()) -> StoredImage:
    """Read the one image series in a folder (and the folders in it) or in a ``.zip`` of one, or one DICOM file.

    The tag ``0008|0060`` of what comes back is the modality. The grid is sheared where the gantry was tilted.

    Args:
        path: the folder, archive or file.
        series: which series is meant, by its UID, its number or a part of its description; None for the only one.
        files: those of the folder that are read; empty for all.

    Raises:
        InputError: there is no image, it is not clear which of several series is meant, or the slices do not make up
            one volume.
    """
    if is_dicom_archive(path):
        with unpacked(path) as folder:
            try:
                return _read(find_dicom_files(folder), path, series)
            except InputError as error:
                # The temporary folder says nothing to anybody.
                raise _renamed(error, folder, path) from None
    if path.is_dir():
        files = files or find_dicom_files(path)
        if not files:
            raise InputError(
                "{path} holds no DICOM file; give a folder with a DICOM series, or the image file itself.", path=path
            )
        return _read(files, path, series)
    return _read([path], path, series)


def source_frames(path: Path, series: str | None = None, files: Sequence[Path] = ()) -> list[Frame]:
    """The frames that ``read_dicom`` makes a volume of, in no order; not of an archive, whose files are gone then.

    Raises:
        InputError: as ``read_dicom``.
    """
    found = files or (find_dicom_files(path) if path.is_dir() else [path])
    chosen, _ = _choose(found, path, series)
    return chosen


def _read(files: Sequence[Path], path: Path, series: str | None) -> StoredImage:
    chosen, messages = _choose(files, path, series)
    stored = stack_frames(chosen, path)
    return replace(stored, messages=(*messages, *stored.messages))


def _choose(files: Sequence[Path], path: Path, series: str | None) -> tuple[list[Frame], tuple[Message, ...]]:
    headers = [read_header(file) for file in files]
    images = _without_copies([header for header in headers if header is not None and _is_image(header)])
    if not images:
        raise _no_image([header for header in headers if header is not None], path)
    frames = [frame for image in images for frame in frames_of(image)]
    chosen, messages = choose_frames(frames, path, series)
    damaged = sum(header is None for header in headers)
    if damaged:
        messages += (
            message("{count} DICOM files could not be read and were left out.", count=damaged)
            if damaged > 1
            else message("1 DICOM file could not be read and was left out."),
        )
    return chosen, messages


def _is_image(header: ImageHeader) -> bool:
    return header.non_image is None and (header.pixels is not None or header.refused_image is not None)


def _no_image(headers: list[ImageHeader], path: Path) -> InputError:
    kinds = list(dict.fromkeys(header.non_image for header in headers if header.non_image is not None))
    if kinds == ["a segmentation"]:
        return InputError("{path} is a DICOM segmentation, not an image; give the series it was made from.", path=path)
    if kinds:
        return InputError(
            "{path} holds no DICOM image but {kinds}; give the series that it belongs to.",
            path=path,
            kinds=joined(kinds, ", "),
        )
    return InputError(
        "{path} holds no DICOM image that can be read; check that it is complete and not a report or a plan.",
        path=path,
    )


def _without_copies(images: list[ImageHeader]) -> list[ImageHeader]:
    """Each image once: the same instance at the same place with the same pixels is the same image stored twice."""
    often = Counter(image.instance for image in images)
    kept: dict[tuple[object, ...], list[ImageHeader]] = {}
    for image in images:
        key: tuple[object, ...] = (image.path,)
        if image.instance and often[image.instance] > 1:
            first = frames_of(image)[0]
            key = (image.instance, image.series, first.position, first.orientation, image.frame_count)
        same = kept.setdefault(key, [])
        if not same or not any(_have_same_pixels(image, other) for other in same):
            same.append(image)
    return [image for same in kept.values() for image in same]


def _have_same_pixels(first: ImageHeader, second: ImageHeader) -> bool:
    if first.pixels is None or second.pixels is None:
        return first.pixels is second.pixels
    lengths = [
        image.available if image.length is None else min(image.length, image.available)
        for image in (first.pixels, second.pixels)
    ]
    if lengths[0] != lengths[1] or lengths[0] > _LONGEST_COMPARED:
        return False
    digests = [hashlib.sha256(read_bytes(image, lengths[0])).digest() for image in (first, second)]
    return digests[0] == digests[1]


def _renamed(error: InputError, folder: Path, path: Path) -> InputError:
    facts = dict(getattr(error.message, "facts", {}))
    for name, fact in facts.items():
        if isinstance(fact, str) and fact.startswith(str(folder)):
            facts[name] = str(path)
    return InputError(getattr(error.message, "template", str(error)), **facts)
