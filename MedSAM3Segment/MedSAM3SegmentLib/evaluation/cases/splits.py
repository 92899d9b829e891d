"""Which cases of a data set are evaluated: its own split where there is one, else one of ours that does not leak."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedSAM3SegmentLib.errors import InputError

#: Of the units, where there is no official split, as the paper has it (section 5).
TEST_SHARE = 0.2

_CHUNK_BYTES = 1 << 20


def choose_test_units(name: str, units: Sequence[str]) -> set[str]:
    """A fifth of the units, at least one, the same on every machine: those whose hash comes first."""

    def place(unit: str) -> str:
        return hashlib.sha256(f"{name}\n{unit}".encode("utf-8", "surrogateescape")).hexdigest()

    distinct = sorted(set(units), key=place)
    return set(distinct[: math.ceil(TEST_SHARE * len(distinct))])


def join_copies(images: Mapping[str, Path], units: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Units such that images whose files are equal belong to one.

    Args:
        images: by case.
        units: by case.

    Returns:
        Units by case, and how many images are copies of another one.
    """
    by_content: dict[tuple[int, str], list[str]] = {}
    by_size: dict[int, list[str]] = {}
    for case, path in images.items():
        by_size.setdefault(path.stat().st_size, []).append(case)
    for size, cases in by_size.items():
        for case in cases if len(cases) > 1 else ():
            by_content.setdefault((size, _hash_of(images[case])), []).append(case)
    leader = {unit: unit for unit in units.values()}

    def find(unit: str) -> str:
        while leader[unit] != unit:
            unit = leader[unit]
        return unit

    copies = 0
    for cases in by_content.values():
        copies += len(cases) - 1
        first, *others = sorted({find(units[case]) for case in cases})
        for other in others:
            leader[other] = first
    return {case: find(unit) for case, unit in units.items()}, copies


def read_names(path: Path) -> list[str]:
    """The names of cases in a text file, one a line.

    Raises:
        InputError: it cannot be read or is empty.
    """
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list of cases {path} cannot be read ({error}); write one name a line.") from None
    if not names:
        raise InputError(f"The list of cases {path} is empty; write one name a line.")
    return names


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
