"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError


def check_folder(path: Path) -> None:
    """Make sure, before a long run, that ``path`` can be written.

    Raises:
        InputError: it is a folder, or its folder is missing or write-protected.
    """
    folder = path.parent
    if path.is_dir():
        raise InputError("{path} is a folder; give the name of the file to write.", path=path)
    if not folder.is_dir():
        raise InputError(
            "The folder {folder} does not exist; make it or choose another place for {file}.",
            folder=folder,
            file=path.name,
        )
    if not os.access(folder, os.W_OK):
        raise InputError(
            "The folder {folder} cannot be written to; choose another place for {file}.", folder=folder, file=path.name
        )


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path`` to write to; it takes the place of ``path`` at the end.

    When the body raises, or the disk fails, nothing is left behind and an older ``path`` stays as it was.

    Raises:
        InputError: the folder cannot be written to, or the disk failed.
    """
    check_folder(path)
    # The whole suffix comes last (.nii.gz), since writers choose the format by it.
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            "{path} could not be written ({why}); nothing was changed on the disk.", path=path, why=str(error.strerror)
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
