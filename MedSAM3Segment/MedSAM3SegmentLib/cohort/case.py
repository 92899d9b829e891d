"""One case of a cohort: what is read for it, what it is called, and what must not be said of it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSAM3SegmentLib.errors import InputError

if TYPE_CHECKING:
    from .remote_cases import RemoteSource

#: What a case may be called, since files are called after it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: Characters of a made-up id; with 100,000 cases the chance that two are the same is 2 in 100,000.
_DIGITS = 12

#: Parts of a file that tell it from another one, and their bytes: enough to meet voxels, quick to read.
_PROBES, _PROBE_BYTES = 9, 16384

#: Shorter parts of a path are no names, and would be found in any sentence.
_SHORTEST_NAME = 3


@dataclass(frozen=True)
class Case:
    """What becomes one segmentation.

    Attributes:
        id: what files and table call it; never a patient's name unless the user gave that.
        path: what ``read_volume`` reads.
        root: the input of the command that it was found in; what lies above says nothing of a patient.
        files: of a DICOM series in a folder; empty where ``path`` says all.
        series: which series is read, where ``path`` holds several.
        modality: to be taken for it, where the file does not say it; None for what it says.
        kind: modality as it is listed; "" where only the file knows.
        description: what somebody typed at the scanner; for the eyes of the user only.
        plane: of a DICOM series' slices; "" where it is not known.
        images: how many slices a DICOM series has; 0 where it is not known.
        label: what its file or row is called, without a suffix.
        study: UID of the DICOM study; "" of other files.
        identity: text that is the same for the same images, wherever they lie; "" for what the files hold.
        remote: where its files are fetched from when it is read; None where they are on this computer.
    """

    path: Path
    root: Path
    id: str = ""
    files: tuple[Path, ...] = ()
    series: str | None = None
    modality: str | None = None
    kind: str = ""
    description: str = ""
    plane: str = ""
    images: int = 0
    label: str = ""
    study: str = ""
    identity: str = ""
    remote: RemoteSource | None = None

    @property
    def place(self) -> str:
        """Where it lies below its root, for the user's eyes."""
        relative = (
            self.path.relative_to(self.root).as_posix() if self.path.is_relative_to(self.root) else str(self.path)
        )
        return relative if relative != "." else self.path.name

    def without_names(self, sentence: str) -> str:
        """A sentence in which paths of this case are called by its id, and parts of them are left out."""
        paths = {*map(str, self.files), str(self.path), *(str(file.parent) for file in self.files)}
        for text in sorted(paths, key=len, reverse=True):
            sentence = sentence.replace(text, self.id)
        parts: set[str] = {self.description}
        for path in (self.path, *self.files):
            inner = path.relative_to(self.root).parts if path.is_relative_to(self.root) else path.parts[1:]
            parts |= {*inner, path.stem, path.name.split(".")[0]}
        for text in sorted(filter(None, parts), key=len, reverse=True):
            if len(text) >= _SHORTEST_NAME and text not in self.id:
                sentence = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "...", sentence)
        if str(self.root) in (".", "/"):
            return sentence
        # As a whole: a folder may be called as a part of words is.
        return re.sub(rf"(?<!\w){re.escape(str(self.root))}(?!\w)", "...", sentence)


def with_ids(cases: Sequence[Case], by_name: bool = False) -> list[Case]:
    """The cases with their ids: those that were given, or made of what a case is.

    Args:
        by_name: take the names of files, folders and rows, as for data whose names say nothing of a patient.

    Raises:
        InputError: an id is no name for a file, or two cases have the same.
    """
    named = []
    for case in cases:
        if case.id:
            check_id(case.id)
            named.append(case)
        elif by_name:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", case.label).strip("-._") or "case"
            named.append(replace(case, id=name[:90]))
        else:
            digest = hashlib.sha256((case.identity or _content_of(case.path)).encode()).hexdigest()
            named.append(replace(case, id=f"case-{digest[:_DIGITS]}"))
    given = Counter(case.id for case in cases if case.id)
    if given and (twice := given.most_common(1)[0])[1] > 1:
        raise InputError(
            "{count} rows are called '{name}'; give each case a name of its own.", count=twice[1], name=twice[0]
        )
    seen: Counter[str] = Counter()
    unique = []
    for case in named:
        # File systems may not tell upper from lower case.
        seen[case.id.casefold()] += 1
        count = seen[case.id.casefold()]
        unique.append(case if count == 1 else replace(case, id=f"{case.id}-{count}"))
    return unique


def check_id(name: str) -> None:
    """Make sure that files can be called after a case.

    Raises:
        InputError: they cannot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "'{name}' cannot be the name of a case, after which files are called; take letters, digits, '.', '-' and "
            "'_', up to 100 of them.",
            name=name,
        )


def _content_of(path: Path) -> str:
    """Text that differs where files differ, and does not hang on where a file lies; quick, whatever its size.

    Names of files are not in it: from a hash of a name alone the name can be guessed.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            for file in sorted(file for file in path.iterdir() if file.is_file()):
                digest.update(_content_of(file).encode())
            return digest.hexdigest()
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as opened:
            for number in range(_PROBES):
                opened.seek(max(0, size - _PROBE_BYTES) * number // (_PROBES - 1))
                digest.update(opened.read(_PROBE_BYTES))
    except OSError:
        # What is not there is called after its place; it will be listed with its sentence and nothing else.
        digest.update(str(path).encode("utf-8", "replace"))
    return digest.hexdigest()
