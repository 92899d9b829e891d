"""The data files that a header names: found in the header's own folder, or named in an error.

A name out of a file never reaches a format string of C, nor leads out of the folder that the header lies in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from MedSAM3SegmentLib.errors import InputError

#: A name with one running number in it, ``slice%03d.raw``.
_PATTERN = re.compile(r"([^%]*)%(0?)(\d?\d?)d([^%]*)")

#: Slices that a pattern may stand for.
_MOST_FILES = 100_000


def find_data_file(path: Path, name: str) -> Path:
    """The data file of the header ``path``.

    Raises:
        InputError: the name leads out of the header's folder, or there is no such file.
    """
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\0" in name:
        raise InputError(
            "{path} has its voxels in '{name}', which is not in its own folder; put both into one folder and "
            "correct the name in its header.",
            path=path,
            name=_shown(name),
        )
    file = path.parent / name
    try:
        exists = file.exists()
    except OSError:  # a name that is too long
        exists = False
    if not exists:
        raise InputError(
            "{path} has its voxels in the file '{name}', which is not there; put both into one folder.",
            path=path,
            name=_shown(name),
        )
    return file


def find_data_files(path: Path, names: Sequence[str]) -> list[Path]:
    """The data files of the header ``path``, in order.

    Raises:
        InputError: there is none, or as for ``find_data_file``.
    """
    if not names:
        raise InputError("{path} does not say where its voxels are; export it again.", path=path)
    return [find_data_file(path, name) for name in names]


def numbered_names(path: Path, pattern: str, numbers: Sequence[str]) -> list[str]:
    """The names that a pattern such as ``slice%03d.raw`` stands for.

    Args:
        numbers: the first number, the last one and the step, as text.

    Raises:
        InputError: the pattern or the numbers are something else.
    """
    found = _PATTERN.fullmatch(pattern)
    try:
        first, last, step = (int(number) for number in numbers)
        count = (last - first) // step + 1
    except (ValueError, ZeroDivisionError):
        found = None
    if found is None or not 1 <= count <= _MOST_FILES:
        raise InputError(
            "{path} names its data files by '{pattern}', which is no pattern with one number such as slice%03d.raw; "
            "convert it to .nrrd or .nii.gz.",
            path=path,
            pattern=_shown(" ".join([pattern, *numbers])),
        )
    before, zero, width, after = found.groups()
    return [f"{before}{number:{zero}{width}d}{after}" for number in range(first, first + count * step, step)]


def _shown(name: str) -> str:
    """A name out of a file as a sentence may hold it: one short line."""
    short = name if len(name) <= 80 else f"{name[:77]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in short)
