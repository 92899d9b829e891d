"""Which files are DICOM: by their preamble, by their name, or, without either, by how their first element looks."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

#: Bytes that show whether a file is DICOM.
HEAD_BYTES = 144

#: Names of DICOM files that are believed without a look inside.
SUFFIXES = (".dcm", ".ima")

#: Groups that a data set without preamble begins with: file meta information, or the identifying group.
_FIRST_GROUPS = (0x0002, 0x0008)

#: The value representations that elements at the beginning of those groups have.
_FIRST_REPRESENTATIONS = (b"UL", b"CS", b"UI", b"DA", b"SH", b"LO", b"TM", b"DT", b"OB", b"SQ")

#: An element at the beginning of a data set is no longer than this.
_LONGEST_FIRST = 4096


def is_dicom(path: Path) -> bool:
    """Whether ``path`` is a DICOM file; only files are opened, never pipes, sockets or devices."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        if path.suffix.lower() in SUFFIXES:
            return True
        with path.open("rb") as file:
            return begins_as_dicom(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return False


def is_dicom_archive(path: Path) -> bool:
    """Whether ``path`` is a zipped folder by its name and its first bytes."""
    try:
        if path.suffix.lower() != ".zip" or not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except (OSError, ValueError):
        return False


def begins_as_dicom(head: bytes) -> bool:
    """Whether these first bytes of a file (``HEAD_BYTES`` of them suffice) are those of a DICOM file."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    for order in "<>":
        group, element, representation, short = struct.unpack(order + "HH2sH", head[:8])
        if group not in _FIRST_GROUPS or element > 0x0070:
            continue
        if representation in _FIRST_REPRESENTATIONS:
            return bool(short <= _LONGEST_FIRST)
        (length,) = struct.unpack(order + "I", head[4:8])
        # Implicit: the value is text or a group length, so its bytes look like it.
        if order == "<" and 0 < length <= _LONGEST_FIRST and length % 2 == 0:
            value = head[8 : 8 + min(length, 8)]
            return element == 0 or all(32 <= byte < 127 or byte == 0 for byte in value)
    return False


def find_dicom_files(folder: Path) -> list[Path]:
    """All DICOM files in a folder and the folders in it, by name."""
    files = sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return [file for file in files if is_dicom(file)]
