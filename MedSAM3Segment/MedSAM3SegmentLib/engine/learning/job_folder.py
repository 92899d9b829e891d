"""The folder of a learning job: order, data, progress and outcome, which only its user can read.

The volumes in it are deleted as soon as they are read, the rest when the job is discarded.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MedSAM3SegmentLib.engine.process.discovery import run_folder
from MedSAM3SegmentLib.engine.process_id import ProcessId
from MedSAM3SegmentLib.errors import InputError
from MedSAM3SegmentLib.io.atomic_write import atomic_draft

from .records import LearningOrder, LearningResult, LearningStatus

_PREFIX = "learning-"

#: What is wrong with a file that somebody damaged.
_DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class JobFolder:
    """Reads and writes the files of one job.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls) -> JobFolder:
        """A new folder, marked as this process's until its order is written.

        Raises:
            InputError: it cannot be made.
        """
        folder = cls(run_folder() / f"{_PREFIX}{secrets.token_hex(8)}")
        try:
            folder.path.mkdir(mode=0o700)
            for part in (folder.data, folder.workspace):
                part.mkdir(mode=0o700)
            folder._write("owner.json", asdict(ProcessId.of(os.getpid())))
        except OSError as error:
            folder.remove()
            raise _cannot_write(folder.path, error) from None
        return folder

    @classmethod
    def find_all(cls) -> list[JobFolder]:
        """All folders of this user, newest first; raises as ``run_folder`` does."""
        found = [path for path in run_folder().glob(f"{_PREFIX}*") if path.is_dir() and not path.is_symlink()]
        return [cls(path) for path in sorted(found, key=_changed, reverse=True)]

    @property
    def data(self) -> Path:
        """Where what is learnt from lies, until it is read."""
        return self.path / "data"

    @property
    def workspace(self) -> Path:
        """Where the process keeps what is not finished."""
        return self.path / "workspace"

    @property
    def log(self) -> Path:
        return self.path / "learning.log"

    @property
    def owner(self) -> ProcessId | None:
        """The process that made it; None where that cannot be told."""
        return self._read_process("owner.json")

    @property
    def process(self) -> ProcessId | None:
        """The process that learns, once it has begun."""
        return self._read_process("process.json")

    @property
    def is_cancelled(self) -> bool:
        """Whether the process was asked to end, or its folder was deleted."""
        return (self.path / "cancel").exists() or not (self.path / "order.json").exists()

    def ask_to_cancel(self) -> None:
        """Ask the process to end; it looks between two steps."""
        with suppress(OSError):
            (self.path / "cancel").touch(mode=0o600)

    def announce_process(self) -> None:
        """Say that this process learns."""
        self._write("process.json", asdict(ProcessId.of(os.getpid())))

    def write_order(self, order: LearningOrder) -> None:
        """Raises InputError where the disk failed."""
        try:
            self._write("order.json", order.to_plain())
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def read_order(self) -> LearningOrder | None:
        """None where there is none, or it is damaged."""
        try:
            return LearningOrder.from_plain(self._read("order.json"))
        except _DAMAGED:
            return None

    def write_status(self, status: LearningStatus) -> None:
        """Replace what is known of how far it is. A disk that refuses, and a reader on Windows, do no harm."""
        with suppress(OSError):
            self._write("status.json", status.to_plain())

    def read_status(self) -> LearningStatus:
        """What the process said last."""
        try:
            return LearningStatus.from_plain(self._read("status.json"))
        except _DAMAGED:
            return LearningStatus()

    def add_to_curve(self, step: int, losses: Mapping[str, float]) -> None:
        """Add a point to the learning curve."""
        path = self.path / "curve.csv"
        with suppress(OSError), path.open("a", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            if not file.tell():
                rows.writerow(["step", "loss", *losses])
            rows.writerow([step, *(f"{value:.6g}" for value in (sum(losses.values()), *losses.values()))])

    def read_curve(self) -> dict[int, float]:
        """The sum of all losses by step."""
        points: dict[int, float] = {}
        with suppress(*_DAMAGED), (self.path / "curve.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                points[int(row["step"])] = float(row["loss"])
        return points

    def write_result(self, result: LearningResult) -> None:
        """Say what came of it; raises OSError."""
        self._write("outcome.json", result.to_plain())

    def read_result(self) -> LearningResult | None:
        """None while it is not known."""
        try:
            return LearningResult.from_plain(self._read("outcome.json"))
        except _DAMAGED:
            return None

    def remove_data(self) -> None:
        """Delete what is learnt from, and what is not finished."""
        for part in (self.data, self.workspace):
            shutil.rmtree(part, ignore_errors=True)

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _read_process(self, name: str) -> ProcessId | None:
        try:
            plain = self._read(name)
            return ProcessId(int(plain["pid"]), str(plain["started"]))
        except _DAMAGED:
            return None

    def _read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def _write(self, name: str, plain: Mapping[str, Any]) -> None:
        with atomic_draft(self.path / name) as draft:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(plain), encoding="utf-8")


def _changed(path: Path) -> float:
    try:
        return (path / "order.json").stat().st_mtime
    except OSError:
        return 0.0


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(
        "The folder {path} cannot be written to ({why}); free some space.", path=path, why=str(error.strerror)
    )
