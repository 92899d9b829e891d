"""Zipped folders: the DICOM files in them are unpacked into a temporary folder, under names of our own."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError

from .find_files import HEAD_BYTES, SUFFIXES, begins_as_dicom

#: An archive may become this many bytes, or this many times its own: more is no archive of images.
_UNPACKED_BYTES = 512 << 20
_UNPACKED_RATIO = 100

_MOST_ENTRIES = 200_000


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder with the DICOM files of an archive, which is removed at the end.

    No entry's name becomes a path, and links in the archive are files like others, so nothing is written elsewhere.

    Raises:
        InputError: the archive is damaged, encrypted, or holds no DICOM file or far more than its size allows.
    """
    with tempfile.TemporaryDirectory(prefix="medsam3-dicom-") as made:
        folder = Path(made)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, path, folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError):
            raise InputError(
                "{path} is damaged or packed in a way that is not known; pack or download it again.", path=path
            ) from None
        except RuntimeError:  # what zipfile raises where a password is needed
            raise InputError("{path} is encrypted; unpack it and give the folder.", path=path) from None
        except OSError as error:
            raise InputError(
                "{path} cannot be unpacked ({why}); check it and the space for temporary files.",
                path=path,
                why=str(error.strerror or error),
            ) from None
        yield folder


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path) -> None:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    too_large = InputError("{path} holds far more than its size allows; unpack it and give the folder.", path=path)
    left = max(_UNPACKED_BYTES, _UNPACKED_RATIO * path.stat().st_size)
    if len(entries) > _MOST_ENTRIES:
        raise too_large
    count = 0
    for entry in sorted(entries, key=lambda entry: entry.filename):
        with archive.open(entry) as source:
            head = source.read(HEAD_BYTES)
            if not begins_as_dicom(head) and not entry.filename.lower().endswith(SUFFIXES):
                continue
            count += 1
            if entry.file_size > left:
                raise too_large
            left -= len(head)
            with (folder / f"{count:06d}.dcm").open("wb") as target:
                target.write(head)
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0 or shutil.disk_usage(folder).free < len(chunk):
                        raise too_large
                    target.write(chunk)
    if not count:
        raise InputError("{path} holds no DICOM file; unpack it and give the image file that is in it.", path=path)
