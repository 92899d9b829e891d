"""The folder of an evaluation: rows case by case as they are done, so that a run that was ended goes on.

``run.json`` says what was asked for; a folder is taken up only by the same. ``rows.jsonl`` has one line per case, which
counts once it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_write

from .case_row import CaseRow

#: Rows of a case, and what the user should know of it.
CaseResult = tuple[list[CaseRow], list[str]]

SETTINGS, ROWS = "run.json", "rows.jsonl"


class RunFolder:
    """Rows that are done, by case.

    Attributes:
        path: of the folder.
        done: by case, in the order they were done.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.done: dict[str, CaseResult] = {}
        self._take_up(settings)

    def add(self, case: str, rows: Sequence[CaseRow], notes: Sequence[str]) -> None:
        """Keep the rows of a case.

        Raises:
            InputError: the disk failed.
        """
        line = (
            json.dumps({"case": case, "rows": [row.to_plain() for row in rows], "notes": list(map(str, notes))}) + "\n"
        )
        try:
            with (self.path / ROWS).open("a", encoding="utf-8", newline="\n") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.path / ROWS} could not be written ({error.strerror}); free space and run the command again, "
                "which goes on here."
            ) from None
        self.done[case] = (list(rows), [str(note) for note in notes])

    def _take_up(self, settings: Mapping[str, Any]) -> None:
        """Raises InputError where the folder is of something else."""
        asked = json.loads(json.dumps(settings))
        file = self.path / SETTINGS
        if not file.is_file():
            if self.path.is_dir() and any(one for one in self.path.iterdir() if one.name != ".lock"):
                raise InputError(f"{self.path} is not empty and holds no evaluation; choose another --output.")
            with atomic_write(file) as draft:
                draft.write_text(json.dumps(asked, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
            return
        kept = _read_json(file)
        different = [key for key in {**asked, **kept} if asked.get(key) != kept.get(key)]
        if different:
            raise InputError(
                f"{self.path} holds an evaluation of other {', '.join(sorted(different))}; choose another --output, or "
                "delete it."
            )
        self._remove_drafts()
        self._read_rows()

    def _remove_drafts(self) -> None:
        """Delete what a process that was killed was writing; the folder is ours alone."""
        for draft in self.path.rglob(".*.part.*"):
            draft.unlink(missing_ok=True)

    def _read_rows(self) -> None:
        file = self.path / ROWS
        if not file.is_file():
            return
        data = file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # the line that was being written
            with atomic_write(file) as draft:
                draft.write_bytes(whole)
        self.done = rows_by_case(file, whole)


def rows_by_case(file: Path, data: bytes) -> dict[str, CaseResult]:
    """The rows in the bytes of a ``rows.jsonl``.

    Raises:
        InputError: they are damaged.
    """
    done: dict[str, CaseResult] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        try:
            entry = json.loads(line)
            rows = [CaseRow.from_plain(row) for row in entry["rows"]]
            done[entry["case"]] = (rows, list(entry["notes"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"Line {number} of {file} is damaged; delete the folder and evaluate again.") from None
    return done


def read_run(folder: Path) -> tuple[dict[str, Any], list[CaseRow]]:
    """Settings and rows of a finished evaluation, for comparison.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not (folder / SETTINGS).is_file() or not (folder / ROWS).is_file():
        raise InputError(f"{folder} holds no evaluation; give the --output of an earlier 'medsam3 evaluate'.")
    data = (folder / ROWS).read_bytes()
    done = rows_by_case(folder / ROWS, data[: data.rfind(b"\n") + 1])
    return _read_json(folder / SETTINGS), [row for rows, _ in done.values() for row in rows]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder, which is made where it is not there.

    Raises:
        InputError: it cannot be made, or another one is at work in it.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"Another evaluation is at work in {folder}; wait for it, or choose another --output."
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); choose another --output.") from None
    try:
        yield
    finally:
        lock.release()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}); delete the folder and evaluate again.") from None
    if not isinstance(read, dict):
        raise InputError(f"{file} is damaged; delete the folder and evaluate again.")
    return read
