"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
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
def atomic_write(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path`` to write to; it takes the place of ``path`` at the end.

    When the body raises, or the disk fails, nothing is left behind and an older ``path`` stays as it was.

    Raises:
        InputError: the folder cannot be written to, or the disk failed.
    """
    check_folder(path)
    try:
        with atomic_draft(path) as draft:
            yield draft
    except OSError as error:
        raise InputError(
            "{path} could not be written ({why}); nothing was changed on the disk.", path=path, why=str(error.strerror)
        ) from None


@contextmanager
def atomic_draft(path: Path) -> Iterator[Path]:
    """As ``atomic_write``, for those who say in words of their own what went wrong.

    Raises:
        OSError: the folder cannot be written to, or the disk failed.
    """
    # The whole suffix comes last (.nii.gz), since writers choose the format by it.
    draft = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, *, goes_on: bool = False) -> Iterator[Path]:
    """Give a hidden folder beside ``folder`` to fill; it takes the place of ``folder`` at the end.

    When the body raises, an older ``folder`` stays as it was.

    Args:
        goes_on: keep what a body that raised has left, and begin with what is left, as for downloads.

    Raises:
        OSError: the folder cannot be made or moved.
    """
    draft = folder.with_name(f".{folder.name}.part")
    if not goes_on:
        shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        if not goes_on:
            shutil.rmtree(draft, ignore_errors=True)
